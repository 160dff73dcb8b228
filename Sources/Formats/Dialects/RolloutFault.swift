/// Why a line's rollout can't be used, where the line itself shows it: a short reason to count by, what was found and
/// what is expected.
package struct RolloutFault: Error, Equatable, Sendable {
    package enum Reason: String, Sendable {
        case engineError = "engine_error"
        case invalidTokenID = "invalid_token_id"
        case invalidValue = "invalid_value"
        case lengthMismatch = "length_mismatch"
        case prefixMismatch = "prefix_mismatch"
        case retokenisationDrift = "retokenisation_drift"
        case tokenCountMismatch = "token_count_mismatch"
    }

    package let reason: Reason
    package let found: String
    package let expected: String

    package init(_ reason: Reason, found: String, expected: String) {
        (self.reason, self.found, self.expected) = (reason, found, expected)
    }

    static func engineError(_ words: String) -> RolloutFault {
        RolloutFault(.engineError, found: "'\(words)'", expected: "a rollout")
    }
}

/// What a rollout was kept without, or what had to be taken on trust: counted, and said in the report.
package enum RolloutRemark: String, Codable, CaseIterable, Sendable {
    case brokenText = "broken_text"
    case nestingCut = "nesting_cut"
    case topLogprobsAsText = "top_logprobs_as_text"
    case topLogprobsUnusable = "top_logprobs_unusable"
    case logprobsDropped = "logprobs_dropped"
    case rewardUnusable = "reward_unusable"
    case finishReasonUnknown = "finish_reason_unknown"
    case stopTokenUnknown = "stop_token_unknown"
    case stopStringLeftOut = "stop_string_left_out"
    case completionUnknown = "completion_unknown"
    case samplingAssumed = "sampling_assumed"
    case samplingShaped = "sampling_shaped"

    /// Behind "N rollouts ".
    package var sentence: String {
        switch self {
        case .brokenText: "have text with lone surrogates or bytes that are no UTF-8: U+FFFD stands in their place"
        case .nestingCut:
            "come from lines with values nested deeper than \(JSONReader.maximumDepth), which are passed over"
        case .topLogprobsAsText:
            "have their best log-probabilities by text, which several ids may share: no entropy evidence. "
                + "Ask for return_tokens_as_token_ids"
        case .topLogprobsUnusable:
            "have best log-probabilities that are none (NaN, null, above 0, too few): no interval at those tokens"
        case .logprobsDropped:
            "have log-probabilities that are none, dropped as --invalid-logprobs says: score with --checkpoint"
        case .rewardUnusable: "have a reward that is not one finite number: kept without it"
        case .finishReasonUnknown:
            "don't say, or not in known words, why they ended: filter.truncated takes them for whole"
        case .stopTokenUnknown:
            "were stopped by nobody knows what (no stop_reason, no matched, no token count): no end-of-sequence token was put behind their text"
        case .stopStringLeftOut:
            "were stopped by a string whose tokens are not known: they end before it. Ask for return_token_ids"
        case .completionUnknown:
            "have the prompt within their text (echo) and nothing that says where it ends: no completion text. Give --tokenizer"
        case .samplingAssumed:
            "have no temperature of their own, in the line or in its request: taken as --temperature (1 where not given)"
        case .samplingShaped:
            "were sampled with penalties, min_p, a bias or a grammar: their log-probabilities may not be those of softmax(logits / temperature)"
        }
    }
}

/// Token ids of a JSON value; nil where nothing is given. `name`: what they are called there.
func tokenIDs(_ value: JSONValue?, _ name: String) throws(RolloutFault) -> [Int32]? {
    guard let value, !value.isNull else { return nil }
    guard let list = value.list else {
        throw RolloutFault(.invalidTokenID, found: "\(name) \(value.excerpt)", expected: "a list of token ids")
    }
    var ids: [Int32] = []
    ids.reserveCapacity(list.count)
    for (place, entry) in list.enumerated() {
        guard let id = tokenID(entry) else {
            throw RolloutFault(
                .invalidTokenID, found: "token id \(entry.excerpt) at position \(place) of \(name)",
                expected: "whole numbers from 0 below 2^31")
        }
        ids.append(id)
    }
    return ids
}

/// A truth value or a fraction is no id, also where it could be read as a number.
package func tokenID(_ value: JSONValue?) -> Int32? {
    guard case .integer(let number) = value, number >= 0 else { return nil }
    return Int32(exactly: number)
}

/// Log-probabilities of sampled tokens as they were given.
package struct GivenLogprobs: Equatable, Sendable {
    /// NaN where there is no number.
    package var values: [Float]
    /// What stands where there is no number, by its place.
    private var odd: [Int: String]

    init(_ list: [JSONValue]) {
        values = []
        odd = [:]
        values.reserveCapacity(list.count)
        for (place, entry) in list.enumerated() {
            if let value = entry.float {
                values.append(value)
            } else {
                odd[place] = entry.excerpt
                values.append(.nan)
            }
        }
    }

    package var count: Int { values.count }

    /// Without the first so many.
    func dropping(_ count: Int) -> GivenLogprobs {
        var rest = self
        rest.values.removeFirst(min(count, values.count))
        rest.odd = Dictionary(
            uniqueKeysWithValues: odd.compactMap { $0.key < count ? nil : ($0.key - count, $0.value) })
        return rest
    }

    /// A value as it was written.
    package func spelled(_ place: Int) -> String { odd[place] ?? "\(values[place])" }
}
