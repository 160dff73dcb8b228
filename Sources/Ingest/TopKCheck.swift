import Formats
import Foundation

/// Best log-probabilities that contradict themselves, or what the sampler says of the token it drew: intervals made of them would
/// hold nothing.
struct TopKCheck {
    private let frame: RolloutFrame
    private let vocabulary: Int?
    private let isComparable: Bool

    /// `vocabulary`: as the metadata states it. `isComparable`: whether `rollout_logprobs` are of the same distribution.
    init(_ frame: RolloutFrame, vocabulary: Int?, isComparable: Bool) {
        (self.frame, self.vocabulary, self.isComparable) = (frame, vocabulary, isComparable)
    }

    /// Engines fill up what they don't know with -9999.
    private static let unknown: Float = -9000

    /// Sampler and trainer may differ by 1e-2 where either is rounded to 16 bits (or to two decimals or more), and by half a unit
    /// in the last place of a bfloat16 on both sides.
    private static func tolerance(_ logprob: Float) -> Float { 1e-2 + abs(logprob) * 0x1p-8 }

    /// The first contradiction, as what was found and what was expected.
    func contradiction() -> (found: String, expected: String)? {
        guard let ids = frame.topkTokenIDs, let logprobs = frame.topkLogprobs, frame.topk > 0 else { return nil }
        var start = 0, known: [Int32] = []
        for position in frame.lossMask.indices where frame.lossMask[position] {
            let best = start..<start + frame.topk
            known.removeAll(keepingCapacity: true)
            for place in best where logprobs[place] > Self.unknown { known.append(ids[place]) }
            if let found = contradiction(ids[best], logprobs[best], &known, position) { return found }
            start = best.upperBound
        }
        return nil
    }

    private func contradiction(
        _ ids: ArraySlice<Int32>, _ logprobs: ArraySlice<Float>, _ known: inout [Int32], _ position: Int
    ) -> (String, String)? {
        if let vocabulary, let id = known.first(where: { Int($0) >= vocabulary }) {
            return ("top-k id \(id) at position \(position)", "ids below vocab_size, \(vocabulary)")
        }
        known.sort()
        if let twice = known.indices.dropFirst().first(where: { known[$0] == known[$0 - 1] }) {
            return ("top-k id \(known[twice]) twice at position \(position)", "each token once")
        }
        guard isComparable, let sampled = frame.rolloutLogprobs?[position], !known.isEmpty else { return nil }
        return contradiction(sampled, ids, logprobs, position)
    }

    /// `sampled`: the sampler's word about the token at the position.
    private func contradiction(
        _ sampled: Float, _ ids: ArraySlice<Int32>, _ logprobs: ArraySlice<Float>, _ position: Int
    ) -> (String, String)? {
        if let place = zip(ids.indices, ids).first(where: { $1 == frame.tokenIDs[position] })?.0, logprobs[place] > Self.unknown {
            guard abs(logprobs[place] - sampled) > Self.tolerance(sampled) else { return nil }
            return (
                "rollout_logprobs \(sampled) and top-k log-probability \(logprobs[place]) of token \(frame.tokenIDs[position]) at position "
                    + "\(position)", "the same from both"
            )
        }
        let least = logprobs.filter { $0 > Self.unknown }.min() ?? 0
        guard sampled > least + Self.tolerance(sampled) else { return nil }
        return (
            "rollout_logprobs \(sampled) of token \(frame.tokenIDs[position]), which is not among the top-k, at position \(position)",
            "at most \(least), the least likely of them"
        )
    }
}
