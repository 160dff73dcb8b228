import Foundation

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
