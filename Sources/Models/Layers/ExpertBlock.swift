import CKernels
import Tensors

/// A layer's second half with experts: x + Σ w_e · expert_e(norm(x)). Tokens are grouped by expert, so that each expert
/// is a few large products, and those that no token takes cost nothing.
struct ExpertBlock: FeedForwardHalf {
    let norm: RMSNorm?
    let end: ResidualJoin
    private(set) var router: ExpertRouter
    private(set) var experts: [Expert]
    private let mixture: ExpertMixture
    private let activation: GatedActivation

    /// Asks for its parameters in the order in which they are laid out.
    init(
        _ a: DecoderArchitecture, _ mixture: ExpertMixture, _ parameter: DecoderWeights.Parameter,
        norm: (_ name: String?, _ width: Int) -> RMSNorm?
    ) {
        self.norm = norm(a.norms.beforeFeedForward, a.hidden)
        self.mixture = mixture
        activation = a.activation
        let name = mixture.routerName
        let weight = parameter(name + ".weight", [mixture.count, a.hidden]),
            bias = mixture.routerHasBias ? parameter(name + ".bias", [mixture.count]).float32 : nil
        router = ExpertRouter(LinearWeights(weight: weight, bias: bias), mixture)
        experts = Self.experts(a, mixture, parameter)
        end = ResidualJoin(norm: norm(a.norms.afterFeedForward, a.hidden), scale: a.scales.residual)
        precondition(end.isPlain, "experts whose sum is normed or scaled")
    }

    private static func experts(
        _ a: DecoderArchitecture, _ mixture: ExpertMixture, _ parameter: DecoderWeights.Parameter
    ) -> [Expert] {
        let (count, width, hidden) = (mixture.count, mixture.width, a.hidden)
        switch mixture.storage {
        case .apart:
            return (0..<count).map { expert in
                func linear(_ name: String, _ outputs: Int, _ inputs: Int) -> LinearWeights {
                    LinearWeights(weight: parameter("mlp.experts.\(expert).\(name).weight", [outputs, inputs]))
                }
                let gate = linear("gate_proj", width, hidden), up = linear("up_proj", width, hidden)
                return Expert(inputs: .apart(gate: gate, up: up), down: linear("down_proj", hidden, width))
            }
        case .interleaved:
            func all(_ name: String, _ shape: [Int]) -> WeightMatrix { parameter("mlp.experts." + name, shape) }
            let both = all("gate_up_proj", [count, hidden, 2 * width]),
                bothBias = all("gate_up_proj_bias", [count, 2 * width]).float32
            let down = all("down_proj", [count, width, hidden]),
                downBias = all("down_proj_bias", [count, hidden]).float32
            return (0..<count).map { expert in
                func linear(_ weights: WeightMatrix, _ biases: Matrix, inputs: Int) -> LinearWeights {
                    LinearWeights(
                        inputsFirst: weights[rows: expert * inputs..<(expert + 1) * inputs],
                        bias: biases[rows: expert..<expert + 1])
                }
                return Expert(
                    inputs: .interleaved(linear(both, bothBias, inputs: hidden)),
                    down: linear(down, downBias, inputs: width))
            }
        }
    }

    func packed(as precision: GenerationPrecision, _ compute: Compute) -> any FeedForwardHalf {
        var packed = self
        packed.router = ExpertRouter(router.weights.packed(as: .f32, compute), mixture)
        packed.experts = experts.map { $0.map { $0.packed(as: precision, compute) } }
        return packed
    }

    func addGradients(to layer: inout LayerGradients) { layer.experts = ExpertGradients(full: self) }

    // MARK: forward

    func activations(
        _ saved: FeedForwardActivations, _ recorded: RecordedChoices?, scratch: Matrix, _ compute: Compute
    ) {
        let x = saved.normedInput(norm, compute), routes = saved.routes(mixture)
        router.forward(x, recorded, routes, compute)
        let groups = ExpertGroups(routes.chosen, experts: mixture.count)
        for (number, expert) in experts.enumerated() {
            let part = ExpertPart(saved, groups, number, mixture, hidden: x.columns, scratch)
            guard part.count > 0 else { continue }
            part.gather(x, into: part.x, compute)
            expert.inputs.forward(part.x, gate: part.gate, up: part.up, both: part.both, compute)
        }
    }

    func result(_ saved: FeedForwardActivations, into result: Matrix, scratch: Matrix, _ compute: Compute) {
        let middle = saved.middle.matrix(rows: saved.rows), routes = saved.routes(mixture)
        if middle.base != result.base { copy(middle, into: result) }
        let groups = ExpertGroups(routes.chosen, experts: mixture.count)
        // One expert after the other: a token's sum has the same order for any number of threads.
        for (number, expert) in experts.enumerated() {
            let part = ExpertPart(saved, groups, number, mixture, hidden: result.columns, scratch)
            guard part.count > 0 else { continue }
            gatedForward(activation, gate: part.gate, up: part.up, into: part.product, compute)
            linearForward(part.product, expert.down, into: part.y, compute)
            part.scatter(part.y, weights: routes.weights, into: result, compute)
        }
    }

    // MARK: backward

    func backward(
        _ saved: FeedForwardActivations, gradients g: LayerGradients, dresidual: Matrix, _ scratch: LayerScratch,
        _ compute: Compute
    ) {
        let s = saved.rows, x = saved.x, routes = saved.routes(mixture)
        let space = scratch.feedForward.matrix(rows: scratch.tokens)
        let groups = ExpertGroups(routes.chosen, experts: mixture.count)
        let dx = norm == nil ? dresidual : Matrix(scratch.dnormed.pointer, rows: s, columns: x.columns)
        // Read whole before the stream's gradient grows by what the experts give.
        let dy = Matrix(scratch.dattention.pointer, rows: s, columns: x.columns)
        copy(dresidual, into: dy)
        if norm != nil { dx.base.update(repeating: 0, count: s * x.columns) }
        let derivatives = Buffer(uninitialized: s * mixture.chosen)
        defer { withExtendedLifetime(derivatives) {} }
        let dweights = derivatives.matrix(rows: s)
        for (number, expert) in experts.enumerated() {
            let part = ExpertPart(saved, groups, number, mixture, hidden: x.columns, space)
            guard part.count > 0 else { continue }
            backward(expert, number, part, x: x, dy: dy, routes, g.experts, dweights: dweights, into: dx, compute)
        }
        let dlogits = Matrix(space.base, rows: s, columns: mixture.count)
        router.backward(
            dweights, x: x, routes, gradient: g.experts.router, dlogits: dlogits, into: dx, compute)
        guard let norm else { return }
        rmsNormBackward(
            dx, x: saved.middle.matrix(rows: s), norm, rstd: saved.rstd.pointer, into: dresidual,
            dweight: g.feedForwardNorm, compute)
    }

    /// One expert's tokens: dx +=, their weights' derivatives, the expert's gradients. Leaves gate and up in pieces.
    private func backward(
        _ expert: Expert, _ number: Int, _ part: ExpertPart, x: Matrix, dy: Matrix, _ routes: ExpertRoutes,
        _ gradients: ExpertGradients, dweights: Matrix, into dx: Matrix, _ compute: Compute
    ) {
        part.gather(x, into: part.x, compute)
        part.gather(dy, into: part.y, compute)
        gatedForward(activation, gate: part.gate, up: part.up, into: part.product, compute)
        // d(product) without the token's weight, whose derivative is dy times what the expert gives.
        linearInputGradient(part.y, expert.down, into: part.dproduct, compute)
        part.forEach(compute) { i, token, slot in
            let weight = routes.weights.row(token)[slot]
            let ofBias = expert.down.bias.map { crux_dot(part.y.row(i), $0.base, part.y.columns) } ?? 0
            dweights.row(token)[slot] = crux_dot(part.dproduct.row(i), part.product.row(i), mixture.width) + ofBias
            scale(part.dproduct.row(i), mixture.width, by: weight)
            scale(part.y.row(i), part.y.columns, by: weight)
        }
        linearBackward(part.y, x: part.product, expert.down, gradient: gradients.down(number), into: nil, compute)
        gatedBackward(
            activation, part.dproduct, gate: part.gate, up: part.up, dgate: part.gate, dup: part.up, compute)
        expert.inputs.backward(
            dgate: part.gate, dup: part.up, x: part.x, gradients: gradients.inputs(number), into: part.dx,
            both: part.both, compute)
        part.scatter(part.dx, into: dx, compute)
    }

    private func scale(_ values: UnsafeMutablePointer<Float>, _ count: Int, by factor: Float) {
        for i in 0..<count { values[i] *= factor }
    }
}

/// One expert's n tokens of a pass: their rows of what is kept, and where they are worked on.
private struct ExpertPart {
    private let range: Range<Int>
    private let groups: ExpertGroups
    /// [n, I], kept.
    let gate: Matrix
    let up: Matrix
    /// Scratch: [n, C], and [n, I]; dx is in the forward half not there.
    let x: Matrix
    let y: Matrix
    let product: Matrix
    /// [n, 2I], in the place of `product` and `dproduct`, which are not in use beside it.
    let both: Matrix
    let dproduct: Matrix
    let dx: Matrix

    var count: Int { range.count }

    /// `scratch` [T, …]: of `passingColumns` or `trainingColumns` for each token.
    init(
        _ saved: FeedForwardActivations, _ groups: ExpertGroups, _ expert: Int, _ mixture: ExpertMixture, hidden: Int,
        _ scratch: Matrix
    ) {
        let range = groups.range(of: expert), n = range.count, width = mixture.width
        (self.range, self.groups) = (range, groups)
        func kept(_ buffer: Buffer) -> Matrix {
            Matrix(buffer.pointer + range.lowerBound * width, rows: n, columns: width)
        }
        (gate, up) = (kept(saved.gate), kept(saved.up))
        var place = scratch.base
        func take(_ columns: Int) -> Matrix {
            defer { place += n * columns }
            return Matrix(place, rows: n, columns: columns)
        }
        (x, y) = (take(hidden), take(hidden))
        let inner = take(2 * width)
        both = inner
        product = Matrix(inner.base, rows: n, columns: width)
        dproduct = Matrix(inner.base + n * width, rows: n, columns: width)
        dx = Matrix(place, rows: n, columns: hidden)
    }

    /// The place among the expert's tokens, the token, and which of its choices the expert is. On all threads: an
    /// expert has a token once, so that `body` may write the token's row of anything.
    func forEach(_ compute: Compute, _ body: (_ i: Int, _ token: Int, _ slot: Int) -> Void) {
        compute.forEachBlock(rows: count, blockRows: 8) { _, rows in
            for i in rows {
                let place = range.lowerBound + i
                body(i, groups.tokens[place], groups.slots[place])
            }
        }
    }

    func gather(_ all: Matrix, into own: Matrix, _ compute: Compute) {
        forEach(compute) { i, token, _ in own.row(i).update(from: all.row(token), count: own.columns) }
    }

    func scatter(_ own: Matrix, into all: Matrix, _ compute: Compute) {
        forEach(compute) { i, token, _ in crux_add(all.row(token), own.row(i), own.columns) }
    }

    /// Each row by its token's weight.
    func scatter(_ own: Matrix, weights: Matrix, into all: Matrix, _ compute: Compute) {
        forEach(compute) { i, token, slot in
            let weight = weights.row(token)[slot], from = own.row(i), to = all.row(token)
            for column in 0..<own.columns { to[column] += weight * from[column] }
        }
    }
}
