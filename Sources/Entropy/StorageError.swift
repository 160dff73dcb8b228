import CKernels
import Foundation

/// How far rounding stored logits to their type has moved what they say, in nats: at most, of every token, and as is to
/// be expected, of rows that are drawn for the slower look.
package struct StorageError: Codable, Sendable {
    /// Bounds.
    package private(set) var tokens = 0
    private var entropyBoundSum = 0.0
    package private(set) var entropyBoundMax = 0.0
    private var logprobBoundSum = 0.0
    package private(set) var logprobBoundMax = 0.0
    /// Expected squares of errors, each row drawn as often as it stands for others; and the squares of those.
    private var entropySquares = 0.0
    private var logprobSquares = 0.0
    private var logprobFourths = 0.0
    /// Rollouts by the type that their logits were rounded to.
    package private(set) var types: [String: Int] = [:]

    package init() {}

    /// `precision`: what the narrowest type that holds the logits makes of a bound of the type that they are stored in.
    package mutating func add(_ row: LogitsMeasure, precision: Double) {
        tokens += 1
        entropyBoundSum += row.stats.entropy_noise * precision
        entropyBoundMax = max(entropyBoundMax, row.stats.entropy_noise * precision)
        logprobBoundSum += row.stats.logprob_noise * precision
        logprobBoundMax = max(logprobBoundMax, row.stats.logprob_noise * precision)
    }

    /// A drawn row that stands for `weight` rows.
    package mutating func add(_ error: ExpectedStorageError, weight: Double) {
        let square = error.logprob * error.logprob
        entropySquares += weight * error.entropy * error.entropy
        logprobSquares += weight * square
        logprobFourths += weight * square * square
    }

    package mutating func add(type: String) { types[type, default: 0] += 1 }

    package static func += (sum: inout StorageError, next: StorageError) {
        sum.tokens += next.tokens
        sum.entropyBoundSum += next.entropyBoundSum
        sum.entropyBoundMax = max(sum.entropyBoundMax, next.entropyBoundMax)
        sum.logprobBoundSum += next.logprobBoundSum
        sum.logprobBoundMax = max(sum.logprobBoundMax, next.logprobBoundMax)
        sum.entropySquares += next.entropySquares
        sum.logprobSquares += next.logprobSquares
        sum.logprobFourths += next.logprobFourths
        sum.types.merge(next.types, uniquingKeysWith: +)
    }

    private func mean(_ sum: Double) -> Double { sum / Double(max(1, tokens)) }

    package var entropyBoundMean: Double { mean(entropyBoundSum) }
    package var logprobBoundMean: Double { mean(logprobBoundSum) }
    /// Root mean square over tokens.
    package var expectedEntropyError: Double { mean(entropySquares).squareRoot() }
    package var expectedLogprobError: Double { mean(logprobSquares).squareRoot() }
    /// Of one token, on average.
    package var logprobVariance: ErrorVariance {
        ErrorVariance(square: mean(logprobSquares), fourth: mean(logprobFourths))
    }
}

/// Expected square of an error, and the mean over tokens of its square: what the mean of squares can deviate by follows
/// from it.
package struct ErrorVariance: Sendable {
    package var square = 0.0
    package var fourth = 0.0

    package init(square: Double = 0, fourth: Double = 0) { (self.square, self.fourth) = (square, fourth) }

    package static func + (a: ErrorVariance, b: ErrorVariance) -> ErrorVariance {
        ErrorVariance(square: a.square + b.square, fourth: a.fourth + b.fourth)
    }
}

/// Which rows of a rollout's logits are drawn for the look at their expected error, which takes longer than all else:
/// the first ones, and of the others up to an eighth, the more the less sure they are. The draw follows from the
/// rollout's id alone.
package struct RowDraw: Sendable {
    private var place: Double

    package static let always = 16
    private static let most = 1.0 / 8, least = 1.0 / 64

    /// `digest`: of the rollout's id, in hex.
    package init(digest: String) {
        // 52 bits of the digest: a number from 0 to below 1.
        place = Double(UInt64(digest.prefix(13), radix: 16) ?? 0) * 0x1p-52
    }

    /// How many rows this one stands for; nil where it isn't drawn.
    package mutating func weight(_ row: Int, _ measure: LogitsMeasure) -> Double? {
        guard row >= Self.always else { return 1 }
        let unsureness = min(1, measure.entropy) + (1 - exp(measure.logprob)),
            chance = min(Self.most, max(Self.least, unsureness / 16)), next = place + chance
        defer { place = next - next.rounded(.down) }
        return next >= 1 ? 1 / chance : nil
    }
}
