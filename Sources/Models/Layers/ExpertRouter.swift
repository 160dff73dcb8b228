import CKernels
import Tensors

/// Which experts each token takes, and with what weight.
struct ExpertRouter: Sendable {
    let weights: LinearWeights
    private let mixture: ExpertMixture

    init(_ weights: LinearWeights, _ mixture: ExpertMixture) { (self.weights, self.mixture) = (weights, mixture) }

    /// x [S, C] → probabilities over all experts, the chosen ones and their weights. Always in float32: a product rounded
    /// to 16 bits would choose others. Where a row has `recorded` experts, those are its own.
    func forward(_ x: Matrix, _ recorded: RecordedChoices?, _ routes: ExpertRoutes, _ compute: Compute) {
        let probabilities = routes.probabilities
        linearForward(x, weights, into: probabilities, compute.inFloat32)
        compute.forEachBlock(rows: x.rows) { _, rows in
            for row in rows {
                crux_softmax_row(probabilities.row(row), mixture.count, 1)
                if let list = recorded?.lists[row] {
                    for (slot, expert) in list.enumerated() { routes.chosen.row(row)[slot] = Float(expert) }
                } else {
                    choose(row, routes)
                }
                weigh(row, routes)
            }
        }
    }

    /// The likeliest k, of equals the first.
    private func choose(_ row: Int, _ routes: ExpertRoutes) {
        let p = UnsafeBufferPointer(start: routes.probabilities.row(row), count: mixture.count)
        let chosen = routes.chosen.row(row)
        for slot in 0..<mixture.chosen {
            var best = -1
            for expert in p.indices where best < 0 || p[expert] > p[best] {
                let isTaken = (0..<slot).contains { Int(chosen[$0]) == expert }
                if !isTaken { best = expert }
            }
            chosen[slot] = Float(best)
        }
    }

    /// The chosen ones' probabilities, of all or of themselves alone.
    private func weigh(_ row: Int, _ routes: ExpertRoutes) {
        let p = routes.probabilities.row(row), chosen = routes.chosen.row(row), weights = routes.weights.row(row)
        var sum: Float = 0
        for slot in 0..<mixture.chosen {
            weights[slot] = p[Int(chosen[slot])]
            sum += weights[slot]
        }
        guard mixture.sumsToOne else { return }
        for slot in 0..<mixture.chosen { weights[slot] /= sum }
    }

    /// dweights [S, k], of the chosen → dx += and the router's gradient. `dlogits` [S, E] is scratch. The choice itself
    /// has no gradient.
    func backward(
        _ dweights: Matrix, x: Matrix, _ routes: ExpertRoutes, gradient: any LinearGradient, dlogits: Matrix,
        into dx: Matrix, _ compute: Compute
    ) {
        compute.forEachBlock(rows: x.rows) { _, rows in
            for row in rows { softmaxBackward(dweights.row(row), row, routes, into: dlogits.row(row)) }
        }
        linearBackward(
            dlogits, x: x, weights, gradient: gradient, into: dx, adding: true, compute.inFloat32)
    }

    private func softmaxBackward(
        _ dweights: UnsafeMutablePointer<Float>, _ row: Int, _ routes: ExpertRoutes,
        into dlogits: UnsafeMutablePointer<Float>
    ) {
        let p = routes.probabilities.row(row), chosen = routes.chosen.row(row), weights = routes.weights.row(row)
        let slots = 0..<mixture.chosen
        // Of weights that sum to one only what differs from their mean derivative counts.
        let sum = slots.reduce(Float(0)) { $0 + p[Int(chosen[$1])] }
        let mean = slots.reduce(Float(0)) { $0 + dweights[$1] * weights[$1] }
        func derivative(_ slot: Int) -> Float { mixture.sumsToOne ? (dweights[slot] - mean) / sum : dweights[slot] }
        let delta = slots.reduce(Float(0)) { $0 + p[Int(chosen[$1])] * derivative($1) }
        for expert in 0..<mixture.count { dlogits[expert] = -p[expert] * delta }
        for slot in slots { dlogits[Int(chosen[slot])] += p[Int(chosen[slot])] * derivative(slot) }
    }
}

/// What a router said of S tokens.
struct ExpertRoutes {
    /// [S, E]
    let probabilities: Matrix
    /// [S, k], numbers of experts.
    let chosen: Matrix
    /// [S, k]
    let weights: Matrix
}

/// The chosen (token, slot) pairs in the order of their experts, and within one in that of the tokens: each expert's are
/// neighbours.
struct ExpertGroups {
    /// Of each expert, into `tokens` and `slots`.
    private var starts: [Int]
    let tokens: [Int]
    let slots: [Int]

    init(_ chosen: Matrix, experts: Int) {
        var starts = [Int](repeating: 0, count: experts + 1)
        for row in 0..<chosen.rows {
            for slot in 0..<chosen.columns { starts[Int(chosen.row(row)[slot]) + 1] += 1 }
        }
        for expert in 0..<experts { starts[expert + 1] += starts[expert] }
        var next = starts
        var tokens = [Int](repeating: 0, count: chosen.rows * chosen.columns), slots = tokens
        for row in 0..<chosen.rows {
            for slot in 0..<chosen.columns {
                let expert = Int(chosen.row(row)[slot])
                (tokens[next[expert]], slots[next[expert]]) = (row, slot)
                next[expert] += 1
            }
        }
        (self.starts, self.tokens, self.slots) = (starts, tokens, slots)
    }

    func range(of expert: Int) -> Range<Int> { starts[expert]..<starts[expert + 1] }
}
