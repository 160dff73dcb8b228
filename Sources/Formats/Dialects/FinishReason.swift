/// Why a rollout ended, by the words that engines have for it. The words themselves stay in the tables.
package enum FinishReason: Sendable {
    /// The policy ended it: an end-of-sequence token, a stop string, a call of a tool.
    case finished
    /// It was cut off, by its length or by a guard.
    case truncated
    /// The engine gave it up: what there is of it is nobody's answer.
    case failed
    /// Nothing was said, or a word that is not known.
    case unknown

    package init(_ word: String) { self = Self.words[word.lowercased()] ?? .unknown }

    /// Whether `word` says that the rollout was cut off.
    package static func isTruncated(_ word: String) -> Bool { FinishReason(word) == .truncated }

    /// OpenAI, vLLM (`repetition`, `abort`, `error`), SGLang, TGI (`eos_token`, `stop_sequence`), Anthropic
    /// (`end_turn`, `max_tokens`), and
    /// what drivers make of them.
    private static let words: [String: FinishReason] = [
        "stop": .finished, "eos": .finished, "eos_token": .finished, "end_turn": .finished, "stop_sequence": .finished,
        "stop_token": .finished, "stop_string": .finished, "tool_calls": .finished, "tool_use": .finished,
        "function_call": .finished,
        "completed": .finished,
        "length": .truncated, "max_tokens": .truncated, "max_new_tokens": .truncated, "max_output_tokens": .truncated,
        "max_length": .truncated, "model_length": .truncated, "truncated": .truncated, "repetition": .truncated,
        "content_filter": .truncated,
        "abort": .failed, "aborted": .failed, "error": .failed, "failed": .failed, "cancelled": .failed,
        "canceled": .failed,
        "timeout": .failed,
    ]
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
