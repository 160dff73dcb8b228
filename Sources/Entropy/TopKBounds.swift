/// What is wrong with a token's best log-probabilities: it costs that token's interval and nothing else.
package enum TopKFault: String, Error, CaseIterable, Sendable {
    /// The engine gave none.
    case missing
    /// One id twice, with different log-probabilities.
    case duplicateToken
    /// An id outside the vocabulary.
    case unknownToken
    /// The sampled token is none of the best and likelier than the last of them.
    case likelierOutside
    /// The sampled token is one of the best, and its own log-probability another one.
    case otherLogprob
    /// Some of the tokens that could be drawn are none of the best.
    case supportNotAmongBest
    /// More than all probability, or a tail that can't be as likely as it would have to be.
    case impossibleSum

    package var description: String {
        switch self {
        case .missing: "none given"
        case .duplicateToken: "a token twice with different log-probabilities"
        case .unknownToken: "a token id beyond the vocabulary"
        case .likelierOutside: "a sampled token outside the best that is likelier than the last of them"
        case .otherLogprob: "a sampled token among the best with another rollout_logprobs entry"
        case .supportNotAmongBest: "tokens that could be drawn and are none of the best"
        case .impossibleSum: "probabilities that can't add up to 1"
        }
    }
}

/// The entropy intervals of a rollout's tokens, each known by its k best log-probabilities and, where it is of the same
/// distribution, the log-probability of the token that was sampled.
package struct TopKBounds: Sendable {
    package let vocabulary: Int
    /// Whether the vocabulary is a guess.
    package let assumesVocabulary: Bool
    private let rounding: LogprobRounding
    private let sampledRounding: LogprobRounding

    /// Far above any vocabulary: the upper bound needs the tail's size, which a top-k dump does not say.
    package static let assumedVocabulary = 262_144
    /// Log-probabilities of one token by two sources of one engine may differ by as much: kernels and batches do.
    private static let tolerance = 0.01

    /// `vocabulary`: nil where nobody knows it. `logprobs`, `sampled`: all of the rollout's, which betray how they were
    /// rounded.
    package init(vocabulary: Int?, logprobs: [Float], sampled: [Float]) {
        (self.vocabulary, assumesVocabulary) = (vocabulary ?? Self.assumedVocabulary, vocabulary == nil)
        (rounding, sampledRounding) = (LogprobRounding(of: logprobs), LogprobRounding(of: sampled))
    }

    /// `sampled`: nil where its log-probability is unknown, or of another distribution.
    package func interval(
        _ ids: ArraySlice<Int32>, _ logprobs: ArraySlice<Float>, sampled: (token: Int32, logprob: Float)?
    ) throws(TopKFault) -> (low: Double, high: Double) {
        let best = try BestTokens(ids, logprobs, vocabulary: assumesVocabulary ? nil : vocabulary)
        let own = try known(sampled, among: best)
        guard
            let bounds = EntropyBounds.bounds(
                best.logprobs, known: own, vocabulary: vocabulary, rounding: rounding, knownRounding: sampledRounding)
        else {
            throw .impossibleSum
        }
        return bounds
    }

    /// The sampled token's log-probability where it is not among the best. Where it is, it must be the same.
    private func known(_ sampled: (token: Int32, logprob: Float)?, among best: BestTokens) throws(TopKFault)
        -> [Double]
    {
        guard let sampled, sampled.logprob.isFinite, sampled.logprob > LogprobRounding.leastLogprob else { return [] }
        let logprob = Double(sampled.logprob)
        if let same = best[sampled.token] {
            guard abs(same - logprob) <= Self.tolerance + rounding.error(same) + sampledRounding.error(logprob) else {
                throw .otherLogprob
            }
            return []
        }
        let last = best.logprobs.min() ?? 0
        guard logprob <= last + Self.tolerance + rounding.error(last) + sampledRounding.error(logprob) else {
            throw .likelierOutside
        }
        return [logprob]
    }

    /// A token's best, each id once.
    private struct BestTokens {
        private(set) var logprobs: [Double] = []
        private var byID: [Int32: Double] = [:]

        /// `vocabulary`: nil where it is a guess.
        init(_ ids: ArraySlice<Int32>, _ logprobs: ArraySlice<Float>, vocabulary: Int?) throws(TopKFault) {
            // Engines fill up what they don't know with -9999.
            for (id, logprob) in zip(ids, logprobs) where logprob > LogprobRounding.leastLogprob {
                if let vocabulary, Int(id) >= vocabulary { throw .unknownToken }
                guard let same = byID.updateValue(Double(logprob), forKey: id) else {
                    self.logprobs.append(Double(logprob))
                    continue
                }
                guard same == Double(logprob) else { throw .duplicateToken }
            }
            guard !self.logprobs.isEmpty else { throw .missing }
        }

        subscript(id: Int32) -> Double? { byID[id] }
    }
}
