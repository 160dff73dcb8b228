import ArgumentParser

/// What becomes of a dump's logits: read where they lie, copied into the ingest directory, or left out.
enum LogitsMode: String, ExpressibleByArgument, CaseIterable { case reference, copy, drop }

/// Of which logits an engine takes log-probabilities: before temperature, penalties and cuts, or behind them.
enum LogprobsMode: String, ExpressibleByArgument, CaseIterable {
    case raw, processed

    /// Also by vLLM's own words.
    init?(argument: String) {
        switch argument {
        case "raw", "raw_logprobs": self = .raw
        case "processed", "processed_logprobs": self = .processed
        default: return nil
        }
    }

    /// vLLM's modes in which it writes logits where log-probabilities stand.
    static let ofLogits = ["raw_logits", "processed_logits"]
}
