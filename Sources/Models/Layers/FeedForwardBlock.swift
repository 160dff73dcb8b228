import Tensors

/// A layer's second half, dense or of experts.
protocol FeedForwardHalf: Sendable {
    var norm: RMSNorm? { get }
    var end: ResidualJoin { get }

    /// The half of the forward pass that the backward one reads: `saved.middle` [S, C] → gate and up. `recorded`:
    /// experts to take again; nil where there are none, or nothing is known of them. `scratch`: [T, passingColumns] or
    /// more.
    func activations(
        _ saved: FeedForwardActivations, _ recorded: RecordedChoices?, scratch: Matrix, _ compute: Compute)

    /// The other half: gate and up → result [S, C].
    func result(_ saved: FeedForwardActivations, into result: Matrix, scratch: Matrix, _ compute: Compute)

    /// dresidual [S, C] goes in as the gradient of the result and comes out as that of `middle`. Leaves gate and up in
    /// pieces.
    func backward(
        _ saved: FeedForwardActivations, gradients g: LayerGradients, dresidual: Matrix, _ scratch: LayerScratch,
        _ compute: Compute)

    /// With linear layers as generation needs them.
    func packed(as precision: GenerationPrecision, _ compute: Compute) -> any FeedForwardHalf

    /// Of the half that points at gradients: its own into the layer's.
    func addGradients(to layer: inout LayerGradients)
}

/// The dense one: x + scale · norm(W_down · (activation(W_gate · norm(x)) · (W_up · norm(x)))), norms where the
/// family has them.
struct FeedForwardBlock: FeedForwardHalf {
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

    func packed(as precision: GenerationPrecision, _ compute: Compute) -> any FeedForwardHalf {
        var packed = self
        packed.gate = gate.packed(as: precision, compute)
        packed.up = up.packed(as: precision, compute)
        packed.down = down.packed(as: precision, compute)
        return packed
    }

    func addGradients(to layer: inout LayerGradients) {
        layer[.gate] = FullLinearGradient(gate)
        layer[.up] = FullLinearGradient(up)
        layer[.down] = FullLinearGradient(down)
    }

    static func place(of slot: LinearSlot) -> WritableKeyPath<FeedForwardBlock, LinearWeights>? {
        switch slot {
        case .gate: \.gate
        case .up: \.up
        case .down: \.down
        default: nil
        }
    }

    /// [S, F] of an array that may be wider.
    private func own(_ buffer: Buffer, _ saved: FeedForwardActivations) -> Matrix {
        Matrix(buffer.pointer, rows: saved.rows, columns: down.weight.columns)
    }

    func activations(
        _ saved: FeedForwardActivations, _ recorded: RecordedChoices?, scratch: Matrix, _ compute: Compute
    ) {
        let x = saved.normedInput(norm, compute)
        linearForward(x, gate, into: own(saved.gate, saved), compute)
        linearForward(x, up, into: own(saved.up, saved), compute)
    }

    func result(_ saved: FeedForwardActivations, into result: Matrix, scratch: Matrix, _ compute: Compute) {
        let product = Matrix(scratch.base, rows: saved.rows, columns: down.weight.columns)
        gatedForward(activation, gate: own(saved.gate, saved), up: own(saved.up, saved), into: product, compute)
        end.forward(product, down, adding: saved.middle.matrix(rows: saved.rows), into: result, saved.end, compute)
    }

    func backward(
        _ saved: FeedForwardActivations, gradients g: LayerGradients, dresidual: Matrix, _ scratch: LayerScratch,
        _ compute: Compute
    ) {
        let s = saved.rows, x = saved.x, gate = own(saved.gate, saved), up = own(saved.up, saved)
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
    /// Of experts: what the router said, [S, E + 2k]; empty elsewhere.
    private var routed: Buffer
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
        gate = columns(a.gateColumns)
        up = columns(a.gateColumns)
        routed = a.experts.map { columns($0.count + 2 * $0.chosen) } ?? Buffer.none
        end = JoinActivations(a, norm: a.norms.afterFeedForward, rows: rows, in: space)
    }

    var arrays: [Buffer] { [middle, normed, rstd, gate, up, routed] + end.arrays }

    /// What the projections read, [S, C].
    var x: Matrix { (hasNorm ? normed : middle).matrix(rows: rows) }

    /// `x`, computed.
    func normedInput(_ norm: RMSNorm?, _ compute: Compute) -> Matrix {
        if let norm { rmsNormForward(middle.matrix(rows: rows), norm, into: x, rstd: rstd.pointer, compute) }
        return x
    }

    func routes(_ mixture: ExpertMixture) -> ExpertRoutes {
        let chosen = routed.pointer + rows * mixture.count
        return ExpertRoutes(
            probabilities: Matrix(routed.pointer, rows: rows, columns: mixture.count),
            chosen: Matrix(chosen, rows: rows, columns: mixture.chosen),
            weights: Matrix(chosen + rows * mixture.chosen, rows: rows, columns: mixture.chosen))
    }

    /// The first rows of the same arrays, for a layer whose result is wanted of fewer tokens.
    func first(_ rows: Int) -> FeedForwardActivations {
        guard rows < self.rows else { return self }
        var other = self
        other.rows = rows
        (other.middle, other.normed) = (middle.first(rows, of: self.rows), normed.first(rows, of: self.rows))
        (other.rstd, other.end) = (rstd.first(rows, of: self.rows), end.first(rows, of: self.rows))
        (other.gate, other.up) = (gate.first(rows, of: self.rows), up.first(rows, of: self.rows))
        other.routed = routed.first(rows, of: self.rows)
        return other
    }
}
