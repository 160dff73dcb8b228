import CKernels
import Formats
import Foundation

/// How far rounding stored logits to their type has moved what they say, in nats: at most, of every token, and as is to
/// be expected, of rows that are drawn for the slower look.
struct StorageError: Codable, Sendable {
    /// Bounds.
    private(set) var tokens = 0
    private var entropyBoundSum = 0.0
    private(set) var entropyBoundMax = 0.0
    private var logprobBoundSum = 0.0
    private(set) var logprobBoundMax = 0.0
    /// Expected squares of errors, each row drawn as often as it stands for others; and the squares of those.
    private var entropySquares = 0.0
    private var logprobSquares = 0.0
    private var logprobFourths = 0.0
    /// Rollouts by the type that their logits were rounded to.
    private(set) var types: [String: Int] = [:]

    /// `precision`: what the narrowest type that holds the logits makes of a bound of the type that they are stored in.
    mutating func add(_ stats: crux_row_stats, precision: Double) {
        tokens += 1
        entropyBoundSum += stats.entropy_noise * precision
        entropyBoundMax = max(entropyBoundMax, stats.entropy_noise * precision)
        logprobBoundSum += stats.logprob_noise * precision
        logprobBoundMax = max(logprobBoundMax, stats.logprob_noise * precision)
    }

    /// A drawn row that stands for `weight` rows.
    mutating func add(_ error: crux_row_error, weight: Double) {
        let square = error.logprob * error.logprob
        entropySquares += weight * error.entropy * error.entropy
        logprobSquares += weight * square
        logprobFourths += weight * square * square
    }

    mutating func add(type: String) { types[type, default: 0] += 1 }

    static func += (sum: inout StorageError, next: StorageError) {
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

    var entropyBoundMean: Double { mean(entropyBoundSum) }
    var logprobBoundMean: Double { mean(logprobBoundSum) }
    /// Root mean square over tokens.
    var expectedEntropyError: Double { mean(entropySquares).squareRoot() }
    var expectedLogprobError: Double { mean(logprobSquares).squareRoot() }
    /// Of one token, on average.
    var logprobVariance: ErrorVariance {
        ErrorVariance(square: mean(logprobSquares), fourth: mean(logprobFourths))
    }
}

/// Expected square of an error, and the mean over tokens of its square: what the mean of squares can deviate by follows
/// from it.
struct ErrorVariance: Sendable {
    var square = 0.0
    var fourth = 0.0

    static func + (a: ErrorVariance, b: ErrorVariance) -> ErrorVariance {
        ErrorVariance(square: a.square + b.square, fourth: a.fourth + b.fourth)
    }
}

/// Which rows of a rollout's logits are drawn for the look at their expected error, which takes longer than all else:
/// the first ones, and of the others up to an eighth, the more the less sure they are. The draw follows from the
/// rollout's id alone.
struct RowDraw {
    private var place: Double

    static let always = 16
    private static let most = 1.0 / 8, least = 1.0 / 64

    init(rolloutID: String) {
        // 52 bits of the digest: a number from 0 to below 1.
        place = Double(UInt64(SHA256Digest.of(rolloutID).prefix(13), radix: 16) ?? 0) * 0x1p-52
    }

    /// How many rows this one stands for; nil where it isn't drawn.
    mutating func weight(_ row: Int, _ stats: crux_row_stats) -> Double? {
        guard row >= Self.always else { return 1 }
        let unsureness = min(1, stats.entropy) + (1 - exp(stats.logprob)),
            chance = min(Self.most, max(Self.least, unsureness / 16)), next = place + chance
        defer { place = next - next.rounded(.down) }
        return next >= 1 ? 1 / chance : nil
    }
}

extension crux_dtype {
    /// As shards call it.
    var name: String { self == CRUX_BF16 ? "bf16" : self == CRUX_F16 ? "f16" : "f32" }
}
