import Entropy
import Foundation

/// What score tells about a dump: verdicts, entropy, what storing it has moved, and whether the sources agree.
struct ScoreReport {
    let lines: [String]
    let warnings: [String]
    let fields: [String: any Sendable]

    init(_ record: ScoreRecord) {
        lines =
            [
                Self.outcomes(record), Self.entropies(record), Self.storage(record), Self.teacher(record),
                Self.routes(record),
            ].compactMap {
                $0
            }
            + record.pairs.map(Self.difference)
        warnings =
            record.pairs.filter { !$0.difference.isExplained }.map(Self.unexplained) + Self.topKWarnings(record)
            + Self.temperatureWarning(record) + UnusableRows.warnings(record)
        fields = Self.fields(record)
    }

    private static func number(_ value: Double) -> String { String(format: "%.3g", value) }

    private static func list(_ counts: [String: Int]) -> String {
        counts.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
    }

    // MARK: lines

    private static func outcomes(_ record: ScoreRecord) -> String {
        let accuracy = record.accuracy.map {
            "accuracy \(number($0))" + (record.judged < record.rows ? " of \(record.judged) judged" : "")
        }
        let unjudged =
            record.rewardsWithoutVerdict == 0 ? nil : "\(record.rewardsWithoutVerdict) rewards without a verdict"
        let parts = [
            "\(record.rows) rollouts", list(record.verdicts), accuracy ?? "none judged right or wrong", unjudged,
            record.rewardMean.map { "mean reward \(number($0))" } ?? "no rewards",
        ]
        return parts.compactMap { $0 }.joined(separator: "; ")
    }

    private static func entropies(_ record: ScoreRecord) -> String {
        guard let share = record.shareNearZero else {
            return
                "no entropy: the dump has no logits, hidden states or best log-probabilities by token id that could be "
                + "used, and no --checkpoint was given. vLLM gives token ids with return_tokens_as_token_ids; where it "
                + "gave text, sample again, or score with --checkpoint DIR"
        }
        return "entropy of \(record.entropyTokens) tokens, \(number(100 * share)) % below 0.01; evidence: "
            + list(record.evidence)
    }

    private static func teacher(_ record: ScoreRecord) -> String? {
        guard record.ownTeacherPrompts > 0 else { return nil }
        return "the teacher read a prompt of its own in \(record.ownTeacherPrompts) of \(record.rows) rollouts: "
            + list(record.teacherPrompts)
    }

    private static func routes(_ record: ScoreRecord) -> String? {
        guard let routes = record.routes else { return nil }
        let others =
            routes.unrecorded == 0 ? "" : "; they chose for \(routes.unrecorded), whose experts the dump doesn't say"
        return "the checkpoint's routers took the sampler's experts for \(routes.replayed) tokens" + others
    }

    private static func storage(_ record: ScoreRecord) -> String? {
        let storage = record.storage
        guard storage.tokens > 0 else { return nil }
        return
            "logits stored as \(storage.types.keys.sorted().joined(separator: ", ")): expected error (root mean "
            + "square) of entropies \(number(storage.expectedEntropyError)), of log-probabilities "
            + "\(number(storage.expectedLogprobError)); at most \(number(storage.entropyBoundMean)) and "
            + "\(number(storage.logprobBoundMean)) on average, \(number(storage.entropyBoundMax)) and "
            + "\(number(storage.logprobBoundMax)) of one token"
    }

    private static func difference(_ pair: LogprobPair, _ difference: Disagreement) -> String {
        "\(pair.names) differ about sampled tokens by \(number(difference.mean)) on average, root mean square "
            + "\(number(difference.rootMeanSquare)) where rounding explains \(number(difference.expected)), at most "
            + "\(number(difference.largest)) (rollout \(difference.rolloutID), position \(difference.position))"
    }

    // MARK: warnings

    private static func unexplained(_ pair: LogprobPair, _ difference: Disagreement) -> String {
        "\(pair.names) differ by \(number(difference.rootMeanSquare)) (root mean square; \(number(difference.mean)) on "
            + "average), more than rounding (\(number(difference.expected))) and other kernels explain: check "
            + "temperature, top-p and the policy version"
    }

    private static func topKWarnings(_ record: ScoreRecord) -> [String] {
        let assumed =
            "\(record.assumedVocabulary) rollouts don't say how large the vocabulary is: their entropies' upper "
            + "bounds are those of \(TopKBounds.assumedVocabulary) tokens. Put vocab_size into the "
            + "metadata, or give --checkpoint"
        let other =
            "\(record.otherTemperature) rollouts have no entropy: what their best log-probabilities are of is not the "
            + "distribution they were sampled from (temperature, top-p or top-k), and doesn't "
            + "follow from them. Give --checkpoint"
        return (record.assumedVocabulary > 0 ? [assumed] : []) + (record.otherTemperature > 0 ? [other] : [])
            + faultWarning(record)
    }

    private static func faultWarning(_ record: ScoreRecord) -> [String] {
        guard let first = record.firstTopKFault else { return [] }
        let kinds = TopKFault.allCases.compactMap { fault in
            record.topKFaults[fault.rawValue].map { "\($0) with \(fault.description)" }
        }
        return [
            "\(record.faultyTokens) tokens have best log-probabilities that are at fault "
                + "(\(kinds.joined(separator: ", "))): "
                + "their entropies are not known. First: \(first)"
        ]
    }

    private static func temperatureWarning(_ record: ScoreRecord) -> [String] {
        guard record.unclearTemperature > 0 else { return [] }
        return [
            "\(record.unclearTemperature) rollouts were sampled at another temperature than 1, and nothing tells "
                + "whether their rollout_logprobs are of that temperature or of 1 (vLLM's default, raw_logprobs): with "
                + "those an update's first ratio isn't 1. Score with --checkpoint DIR, the policy to be "
                + "trained, or say logprobs_kind=processed in the metadata"
        ]
    }

    // MARK: summary

    private static func fields(_ record: ScoreRecord) -> [String: any Sendable] {
        var fields: [String: any Sendable] = [:]
        fields["accuracy"] = record.accuracy ?? NSNull()
        fields["reward_mean"] = record.rewardMean ?? NSNull()
        fields["share_below_0.01"] = record.shareNearZero ?? NSNull()
        if record.storage.tokens > 0 {
            fields["entropy_error_expected"] = record.storage.expectedEntropyError
            fields["logprob_error_expected"] = record.storage.expectedLogprobError
            (fields["entropy_noise_mean"], fields["entropy_noise_max"]) = (
                record.storage.entropyBoundMean, record.storage.entropyBoundMax
            )
            (fields["logprob_noise_mean"], fields["logprob_noise_max"]) = (
                record.storage.logprobBoundMean, record.storage.logprobBoundMax
            )
        }
        for (pair, difference) in record.pairs {
            (fields["\(pair.rawValue)_mean"], fields["\(pair.rawValue)_max"]) = (difference.mean, difference.largest)
            (fields["\(pair.rawValue)_rms"], fields["\(pair.rawValue)_expected"]) = (
                difference.rootMeanSquare, difference.expected
            )
        }
        return fields
    }
}
