import Credit
import Formats
import Foundation
import StageSupport

/// What is wrong with a token's best log-probabilities: it costs that token's interval and nothing else.
enum TopKFault: String, Codable, CaseIterable, Sendable {
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
    /// More than all probability, or a tail that can't be as likely as it would have to be.
    case impossibleSum

    var description: String {
        switch self {
        case .missing: "none given"
        case .duplicateToken: "a token twice with different log-probabilities"
        case .unknownToken: "a token id beyond the vocabulary"
        case .likelierOutside: "a sampled token outside the best that is likelier than the last of them"
        case .otherLogprob: "a sampled token among the best with another rollout_logprobs entry"
        case .impossibleSum: "probabilities that can't add up to 1"
        }
    }
}

/// Fills in the entropy intervals of a rollout that was dumped with its k best log-probabilities; the entropy itself is
/// their middle.
struct TopKBounds {
    private let frame: RolloutFrame
    private let row: RolloutRow
    private let vocabulary: Int
    /// Whether the vocabulary is a guess.
    let assumesVocabulary: Bool

    /// Far above any vocabulary: the upper bound needs the tail's size, which a top-k dump does not say. Producers may
    /// state `vocab_size` in the metadata.
    static let assumedVocabulary = 262_144
    /// Log-probabilities of one token by two sources of one engine may differ by as much: kernels and batches do.
    private static let tolerance = 0.01

    /// `checkpoint`: vocabulary of the checkpoint that scores beside, if any.
    init(_ frame: RolloutFrame, _ row: RolloutRow, checkpoint: Int?) {
        (self.frame, self.row) = (frame, row)
        let stated = frame.metadata["vocab_size"].flatMap { Int($0) }.flatMap { $0 > 0 ? $0 : nil } ?? checkpoint
        (vocabulary, assumesVocabulary) = (stated ?? Self.assumedVocabulary, stated == nil)
    }

    /// Whether the log-probabilities are those of the distribution that entropies are taken of. Raw ones are before the
    /// temperature, and what entropy is at another temperature doesn't follow from some of them; processed ones must
    /// not have been cut off.
    var areOfThePolicy: Bool { frame.metadata["logits_kind"] == "processed" ? isWhole : row.temperature == 1 }

    /// Whether the sampler drew from the whole distribution, so that `rollout_logprobs` are of it too.
    private var isWhole: Bool { row.topP == 1 && (frame.metadata["top_k"].flatMap { Int($0) } ?? 0) <= 0 }

    /// A token whose best log-probabilities are at fault has the interval from 0 to ln V, and for its entropy 0:
    /// nothing that is not known is taken for a fork. A rollout of which that is so throughout has no entropies.
    func fill(_ scores: inout FrameScores) {
        guard let logprobs = frame.topkLogprobs, let ids = frame.topkTokenIDs, frame.topk > 0 else { return }
        let rounding = LogprobRounding(of: logprobs), sampledRounding = LogprobRounding(of: sampledLogprobs)
        var low = [Float](repeating: 0, count: frame.tokenIDs.count), high = low, middle = low, start = 0, known = 0
        for position in frame.lossMask.indices where frame.lossMask[position] {
            let entries = start..<start + frame.topk
            start = entries.upperBound
            do {
                let best = try BestTokens(
                    ids[entries], logprobs[entries], vocabulary: assumesVocabulary ? nil : vocabulary)
                let bounds = try interval(position, best, rounding, sampledRounding)
                (low[position], high[position]) = (Float(bounds.low), Float(bounds.high))
                middle[position] = Float((bounds.low + bounds.high) / 2)
                known += 1
            } catch let fault {
                scores.topKFaults.append((position, fault.kind))
                high[position] = Float(log(Double(vocabulary)))
            }
        }
        scores.topK = frame.topk
        guard known > 0 else { return }
        (scores.entropy, scores.entropyLow, scores.entropyHigh) = (middle, low, high)
    }

    private func interval(
        _ position: Int, _ best: BestTokens, _ rounding: LogprobRounding, _ ownRounding: LogprobRounding
    ) throws(Fault) -> (low: Double, high: Double) {
        let own = try sampled(position, beside: best, rounding, ownRounding)
        guard
            let bounds = EntropyBounds.bounds(
                best.logprobs, known: own, vocabulary: vocabulary, rounding: rounding, knownRounding: ownRounding)
        else {
            throw Fault(kind: .impossibleSum)
        }
        return bounds
    }

    private struct Fault: Error { let kind: TopKFault }

    /// A token's best, each id once.
    private struct BestTokens {
        private(set) var logprobs: [Double] = []
        private var byID: [Int32: Double] = [:]

        /// `vocabulary`: nil where it is a guess.
        init(_ ids: ArraySlice<Int32>, _ logprobs: ArraySlice<Float>, vocabulary: Int?) throws(Fault) {
            // Engines fill up what they don't know with -9999.
            for (id, logprob) in zip(ids, logprobs) where logprob > LogprobRounding.leastLogprob {
                if let vocabulary, Int(id) >= vocabulary { throw Fault(kind: .unknownToken) }
                guard let same = byID.updateValue(Double(logprob), forKey: id) else {
                    self.logprobs.append(Double(logprob))
                    continue
                }
                guard same == Double(logprob) else { throw Fault(kind: .duplicateToken) }
            }
            guard !self.logprobs.isEmpty else { throw Fault(kind: .missing) }
        }

        subscript(id: Int32) -> Double? { byID[id] }
    }

    /// The sampler's own log-probabilities where they are of the same distribution.
    private var sampledLogprobs: [Float] {
        guard isWhole, let logprobs = frame.rolloutLogprobs else { return [] }
        return frame.lossMask.indices.filter { frame.lossMask[$0] }.map { logprobs[$0] }
    }

    /// The sampled token's log-probability where it is not among the best. Where it is, it must be the same.
    private func sampled(
        _ position: Int, beside best: BestTokens, _ rounding: LogprobRounding, _ ownRounding: LogprobRounding
    ) throws(Fault) -> [Double] {
        guard isWhole, let value = frame.rolloutLogprobs?[position], value.isFinite,
            value > LogprobRounding.leastLogprob
        else { return [] }
        let logprob = Double(value)
        if let same = best[frame.tokenIDs[position]] {
            guard abs(same - logprob) <= Self.tolerance + rounding.error(same) + ownRounding.error(logprob) else {
                throw Fault(kind: .otherLogprob)
            }
            return []
        }
        let last = best.logprobs.min() ?? 0
        guard logprob <= last + Self.tolerance + rounding.error(last) + ownRounding.error(logprob) else {
            throw Fault(kind: .likelierOutside)
        }
        return [logprob]
    }
}
