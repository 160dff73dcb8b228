import Tensors

/// A layer's second half: x + scale · norm(W_down · (activation(W_gate · norm(x)) · (W_up · norm(x)))), norms where the
/// family has them.
struct FeedForwardBlock: Sendable {
    let norm: RMSNorm?
    var gate: LinearWeights
    var up: LinearWeights
    var down: LinearWeights
    let end: ResidualJoin
    private let activation: GatedActivation

    /// Asks for its parameters in the order in which they are laid out.
    init(
        _ a: DecoderArchitecture, linear: (LinearSlot) -> LinearWeights,
        norm: (_ name: String?, _ width: Int) -> RMSNorm?
    ) {
        self.norm = norm(a.norms.beforeFeedForward, a.hidden)
        (gate, up) = (linear(.gate), linear(.up))
        down = linear(.down)
        end = ResidualJoin(norm: norm(a.norms.afterFeedForward, a.hidden), scale: a.scales.residual)
        activation = a.activation
    }

    /// The half of the forward pass that the backward one reads: `saved.middle` [S, C] → gate and up.
    func activations(_ saved: FeedForwardActivations, _ compute: Compute) {
        let s = saved.rows, middle = saved.middle.matrix(rows: s), x = saved.x
        if let norm { rmsNormForward(middle, norm, into: x, rstd: saved.rstd.pointer, compute) }
        linearForward(x, gate, into: saved.gate.matrix(rows: s), compute)
        linearForward(x, up, into: saved.up.matrix(rows: s), compute)
    }

    /// The other half: gate and up → result [S, C]. `product` [S, F] is scratch.
    func result(_ saved: FeedForwardActivations, into result: Matrix, product: Matrix, _ compute: Compute) {
        let s = saved.rows
        gatedForward(
            activation, gate: saved.gate.matrix(rows: s), up: saved.up.matrix(rows: s), into: product, compute)
        end.forward(product, down, adding: saved.middle.matrix(rows: s), into: result, saved.end, compute)
    }

    /// dresidual [S, C] goes in as the gradient of the result and comes out as that of `middle`. Leaves gate and up in
    /// pieces.
    func backward(
        _ saved: FeedForwardActivations, gradients g: LayerGradients, dresidual: Matrix, _ scratch: LayerScratch,
        _ compute: Compute
    ) {
        let s = saved.rows, x = saved.x, gate = saved.gate.matrix(rows: s), up = saved.up.matrix(rows: s)
        let product = Matrix(scratch.feedForward.pointer, rows: s, columns: gate.columns)
        let doutput = end.backward(dresidual, saved.end, dnorm: g.feedForwardEndNorm, scratch, compute)
        gatedForward(activation, gate: gate, up: up, into: product, compute)
        linearBackward(doutput, x: product, down, gradient: g[.down], into: nil, compute)
        linearInputGradient(doutput, down, into: product, compute)
        // In place: from here on `gate` and `up` hold their gradients.
        gatedBackward(activation, product, gate: gate, up: up, dgate: gate, dup: up, compute)
        // Without a norm what the projections give goes to the stream itself.
        let dx = norm == nil ? dresidual : Matrix(scratch.dnormed.pointer, rows: s, columns: x.columns)
        linearBackward(gate, x: x, self.gate, gradient: g[.gate], into: dx, adding: norm == nil, compute)
        linearBackward(up, x: x, self.up, gradient: g[.up], into: dx, adding: true, compute)
        guard let norm else { return }
        rmsNormBackward(
            dx, x: saved.middle.matrix(rows: s), norm, rstd: saved.rstd.pointer, into: dresidual,
            dweight: g.feedForwardNorm, compute)
    }
}

/// What the half keeps of its forward pass for the backward one, [S, ·] over the tokens that its result is wanted of.
struct FeedForwardActivations {
    /// S
    private(set) var rows: Int
    private(set) var middle: Buffer
    /// Empty without a norm: the projections read `middle`.
    private var normed: Buffer
    private(set) var rstd: Buffer
    private(set) var gate: Buffer
    private(set) var up: Buffer
    private(set) var end: JoinActivations
    private let hasNorm: Bool

    /// The forward pass writes every one of them whole.
    init(_ a: DecoderArchitecture, rows: Int, in space: any Allocator) {
        func columns(_ count: Int) -> Buffer { space.take(rows * count) }
        self.rows = rows
        hasNorm = a.norms.beforeFeedForward != nil
        middle = columns(a.hidden)
        normed = hasNorm ? columns(a.hidden) : Buffer.none
        rstd = hasNorm ? columns(1) : Buffer.none
        gate = columns(a.feedForward)
        up = columns(a.feedForward)
        end = JoinActivations(a, norm: a.norms.afterFeedForward, rows: rows, in: space)
    }

    var arrays: [Buffer] { [middle, normed, rstd, gate, up] + end.arrays }

    /// What the projections read, [S, C].
    var x: Matrix { (hasNorm ? normed : middle).matrix(rows: rows) }

    /// The first rows of the same arrays, for a layer whose result is wanted of fewer tokens.
    func first(_ rows: Int) -> FeedForwardActivations {
        guard rows < self.rows else { return self }
        var other = self
        other.rows = rows
        (other.middle, other.normed) = (middle.first(rows, of: self.rows), normed.first(rows, of: self.rows))
        (other.rstd, other.end) = (rstd.first(rows, of: self.rows), end.first(rows, of: self.rows))
        (other.gate, other.up) = (gate.first(rows, of: self.rows), up.first(rows, of: self.rows))
        return other
    }
}
