import Entropy
import Formats
import Foundation
import Models

/// Two sources of the sampled tokens' log-probabilities; raw values are the keys' beginnings in the summary.
enum LogprobPair: String, Codable, CaseIterable, CodingKeyRepresentable, Sendable {
    case logitsSampler = "logits_sampler"
    case logitsCheckpoint = "logits_checkpoint"
    case samplerCheckpoint = "sampler_checkpoint"

    var names: String {
        switch self {
        case .logitsSampler: "logits and sampler"
        case .logitsCheckpoint: "logits and checkpoint"
        case .samplerCheckpoint: "sampler and checkpoint"
        }
    }
}

/// How far two sources differ about the log-probabilities of the sampled tokens, and how much of it rounding explains.
struct Disagreement: Codable, Sendable {
    private(set) var tokens = 0
    private var sum = 0.0
    private var squares = 0.0
    private(set) var largest = 0.0
    private(set) var rolloutID = ""
    private(set) var position = 0
    /// Sums over tokens: squares that rounding is expected to make, and their squares.
    private var explained = 0.0
    private var explainedFourths = 0.0

    /// `rounding`: what storing either of them is expected to have moved of a token.
    mutating func add(_ a: [Float]?, _ b: [Float]?, _ row: RolloutRow, rounding: ErrorVariance) {
        guard let a, let b else { return }
        for t in row.lossMask.indices where row.lossMask[t] && a[t].isFinite && b[t].isFinite {
            let difference = abs(Double(a[t]) - Double(b[t]))
            tokens += 1
            sum += difference
            squares += difference * difference
            explained += rounding.square
            explainedFourths += rounding.fourth
            if difference > largest { (largest, rolloutID, position) = (difference, row.rolloutID, t) }
        }
    }

    static func += (sum: inout Disagreement, next: Disagreement) {
        sum.tokens += next.tokens
        sum.sum += next.sum
        sum.squares += next.squares
        sum.explained += next.explained
        sum.explainedFourths += next.explainedFourths
        if next.largest > sum.largest {
            (sum.largest, sum.rolloutID, sum.position) = (next.largest, next.rolloutID, next.position)
        }
    }

    private var count: Double { Double(max(1, tokens)) }
    /// Of the absolute differences.
    var mean: Double { sum / count }
    var rootMeanSquare: Double { (squares / count).squareRoot() }
    /// Root mean square that rounding makes.
    var expected: Double { (explained / count).squareRoot() }

    /// Two programs' kernels differ by as much: root mean square.
    static let kernels = 0.015
    /// Expected errors are those of independent, even rounding: real ones were within a fifth of them.
    static let margin = 1.5
    /// By as many standard errors a mean of squares may exceed what is expected.
    private static let deviations = 5.0

    /// Whether rounding and kernels explain the differences. Squares of n independent errors e_t add up to Σ e_t² ± √(2
    /// Σ e_t⁴).
    var isExplained: Bool {
        let chance = Self.deviations * (2 * explainedFourths).squareRoot()
        return squares <= Self.margin * Self.margin * explained + chance + count * Self.kernels * Self.kernels
    }
}

extension ErrorVariance {
    /// Of log-probabilities that were rounded, whatever they betray of it: even over the range that each may have come
    /// from.
    init(rounded logprobs: [Float]?, _ mask: [Bool]) {
        let values = zip(logprobs ?? [], mask).filter(\.1).map(\.0), rounding = LogprobRounding(of: values)
        guard !rounding.forms.isEmpty else {
            self.init()
            return
        }
        let squares = values.map { pow(rounding.error(Double($0)), 2) / 3 }, count = Double(values.count)
        self.init(square: squares.reduce(0, +) / count, fourth: squares.reduce(0) { $0 + $1 * $1 } / count)
    }
}
