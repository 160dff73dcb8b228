/// Why a rollout ended, by the words that engines have for it. The words themselves stay in the tables.
package enum FinishReason: CaseIterable, Sendable {
    /// The policy ended it: an end-of-sequence token, a stop string, a call of a tool.
    case finished
    /// It was cut off, by its length or by a guard.
    case truncated
    /// The engine gave it up: what there is of it is nobody's answer.
    case failed
    /// It is whole, but the trainer that dumped it left it out of its loss: it counts in its group alone.
    case excluded
    /// Nothing was said, or a word that is not known.
    case unknown

    /// By an engine's word for it, in small letters or large.
    package init(_ word: String) { self = Self.reasons[word.lowercased()] ?? .unknown }

    /// Of a rollout that Crux sampled itself: stopped, or cut off by its length.
    package init(isStopped: Bool) { self = isStopped ? .finished : .truncated }

    /// Whether `word` says that the rollout was cut off.
    package static func isTruncated(_ word: String) -> Bool { FinishReason(word) == .truncated }

    /// What Crux writes itself: the first of the words. Empty where there is none.
    package var ownWord: String { words.first ?? "" }

    /// As OpenAI, vLLM (`repetition`, `abort`, `error`), SGLang, TGI (`eos_token`, `stop_sequence`), Anthropic
    /// (`end_turn`, `max_tokens`) and what drivers make of them have it.
    package var words: [String] {
        switch self {
        case .finished:
            [
                "stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token", "stop_string", "tool_calls",
                "tool_use", "function_call", "completed",
            ]
        case .truncated:
            [
                "length", "max_tokens", "max_new_tokens", "max_output_tokens", "max_length", "model_length",
                "truncated", "repetition", "content_filter",
            ]
        case .failed: ["abort", "aborted", "error", "failed", "cancelled", "canceled", "timeout"]
        case .excluded: ["excluded"]
        case .unknown: []
        }
    }

    package var documentation: String {
        switch self {
        case .finished: "the policy ended it: an end-of-sequence token, a stop string, a call of a tool"
        case .truncated: "it was cut off, by its length or by a guard: `filter.truncated: drop` leaves it out of plans"
        case .failed: "the engine gave it up: crux-ingest rejects it as `engine_error`"
        case .excluded:
            "the trainer that dumped it left it out of its loss: plans compare the others of its group with it, and leave it out"
        case .unknown: "nothing was said, or not in a known word: it is taken for whole"
        }
    }

    private static let reasons = Dictionary(
        uniqueKeysWithValues: allCases.flatMap { reason in reason.words.map { ($0, reason) } })
}

/// What stopped a rollout that its engine calls finished.
package enum StopReason: Equatable, Sendable {
    /// The engine doesn't say.
    case unknown
    /// The end-of-sequence token, which engines don't name.
    case endOfSequence
    /// A token, which is among the sampled ones.
    case token(Int32)
    /// A string. What was sampled of it is among the tokens, and mostly cut off the text.
    case text(String)

    /// For a rollout's metadata; nil where nothing is named.
    package var name: String? {
        switch self {
        case .unknown, .endOfSequence: nil
        case .token(let id): "\(id)"
        case .text(let text): text
        }
    }
}
