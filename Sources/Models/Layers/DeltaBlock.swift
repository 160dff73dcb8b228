import Tensors

/// A gated delta rule as a layer's first half: x + W_o · (norm(rule(conv(W_qkv · norm(x)))) · silu(W_z · norm(x))), the
/// rule's gates from two more projections. Where its state comes from is the batch's matter.
struct DeltaBlock: MixerHalf {
    let norm: RMSNorm?
    let end: ResidualJoin
    private var input: LinearWeights
    private var gate: LinearWeights
    private var strength: LinearWeights
    private var decay: LinearWeights
    private var output: LinearWeights
    private let convolution: CausalConvolution
    private let gates: DeltaGates
    /// Of each value head's result. Its weight is no distance from 1, whatever other norms' are.
    private let resultNorm: RMSNorm
    private let shape: DeltaShape

    /// Asks for its parameters in the order in which they are laid out.
    init(
        _ a: DecoderArchitecture, _ net: DeltaNet, _ parameter: DecoderWeights.Parameter,
        linear: (LinearSlot) -> LinearWeights, norm: (_ name: String?, _ width: Int) -> RMSNorm?
    ) {
        self.norm = norm(a.norms.beforeAttention, a.hidden)
        shape = net.shape
        (input, gate) = (linear(.deltaInput), linear(.deltaGate))
        (strength, decay) = (linear(.deltaStrength), linear(.deltaDecay))
        convolution = CausalConvolution(
            weight: parameter(DeltaNet.Name.convolution, [shape.columns, 1, net.taps]).float32)
        gates = DeltaGates(
            aLog: parameter(DeltaNet.Name.aLog, [shape.valueHeads]).float32,
            bias: parameter(DeltaNet.Name.bias, [shape.valueHeads]).float32)
        resultNorm = RMSNorm(
            weight: parameter(DeltaNet.Name.norm + ".weight", [shape.valueWidth]).float32, epsilon: a.normEpsilon)
        output = linear(.deltaOutput)
        end = ResidualJoin(norm: norm(a.norms.afterAttention, a.hidden), scale: a.scales.residual)
    }

    private static func place(of slot: LinearSlot) -> WritableKeyPath<DeltaBlock, LinearWeights>? {
        switch slot {
        case .deltaInput: \.input
        case .deltaGate: \.gate
        case .deltaStrength: \.strength
        case .deltaDecay: \.decay
        case .deltaOutput: \.output
        default: nil
        }
    }

    subscript(slot: LinearSlot) -> LinearWeights? {
        get { Self.place(of: slot).map { self[keyPath: $0] } }
        set {
            guard let newValue, let place = Self.place(of: slot) else { return }
            self[keyPath: place] = newValue
        }
    }

    func addGradients(to layer: inout LayerGradients) {
        layer.delta = DeltaGradients(
            convolution: convolution.weight, aLog: gates.aLog, bias: gates.bias, norm: resultNorm.weight)
    }

    private func rule(_ mixed: Matrix, _ own: DeltaActivations) -> DeltaInputs {
        DeltaInputs(mixed: mixed, gates: own.gates.matrix(rows: mixed.rows), shape: shape)
    }

    // MARK: forward

    func forward<Keys>(
        _ saved: MixerActivations, into middle: Matrix, scratch: Matrix, layer: Int, _ batch: DecoderBatch<Keys>
    ) {
        let t = batch.tokens, compute = batch.compute, own = saved.delta
        let x = saved.normedInput(norm, rows: t, compute)
        linearForward(x, input, into: own.columns.matrix(rows: t), compute)
        linearForward(x, gate, into: own.gate.matrix(rows: t), compute)
        linearForward(x, strength, into: own.strength.matrix(rows: t), compute)
        linearForward(x, decay, into: own.decay.matrix(rows: t), compute)
        gates.forward(
            a: own.decay.matrix(rows: t), b: own.strength.matrix(rows: t), into: own.gates.matrix(rows: t))
        let mixed = Matrix(scratch.base, rows: t, columns: shape.columns)
        batch.keys.convolve(own.columns.matrix(rows: t), convolution, layer: layer, into: mixed, compute)
        UnitHeads(shape).forward(mixed, factors: nil, compute)
        batch.keys.remember(rule(mixed, own), layer: layer, into: own.result.matrix(rows: t), compute)
        let values = shape.valueColumns, results = batch.results(ofLayer: layer)
        let gated = gatedResult(
            own, normed: Matrix(scratch.base, rows: t, columns: values),
            into: Matrix(scratch.base + t * values, rows: t, columns: values), compute)
        let attended = results.gather(gated, into: saved.attended.matrix(rows: results.count))
        end.forward(
            attended, output, adding: results.gather(saved.input.matrix(rows: t), into: middle), into: middle,
            saved.end, compute)
    }

    /// y [T, Hv·Dv] = norm(result) · silu(gate); `normed` of the same shape, for the backward half.
    private func gatedResult(
        _ own: DeltaActivations, normed: Matrix, into y: Matrix, _ compute: Compute
    ) -> Matrix {
        rmsNormForward(
            heads(own.result.matrix(rows: y.rows)), resultNorm, into: heads(normed), rstd: own.rstd.pointer, compute)
        gatedForward(.silu, gate: own.gate.matrix(rows: y.rows), up: normed, into: y, compute)
        return y
    }

    /// [T, Hv·Dv] as [T·Hv, Dv].
    private func heads(_ x: Matrix) -> Matrix {
        Matrix(x.base, rows: x.rows * shape.valueHeads, columns: shape.valueWidth)
    }

    // MARK: backward

    func backward(
        _ saved: MixerActivations, gradients g: LayerGradients, layer: Int, dmiddle: Matrix, into dresidual: Matrix,
        _ scratch: LayerScratch, _ batch: DecoderBatch<ForestKeys>
    ) {
        let t = batch.tokens, compute = batch.compute, x = saved.x(rows: t), own = saved.delta
        endBackward(saved, gradients: g, layer: layer, dmiddle: dmiddle, scratch, batch)
        batch.results(ofLayer: layer).scatter(dmiddle, into: dresidual)
        ruleBackward(own, gradients: g, scratch, batch)
        // Without a norm what the projections give goes to the stream itself.
        let dx = norm == nil ? dresidual : scratch.dnormed.matrix(rows: t)
        linearBackward(
            scratch.delta.dcolumns.matrix(rows: t), x: x, input, gradient: g[.deltaInput], into: dx,
            adding: norm == nil, compute)
        // From here on these hold their gradients.
        for (slot, linear, gradient) in [
            (LinearSlot.deltaGate, gate, own.gate), (.deltaStrength, strength, own.strength),
            (.deltaDecay, decay, own.decay),
        ] {
            linearBackward(gradient.matrix(rows: t), x: x, linear, gradient: g[slot], into: dx, adding: true, compute)
        }
        guard let norm else { return }
        rmsNormBackward(
            dx, x: saved.input.matrix(rows: t), norm, rstd: saved.rstd.pointer, into: dresidual,
            dweight: g.attentionNorm, compute)
    }

    /// dmiddle [S, C] → the gradient of the rule's result, in `scratch.delta.dresult`, and the gate's in the gate's
    /// place.
    private func endBackward(
        _ saved: MixerActivations, gradients g: LayerGradients, layer: Int, dmiddle: Matrix, _ scratch: LayerScratch,
        _ batch: DecoderBatch<ForestKeys>
    ) {
        let t = batch.tokens, compute = batch.compute, own = saved.delta, results = batch.results(ofLayer: layer)
        func space(_ buffer: Buffer, rows: Int) -> Matrix {
            Matrix(buffer.pointer, rows: rows, columns: shape.valueColumns)
        }
        let normed = space(scratch.feedForward, rows: t), dresult = space(scratch.delta.dresult, rows: t)
        let y = gatedResult(own, normed: normed, into: dresult, compute), dy = space(scratch.delta.dcolumns, rows: t)
        let attended = results.isAll ? y : saved.attended.matrix(rows: results.count)
        let dattended = results.isAll ? dy : space(scratch.delta.dmixed, rows: results.count)
        let doutput = end.backward(dmiddle, saved.end, dnorm: g.attentionEndNorm, scratch, compute)
        linearBackward(doutput, x: attended, output, gradient: g[.deltaOutput], into: dattended, compute)
        results.scatter(dattended, into: dy)
        let gate = own.gate.matrix(rows: t)
        gatedBackward(.silu, dy, gate: gate, up: normed, dgate: gate, dup: normed, compute)
        scratch.delta.dresult.zero()
        rmsNormBackward(
            heads(normed), x: heads(own.result.matrix(rows: t)), resultNorm, rstd: own.rstd.pointer,
            into: heads(dresult), dweight: g.delta.norm, compute)
    }

    /// `scratch.delta.dresult` → `dcolumns` there, and gradients of both gates' projections in their places.
    private func ruleBackward(
        _ own: DeltaActivations, gradients g: LayerGradients, _ scratch: LayerScratch, _ batch: DecoderBatch<ForestKeys>
    ) {
        let t = batch.tokens, compute = batch.compute, tree = batch.keys.tree, units = UnitHeads(shape)
        let mixed = Matrix(scratch.feedForward.pointer, rows: t, columns: shape.columns),
            factors = scratch.delta.factors.matrix(rows: t)
        let columns = own.columns.matrix(rows: t), dmixed = scratch.delta.dmixed.matrix(rows: t)
        convolutionForward(columns, convolution, tree, into: mixed, compute)
        units.forward(mixed, factors: factors, compute)
        scratch.delta.dmixed.zero()
        let gradients = DeltaInputs(mixed: dmixed, gates: scratch.delta.dgates.matrix(rows: t), shape: shape)
        deltaBackward(
            rule(mixed, own), dout: scratch.delta.dresult.matrix(rows: t), tree, into: gradients, compute)
        units.backward(dmixed, mixed: mixed, factors: factors, compute)
        convolutionBackward(
            dmixed, x: columns, convolution, tree, into: scratch.delta.dcolumns.matrix(rows: t),
            dweight: g.delta.convolution, compute)
        gates.backward(
            gradients.gates, gates: own.gates.matrix(rows: t), a: own.decay.matrix(rows: t),
            b: own.strength.matrix(rows: t), daLog: g.delta.aLog, dbias: g.delta.bias)
    }
}

/// What a delta rule keeps of its forward pass for the backward one, [T, ·]. No states: those are computed again.
struct DeltaActivations {
    /// Queries, keys and values before the convolution.
    let columns: Buffer
    /// Of the result, [T, Hv·Dv].
    let gate: Buffer
    /// Before their activations, [T, Hv] each.
    let strength: Buffer
    let decay: Buffer
    /// [T, 2·Hv]: decays, then strengths.
    let gates: Buffer
    /// [T, Hv·Dv], before its norm, and one number for each normed row.
    let result: Buffer
    let rstd: Buffer

    /// The forward pass writes every one of them whole.
    init(_ shape: DeltaShape, tokens: Int, in space: any Allocator) {
        func columns(_ count: Int) -> Buffer { space.take(tokens * count) }
        self.columns = columns(shape.columns)
        gate = columns(shape.valueColumns)
        (strength, decay) = (columns(shape.valueHeads), columns(shape.valueHeads))
        gates = columns(2 * shape.valueHeads)
        result = columns(shape.valueColumns)
        rstd = columns(shape.valueHeads)
    }

    var arrays: [Buffer] { [columns, gate, strength, decay, gates, result, rstd] }
}

/// Space of a delta rule's backward pass. All [T, ·]; empty where no layer has one.
struct DeltaScratch {
    let dcolumns: Buffer
    let dmixed: Buffer
    let dresult: Buffer
    let dgates: Buffer
    let factors: Buffer

    init(_ shape: DeltaShape?, tokens: Int, in space: any Allocator) {
        func columns(_ count: Int?) -> Buffer { count.map { space.take(tokens * $0) } ?? Buffer.none }
        dcolumns = columns(shape?.columns)
        dmixed = columns(shape?.columns)
        dresult = columns(shape?.valueColumns)
        dgates = columns(shape.map { 2 * $0.valueHeads })
        factors = columns(shape.map { UnitHeads($0).factors })
    }
}

/// Where the gradients of a delta rule's own parameters go; nil where they stand still.
struct DeltaGradients: Sendable {
    var convolution: Matrix?
    var aLog: Matrix?
    var bias: Matrix?
    var norm: Matrix?
}
