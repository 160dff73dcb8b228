import Foundation

/// Weights for what the sampler and the trainer disagree about (other kernels, other precision, an older policy):
/// w = π_trainer / π_sampler of the sampled tokens before the first step, multiplied onto the token weights.
package struct ImportanceCorrection: Codable, Equatable, Sendable {
    /// One ratio per token; one per rollout, exp(Σ Δ) or exp(mean Δ) — the product and its geometric mean are different
    /// methods.
    package enum Level: String, Codable, CaseIterable, Sendable {
        case none
        case token
        case sequenceSum = "sequence_sum"
        case sequenceMean = "sequence_mean"
    }
    /// `truncate`: min(w, high) (TIS). `mask`: w where it lies in low…high, 0 elsewhere (IcePop, MIS).
    package enum Mode: String, Codable, CaseIterable, Sendable { case truncate, mask }
    /// What becomes of a rollout all of whose tokens `mask` leaves out: it takes no part in the plan, neither in its
    /// group's comparison nor in denominators; or it keeps its place in both (verl, TRL).
    package enum Rejected: String, Codable, CaseIterable, Sendable { case exclude, keep }

    package var level = Level.none
    package var mode = Mode.truncate
    package var low = 0.5
    /// null is no bound.
    package var high: Double? = 2.0
    package var rejected = Rejected.exclude
    /// Under top-p or top-k the sampler's distribution is another one than the trainer's softmax, and the ratio is
    /// biased.
    package var allowTruncatedSampling = false

    package init() {}

    package var problems: [String] {
        guard isOn else { return [] }
        return
            (high.map { $0 >= 1 } ?? true
            ? [] : ["correction.high is \(high ?? 0); expected at least 1, or null for no bound"])
            + (mode == .truncate || (low >= 0 && low <= 1) ? [] : ["correction.low is \(low); expected 0 to 1"])
    }

    /// Keys that have no effect beside the others, with what stands against them.
    package var unread: [String: String] {
        isOn && mode == .truncate
            ? ["low": "mode is truncate", "rejected": "mode is truncate, which leaves nothing out"] : [:]
    }

    package var isOn: Bool { level != .none }
    /// Whether rollouts may drop out.
    package var rejects: Bool { isOn && mode == .mask && rejected == .exclude }

    /// Whether a rollout drops out: none of its tokens has any weight.
    package func rejects(trainer: [Float], sampler: [Float], mask: [Bool]) -> Bool {
        rejects && mask.contains(true) && !weights(trainer: trainer, sampler: sampler, mask: mask).contains { $0 != 0 }
    }

    /// One weight per token, [L]; 0 where masked out.
    package func weights(trainer: [Float], sampler: [Float], mask: [Bool]) -> [Double] {
        let differences = mask.indices.map { mask[$0] ? Double(trainer[$0]) - Double(sampler[$0]) : 0 }
        let sum = differences.reduce(0, +), count = Double(max(1, mask.count { $0 }))
        return mask.indices.map { t in
            guard mask[t] else { return 0 }
            switch level {
            case .none: return 1
            case .token: return bounded(differences[t])
            case .sequenceSum: return bounded(sum)
            case .sequenceMean: return bounded(sum / count)
            }
        }
    }

    private func bounded(_ logRatio: Double) -> Double {
        let ratio = exp(min(max(logRatio, -20), 20))
        switch mode {
        case .truncate: return min(ratio, high ?? .infinity)
        case .mask: return ratio >= low && ratio <= high ?? .infinity ? ratio : 0
        }
    }
}

/// How far the trainer's policy is from the sampler's, over trainable tokens: what shows a stale or mismatched dump.
package struct Staleness: Equatable, Sendable {
    package private(set) var tokens = 0
    private var absolute = 0.0
    private var divergence = 0.0
    private var ratios = 0.0
    private var squares = 0.0
    package private(set) var largest = 0.0

    package init() {}

    package mutating func add(trainer: [Float], sampler: [Float], mask: [Bool]) {
        if areEqual(trainer, sampler) { return addEqual(mask.count { $0 }) }
        for t in mask.indices where mask[t] {
            let d = Double(trainer[t]) - Double(sampler[t]), ratio = exp(min(max(d, -20), 20))
            tokens += 1
            absolute += abs(d)
            divergence += ratio - 1 - d
            ratios += ratio
            squares += ratio * ratio
            largest = max(largest, abs(d))
        }
    }

    private mutating func addEqual(_ count: Int) {
        tokens += count
        ratios += Double(count)
        squares += Double(count)
    }

    package mutating func add(_ next: Staleness) {
        tokens += next.tokens
        absolute += next.absolute
        divergence += next.divergence
        ratios += next.ratios
        squares += next.squares
        largest = max(largest, next.largest)
    }

    private var count: Double { Double(max(1, tokens)) }
    /// Mean of |Δ|.
    package var meanDifference: Double { absolute / count }
    /// k3 estimate of KL(sampler || trainer) per token.
    package var kl: Double { divergence / count }
    /// (Σw)² / (n Σw²): 1 where nothing differs.
    package var effectiveShare: Double { squares == 0 ? 1 : ratios * ratios / (count * squares) }
}

/// Without a branch, so that many are done at a time; arrays of one length.
private func areEqual(_ a: [Float], _ b: [Float]) -> Bool {
    guard a.count == b.count else { return false }
    var odd: UInt32 = 0
    a.withUnsafeBufferPointer { a in
        b.withUnsafeBufferPointer { b in for t in 0..<a.count { odd |= a[t] == b[t] ? 0 : 1 } }
    }
    return odd == 0
}
