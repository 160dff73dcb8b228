import Tensors

/// How many tokens each expert took in the passes of a step.
package final class ExpertLoad {
    /// [layers, E], row by row; 0 in dense layers.
    package private(set) var counts: [Int]
    /// Tokens of passes, and of these those whose experts were the sampler's.
    package private(set) var tokens = 0
    package private(set) var replayed = 0
    private let experts: Int
    private let sparse: [Int]

    /// nil for a model without experts.
    package init?(_ architecture: DecoderArchitecture) {
        guard let mixture = architecture.experts else { return nil }
        experts = mixture.count
        sparse = (0..<architecture.layers).filter { architecture.experts(ofLayer: $0) != nil }
        counts = [Int](repeating: 0, count: architecture.layers * mixture.count)
    }

    func add(layer: Int, _ chosen: Matrix) {
        for row in 0..<chosen.rows {
            for slot in 0..<chosen.columns { counts[layer * experts + Int(chosen.row(row)[slot])] += 1 }
        }
    }

    func add(tokens: Int, replayed: Int) {
        self.tokens += tokens
        self.replayed += replayed
    }

    /// What other ranks counted in their parts of the step.
    package func add(counts: [Int], tokens: Int, replayed: Int) {
        for index in self.counts.indices { self.counts[index] += counts[index] }
        add(tokens: tokens, replayed: replayed)
    }

    private var layers: [ArraySlice<Int>] { sparse.map { counts[$0 * experts..<($0 + 1) * experts] } }

    /// Tokens of the busiest expert of any layer, over those of its layer's mean: 1 is balance, the number of experts
    /// all on one.
    package var imbalance: Double? {
        layers.compactMap { layer in
            let sum = layer.reduce(0, +)
            return sum == 0 ? nil : Double(layer.max() ?? 0) * Double(experts) / Double(sum)
        }.max()
    }

    /// Share of all experts of all layers, 0 to 1, that no token took.
    package var idleShare: Double {
        let all = layers.joined()
        return all.isEmpty ? 0 : Double(all.count { $0 == 0 }) / Double(all.count)
    }

    package var replayedShare: Double { tokens == 0 ? 0 : Double(replayed) / Double(tokens) }
}
