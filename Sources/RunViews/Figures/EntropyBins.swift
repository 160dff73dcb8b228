import Foundation

/// Bins of entropies, ten for each factor of ten from 10⁻⁶ to 100 nats: fine enough to draw a histogram on a log scale,
/// few enough to hold for every quantity. Bin 0 lies below all edges, the last one from the last edge on.
package enum EntropyBins {
    private static let perDecade = 10, lowestDecade = -6, highestDecade = 2

    /// Nats, ascending. Bin k holds edges[k - 1] ≤ entropy < edges[k].
    package static let edges: [Double] = (lowestDecade * perDecade...highestDecade * perDecade).map {
        pow(10, Double($0) / Double(perDecade))
    }

    package static var count: Int { edges.count + 1 }

    package static func bin(of entropy: Float) -> Int {
        let value = Double(entropy)
        guard value >= edges[0] else { return 0 }
        // The logarithm may be wrong by one at an edge, so the edges have the last word.
        let guess = Int((log10(value) * Double(perDecade)).rounded(.down)) - lowestDecade * perDecade
        var bin = min(max(guess, 0), edges.count - 1)
        if value < edges[bin] { bin -= 1 } else if bin + 1 < edges.count, value >= edges[bin + 1] { bin += 1 }
        return bin + 1
    }
}

/// Bins of entropies of one width, as "Beyond the 80/20 rule" (arXiv 2506.01939) draws its histogram.
package enum EntropySteps {
    /// Nats.
    package static let width = 0.05
    /// As far as a vocabulary of two hundred thousand can take an entropy.
    package static let count = 250

    /// The last bin holds what lies above it too.
    package static func bin(of entropy: Float) -> Int {
        min(count - 1, max(0, Int((Double(entropy) / width).rounded(.down))))
    }
}

/// A number of each bin.
package struct Binned<Value: AdditiveArithmetic & Sendable>: Sendable {
    package private(set) var values: [Value]

    package init(count: Int = EntropyBins.count) { values = [Value](repeating: .zero, count: count) }

    package mutating func add(_ value: Value, to bin: Int) { values[bin] += value }

    package mutating func add(_ other: Binned) { for bin in values.indices { values[bin] += other.values[bin] } }

    package var total: Value { values.reduce(.zero, +) }
}

extension Binned: Encodable where Value: Encodable {
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(values)
    }
}
