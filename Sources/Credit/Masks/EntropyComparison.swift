import Entropy
import Quantiles

/// Two policies on the same tokens: which they are uncertain at, and where the entropy went.
package struct EntropyComparison: Encodable, Equatable, Sendable {
    package struct Overlap: Encodable, Equatable, Sendable {
        package let share: Double
        /// |A ∩ B| / |A ∪ B| and |A ∩ B| / |A| of the top tokens.
        package let jaccard: Double
        package let overlap: Double
    }
    /// Shares of tokens whose ratio leaves 0.8…1.28, among those of the top 20 % and among the rest.
    package struct Clipping: Encodable, Equatable, Sendable {
        package let lowKept: Double
        package let highKept: Double
        package let lowRest: Double
        package let highRest: Double
    }

    package let overlaps: [Overlap]
    /// Mean change of entropy by twentieth of the first policy's.
    package let changeByBin: [Double?]
    package let clipping: Clipping?

    /// `before` and `after` hold the same tokens in the same order; log-probabilities of them where known.
    package init(before: [Float], after: [Float], logprobs: (before: [Float], after: [Float])?) {
        let keptBy: (Share, [Float]) -> [Bool] = { share, values in
            var mask = EntropyMask()
            mask.top = share
            return mask.keep(values).kept
        }
        overlaps = EntropyStatistics.shares.map { share in
            let a = keptBy(share, before), b = keptBy(share, after)
            let both = Double(zip(a, b).count { $0 && $1 }), either = Double(zip(a, b).count { $0 || $1 })
            return Overlap(
                share: share.value, jaccard: either == 0 ? 1 : both / either,
                overlap: both / Double(max(1, a.count { $0 })))
        }
        let order = before.indices.sorted { (before[$0], $0) < (before[$1], $1) }
        changeByBin = (0..<20).map { bin in
            let part = order[order.count * bin / 20..<order.count * (bin + 1) / 20]
            return part.isEmpty
                ? nil : part.reduce(0) { $0 + Double(after[$1]) - Double(before[$1]) } / Double(part.count)
        }
        clipping = logprobs.map { Self.clipping($0.before, $0.after, keptBy(0.2, before)) }
    }

    private static func clipping(_ before: [Float], _ after: [Float], _ kept: [Bool]) -> Clipping {
        func share(_ isKept: Bool, _ isOut: (Double) -> Bool) -> Double {
            let part = kept.indices.filter { kept[$0] == isKept }
            // exp's argument decides as well as its value: ln 0.8 and ln 1.28.
            return Double(part.count { isOut(Double(after[$0]) - Double(before[$0])) }) / Double(max(1, part.count))
        }
        let low = { (d: Double) in d < -0.22314355131420976 }, high = { (d: Double) in d > 0.24686007793152578 }
        return Clipping(
            lowKept: share(true, low), highKept: share(true, high), lowRest: share(false, low),
            highRest: share(false, high))
    }
}
