import Entropy
import Formats
import Foundation

/// Fills in the entropy intervals of a rollout that was dumped with its k best log-probabilities; the entropy itself is
/// their middle.
struct TopKScores {
    private let frame: RolloutFrame
    private let row: RolloutRow
    private let bounds: TopKBounds

    /// `checkpoint`: vocabulary of the checkpoint that scores beside, if any. Producers may state `vocab_size` in the
    /// metadata.
    init(_ frame: RolloutFrame, _ row: RolloutRow, checkpoint: Int?) {
        (self.frame, self.row) = (frame, row)
        let stated = frame.metadata["vocab_size"].flatMap { Int($0) }.flatMap { $0 > 0 ? $0 : nil }
        bounds = TopKBounds(
            vocabulary: stated ?? checkpoint, logprobs: frame.topkLogprobs ?? [], sampled: Self.sampled(frame, row))
    }

    /// Whether the vocabulary is a guess.
    var assumesVocabulary: Bool { bounds.assumesVocabulary }

    /// Whether the log-probabilities are those of the distribution that entropies are taken of. Raw ones are before the
    /// temperature, and what entropy is at another temperature doesn't follow from some of them; processed ones must
    /// not have been cut off.
    /// Of tokens whose support is known they may have been: shares among those stay the same.
    var areOfThePolicy: Bool {
        guard frame.metadata["logits_kind"] == "processed" else { return row.temperature == 1 }
        return row.support != nil || Self.isWhole(frame, row)
    }

    /// Whether the sampler drew from the whole distribution, so that `rollout_logprobs` are of it too.
    private static func isWhole(_ frame: RolloutFrame, _ row: RolloutRow) -> Bool {
        row.topP == 1 && (frame.metadata["top_k"].flatMap { Int($0) } ?? 0) <= 0
    }

    /// The sampler's own log-probabilities where they are of the same distribution.
    private static func sampled(_ frame: RolloutFrame, _ row: RolloutRow) -> [Float] {
        guard isWhole(frame, row), let logprobs = frame.rolloutLogprobs else { return [] }
        return frame.lossMask.indices.filter { frame.lossMask[$0] }.map { logprobs[$0] }
    }

    /// Of the softmax over the tokens that could be drawn, where all of them are among the best; their shares of each
    /// other don't depend on the others.
    private static func entropy(
        over support: ArraySlice<Int32>, _ ids: ArraySlice<Int32>, _ logprobs: ArraySlice<Float>
    ) -> Double? {
        let known = Dictionary(zip(ids, logprobs.map { Double($0) })) { first, _ in first }
        let found = support.compactMap { known[$0] }
        guard found.count == support.count, found.allSatisfy(\.isFinite) else { return nil }
        let largest = found.max() ?? 0, sum = found.reduce(0) { $0 + exp($1 - largest) }
        return found.reduce(0) { $0 - exp($1 - largest) / sum * ($1 - largest - log(sum)) }
    }

    /// A token whose best log-probabilities are at fault has the interval from 0 to ln V, and for its entropy 0:
    /// nothing that is not known is taken for a fork. A rollout of which that is so throughout has no entropies.
    func fill(_ scores: inout FrameScores) {
        guard let logprobs = frame.topkLogprobs, let ids = frame.topkTokenIDs, frame.topk > 0 else { return }
        let own = Self.isWhole(frame, row) ? frame.rolloutLogprobs : nil
        var low = [Float](repeating: 0, count: frame.tokenIDs.count), high = low, middle = low, start = 0, token = 0,
            known = 0
        for position in frame.lossMask.indices where frame.lossMask[position] {
            let entries = start..<start + frame.topk
            start = entries.upperBound
            defer { token += 1 }
            if let support = row.support?[token] {
                let entropy = Self.entropy(over: support, ids[entries], logprobs[entries])
                high[position] = Float(entropy ?? log(Double(support.count)))
                if let entropy {
                    (low[position], middle[position]) = (Float(entropy), Float(entropy))
                    known += 1
                } else {
                    scores.topKFaults.append((position, .supportNotAmongBest))
                }
                continue
            }
            do {
                let interval = try bounds.interval(
                    ids[entries], logprobs[entries], sampled: own.map { (frame.tokenIDs[position], $0[position]) })
                (low[position], high[position]) = (Float(interval.low), Float(interval.high))
                middle[position] = Float((interval.low + interval.high) / 2)
                known += 1
            } catch let fault {
                scores.topKFaults.append((position, fault))
                high[position] = Float(log(Double(bounds.vocabulary)))
            }
        }
        scores.topK = frame.topk
        guard known > 0 else { return }
        (scores.entropy, scores.entropyLow, scores.entropyHigh) = (middle, low, high)
    }
}
