import Foundation

/// A rollout as a line of another program's dump tells it; what the line does not say is nil or empty.
package struct DumpedRollout: Equatable, Sendable {
    /// What the program calls the rollout, and the prompt that it answers.
    package var id: String?
    package var group: String?
    package var sampleIndex = 0
    package var promptIDs: [Int32]?
    package var prompt: String?
    /// Everything behind the prompt: later turns of an environment, too.
    package var completionIDs: [Int32]?
    package var completion: String?
    /// Which tokens of the completion were sampled and are trainable; nil: all.
    package var completionMask: [Bool]?
    /// One for each token of the completion.
    package var logprobs: [Float]?
    package var best: TopLogprobs?
    /// Sampled tokens by the program's own count.
    package var tokenCount: Int?
    package var finishReason = ""
    package var reward: Float?
    /// Of the shard's metadata whatever else is known, and keys that it doesn't know, to be kept.
    package var metadata: [String: String] = [:]
    /// The program's own words where it failed.
    package var error: String?

    package init() {}

    /// `index`: which of the line's choices it is.
    init(_ result: EngineResult, index: Int, of count: Int) {
        id = result.customID.isEmpty ? nil : result.customID + (count > 1 ? "-\(index)" : "")
        group = count > 1 ? result.customID : nil
        sampleIndex = index
        promptIDs = result.prefix
        (completionIDs, completion, logprobs, best) = (result.tokenIDs, result.text, result.logprobs, result.best)
        (tokenCount, finishReason, error) = (result.tokenCount, result.finishReason, result.error)
    }

    /// What a driver wrote beside an engine's response, under the names of a shard's metadata.
    mutating func take(beside object: [String: Any]) {
        for key in ["reference_answer", "data_source", "temperature", "top_p", "policy_version"] {
            if let text = Self.text(object[key]) { metadata[key] = text }
        }
        group = Self.text(object["group_id"]) ?? group
        sampleIndex = (object["sample_index"] as? NSNumber)?.intValue ?? sampleIndex
        reward = float(object["reward"]) ?? reward
        prompt = object["prompt"] as? String ?? prompt
        promptIDs = promptIDs ?? tokens(object["prompt_token_ids"]) ?? tokens(object["input_ids"]) ?? tokens(object["prompt"])
    }

    /// Text as it is, numbers as written, anything else as JSON; nil for nothing.
    static func text(_ value: Any?) -> String? {
        switch value {
        case nil, is NSNull: return nil
        case let text as String: return text
        case let value?:
            let data = try? JSONSerialization.data(withJSONObject: value, options: [.fragmentsAllowed, .sortedKeys, .withoutEscapingSlashes])
            return data.map { String(decoding: $0, as: UTF8.self) }
        }
    }
}

/// Another program's way of dumping rollouts as JSON lines.
package protocol DumpDialect: Sendable {
    static var name: String { get }
    static var source: String { get }
    /// The rollouts of a line, at least one; nil where it is none of this dialect.
    static func rollouts(_ object: [String: Any]) -> [DumpedRollout]?
}

package enum DumpDialects {
    /// Sorted by name; no line is of two. A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any DumpDialect.Type] = [OpenAIDump.self, PrimeRLDump.self, SGLangDump.self, VerlDump.self]
    package static var names: [String] { all.map { $0.name } }

    /// `dialects`: those to try. nil where the line is no JSON object; empty where it is none of theirs.
    package static func decode(_ line: Data, as dialects: [any DumpDialect.Type] = all) -> [DumpedRollout]? {
        guard let object = (try? JSONSerialization.jsonObject(with: line)) as? [String: Any] else { return nil }
        return dialects.lazy.compactMap { $0.rollouts(object) }.first ?? []
    }
}
