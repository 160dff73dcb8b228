import CKernels
import Foundation

/// How the next token is drawn from softmax(logits / temperature).
package struct SamplingParameters: Equatable, Sendable {
    /// 0 is greedy: always the most likely token, the lowest id among equals.
    package var temperature: Float = 1
    /// Only the most likely tokens whose probabilities reach this sum; 1 is all.
    package var topP: Float = 1
    /// Only this many most likely tokens; 0 is all. Acts before `topP`, which then looks at what is left of the
    /// distribution.
    package var topK = 0

    package init(temperature: Float = 1, topP: Float = 1, topK: Int = 0) {
        self.temperature = temperature
        self.topP = topP
        self.topK = topK
    }

    package var isGreedy: Bool { temperature == 0 }
    /// Whether less than the vocabulary can be drawn.
    package var isTruncated: Bool { !isGreedy && (topK > 0 || topP < 1) }
    /// Log-probabilities of greedy rollouts are those at temperature 1: at 0 every one of them would be 0.
    package var scoringTemperature: Float { isGreedy ? 1 : temperature }
}

/// A sampled token with its log-probability under softmax(logits / temperature), of the tokens that top-p and top-k
/// left where they were on: the distribution that it was drawn from.
struct SampledToken {
    let token: Int32
    let logprob: Float
    /// Over the whole vocabulary.
    let entropy: Float
    /// Tokens that top-p and top-k left, ascending; none where they were off.
    let support: [Int32]

    /// `uniform` in [0, 1) decides. nil where the logits make no distribution: NaN or +inf among them, or all -inf.
    init?(_ logits: UnsafePointer<Float>, count: Int, _ sampling: SamplingParameters, uniform: Double) {
        let inverse = 1 / sampling.scoringTemperature
        var logprob: Float = 0, entropy: Float = 0, logSumExp: Float = 0
        crux_log_softmax_stats(logits, count, inverse, 0, &logprob, &entropy, &logSumExp)
        guard logSumExp.isFinite, entropy.isFinite else { return nil }
        let nucleus =
            sampling.isTruncated
            ? Nucleus(logits, count: count, sampling, inverseTemperature: inverse, logSumExp: logSumExp) : nil
        if sampling.isGreedy {
            token = crux_argmax(logits, count)
        } else if let nucleus {
            token = nucleus.token(at: uniform)
        } else {
            token = crux_sample_row(logits, count, inverse, logSumExp, uniform)
        }
        crux_log_softmax_stats(logits, count, inverse, token, &logprob, &entropy, &logSumExp)
        self.entropy = entropy
        support = nucleus?.tokens.map(\.id).sorted() ?? []
        self.logprob = Self.logprob(of: token, among: support, logits, inverse) ?? logprob
    }

    /// Over these tokens alone, as scores take it; nil of none.
    private static func logprob(
        of token: Int32, among support: [Int32], _ logits: UnsafePointer<Float>, _ inverse: Float
    ) -> Float? {
        guard let place = support.firstIndex(of: token) else { return nil }
        let reachable = support.map { logits[Int($0)] }
        var logprob: Float = 0, entropy: Float = 0, logSumExp: Float = 0
        crux_log_softmax_stats(reachable, reachable.count, inverse, Int32(place), &logprob, &entropy, &logSumExp)
        return logprob
    }
}

/// The tokens that top-k and top-p leave, most likely first (lower id first among equals).
struct Nucleus {
    private(set) var tokens: [(id: Int32, probability: Double)]

    init(
        _ logits: UnsafePointer<Float>, count: Int, _ sampling: SamplingParameters, inverseTemperature: Float,
        logSumExp: Float
    ) {
        let floor = Self.floor(logits, count, sampling, inverseTemperature, logSumExp)
        tokens = (0..<count).filter { logits[$0] >= floor && logits[$0] > -.infinity }.map {
            (Int32($0), exp(Double(logits[$0] * inverseTemperature - logSumExp)))
        }
        tokens.sort { $0.probability != $1.probability ? $0.probability > $1.probability : $0.id < $1.id }
        if sampling.topK > 0, tokens.count > sampling.topK { tokens.removeLast(tokens.count - sampling.topK) }
        guard sampling.topP < 1 else { return }
        let whole = sampling.topK > 0 ? tokens.reduce(0) { $0 + $1.probability } : 1
        var sum = 0.0
        let kept = tokens.prefix { token in
            defer { sum += token.probability }
            return sum < Double(sampling.topP) * whole
        }
        tokens = Array(kept)
    }

    /// No token below this logit can be kept, so that a large vocabulary need not be sorted: all tokens of less than
    /// (1 - topP) / V together weigh less than what top-p may leave out.
    private static func floor(
        _ logits: UnsafePointer<Float>, _ count: Int, _ sampling: SamplingParameters, _ inverseTemperature: Float,
        _ logSumExp: Float
    ) -> Float {
        guard sampling.topK == 0 else {
            var copy = Array(UnsafeBufferPointer(start: logits, count: count))
            return selectDescending(&copy, min(sampling.topK, count) - 1)
        }
        let least = Double(1 - sampling.topP) / Double(count)
        return (Float(log(least)) + logSumExp) / inverseTemperature - 1e-3
    }

    func token(at uniform: Double) -> Int32 {
        let target = uniform * tokens.reduce(0) { $0 + $1.probability }
        var sum = 0.0
        for token in tokens {
            sum += token.probability
            if sum > target { return token.id }
        }
        return tokens[tokens.count - 1].id
    }
}

/// The k-th largest (from 0), by quickselect.
private func selectDescending(_ values: inout [Float], _ k: Int) -> Float {
    var low = 0, high = values.count - 1
    while low < high {
        let pivot = values[low + (high - low) / 2]
        var i = low, j = high
        while i <= j {
            while values[i] > pivot { i += 1 }
            while values[j] < pivot { j -= 1 }
            if i <= j {
                values.swapAt(i, j)
                i += 1
                j -= 1
            }
        }
        if k <= j { high = j } else if k >= i { low = i } else { break }
    }
    return values[k]
}
