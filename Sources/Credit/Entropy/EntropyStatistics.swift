/// The tokens of a dump with what their entropies are broken down by. Columns of equal length, trainable tokens only.
package struct EntropySample: Sendable {
    package private(set) var entropy: [Float] = []
    package private(set) var token: [Int32] = []
    /// Tenth of its response that a token lies in, 0…9.
    package private(set) var decile: [Int] = []
    package private(set) var correct: [Bool?] = []
    package private(set) var finish: [String] = []

    package init() {}

    package mutating func add(entropy: [Float], tokens: [Int32], mask: [Bool], correct: Bool?, finish: String) {
        let places = mask.indices.filter { mask[$0] }
        for (number, t) in places.enumerated() {
            self.entropy.append(entropy[t])
            token.append(tokens[t])
            decile.append(number * 10 / places.count)
            self.correct.append(correct)
            self.finish.append(finish)
        }
    }
}

/// What "Beyond the 80/20 rule" (arXiv 2506.01939, sections 3 and 4) reports of a model's entropies.
package struct EntropyStatistics: Encodable, Equatable, Sendable {
    package let tokens: Int
    package let mean: Double
    /// 50.64 % for Qwen3-8B on AIME.
    package let shareBelow001: Double
    /// 0.672 is that model's 80th percentile; a figure to compare with, not a threshold to train by.
    package let shareAbove0672: Double
    /// At 0, 5, … 100 %.
    package let quantiles: [Double]
    /// Entropy above which the share of tokens lies, by that share.
    package let thresholds: [String: Double]
    package let meanByDecile: [Double?]
    package let meanByOutcome: [String: Double]
    package let meanByFinish: [String: Double]

    /// nil without tokens.
    package init?(_ sample: EntropySample) {
        guard !sample.entropy.isEmpty else { return nil }
        let count = Double(sample.entropy.count)
        tokens = sample.entropy.count
        mean = sample.entropy.reduce(0) { $0 + Double($1) } / count
        shareBelow001 = Double(sample.entropy.count { $0 < 0.01 }) / count
        shareAbove0672 = Double(sample.entropy.count { $0 > 0.672 }) / count
        quantiles = stride(from: 0, through: 100, by: 5).map { quantile(sample.entropy, Double($0) / 100) ?? 0 }
        thresholds = Dictionary(
            uniqueKeysWithValues: Self.shares.map { ("\($0)", quantile(sample.entropy, $0.complement) ?? 0) })
        let deciles = means(sample.entropy, by: sample.decile)
        meanByDecile = (0..<10).map { deciles[$0]?.mean }
        meanByOutcome = means(
            sample.entropy, by: sample.correct.map { $0.map { $0 ? "correct" : "wrong" } ?? "unjudged" }
        ).mapValues(\.mean)
        meanByFinish = means(sample.entropy, by: sample.finish).mapValues(\.mean)
    }

    package static let shares: [Share] = [0.1, 0.2, 0.5]
}

private func means<Key: Hashable>(_ values: [Float], by keys: [Key]) -> [Key: (count: Int, mean: Double)] {
    var sums: [Key: (count: Int, sum: Double)] = [:]
    for (value, key) in zip(values, keys) {
        sums[key, default: (0, 0)] = ((sums[key]?.count ?? 0) + 1, (sums[key]?.sum ?? 0) + Double(value))
    }
    return sums.mapValues { ($0.count, $0.sum / Double($0.count)) }
}

/// Mean entropy of one token over a dump.
package struct TokenEntropy: Encodable, Equatable, Sendable {
    package let token: Int32
    package let count: Int
    package let mean: Double

    /// Tokens that occur more than `minimumCount` times, highest mean first; equal means by token.
    package static func table(_ sample: EntropySample, minimumCount: Int) -> [TokenEntropy] {
        means(sample.entropy, by: sample.token).filter { $0.value.count > minimumCount }
            .map { TokenEntropy(token: $0.key, count: $0.value.count, mean: $0.value.mean) }
            .sorted { ($0.mean, $1.token) > ($1.mean, $0.token) }
    }
}

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
