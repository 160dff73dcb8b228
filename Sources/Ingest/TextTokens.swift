import Formats
import Tokenizer

/// Turns text into tokens, for engines that return no ids.
struct TextTokens: Sendable {
    let tokenizer: Tokenizer
    let stopTokens: Set<Int32>

    /// For prompts as text.
    let specialTokens: SpecialTokenRule

    init(_ path: String, specialTokens: SpecialTokenRule = .auto) throws {
        tokenizer = try Tokenizer(path: path)
        stopTokens = try StopTokens.read(path) ?? []
        self.specialTokens = specialTokens
    }

    /// A prompt that an engine was given as text.
    func prompt(_ text: String) -> [Int32] { tokenizer.encode(text, specialTokens: specialTokens) }

    /// What was sampled, from its text. `count`: how many tokens the engine says it sampled; another number betrays other tokens.
    func continuation(_ text: String, stopped: Bool, count: Int?, of id: String?) throws -> [Int32] {
        var tokens = tokenizer.encode(text, addingSpecialTokens: false)
        // Engines count the token that stopped them, but leave it out of the text.
        if stopped, count.map({ $0 == tokens.count + 1 }) ?? true, stopTokens.count == 1 { tokens += stopTokens }
        guard !tokens.isEmpty else { throw Rejection(id, "empty_continuation", found: "no text", expected: "at least one token") }
        if let count, count != tokens.count {
            throw Rejection(id, "retokenisation_drift", found: "\(tokens.count) tokens from its text", expected: "the \(count) that the engine sampled")
        }
        return tokens
    }
}

/// An engine's log-probabilities of `tokens`; nil where it gave none, or none for tokens that were made of its text again.
func checked(_ logprobs: [Float]?, _ tokens: [Int32], id: String?, isRetokenised: Bool) throws -> [Float]? {
    guard let logprobs else { return nil }
    guard logprobs.count == tokens.count else {
        if isRetokenised { return nil }
        throw Rejection(id, "length_mismatch", found: "\(logprobs.count) log-probabilities", expected: "\(tokens.count), one for each token")
    }
    // -9999 is what engines write for "none".
    if let bad = logprobs.first(where: { !($0 <= 1e-3 && $0 > -9000) }) {
        throw Rejection(id, "invalid_logprob", found: "log-probability \(bad)", expected: "a finite logarithm of at most 0")
    }
    return logprobs
}
