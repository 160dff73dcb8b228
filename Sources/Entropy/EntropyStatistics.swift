import Quantiles

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
