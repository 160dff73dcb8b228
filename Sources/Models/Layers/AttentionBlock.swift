import Tensors

/// Attention as a layer's first half: x + scale · norm(W_o · attention(norm(x))), norms where the family has them, and
/// what attention gives times σ of a gate where there is one. Training and generation run the same; over which keys is
/// the batch's matter.
struct AttentionBlock: MixerHalf {
    let norm: RMSNorm?
    /// With an output gate its rows are a head's query and its gate, in turns.
    private var query: LinearWeights
    private var key: LinearWeights
    private var value: LinearWeights
    private var output: LinearWeights
    /// Of D or all heads' elements.
    private let queryNorm: RMSNorm?
    private let keyNorm: RMSNorm?
    /// [1, H]; nil without any.
    private let sinks: Matrix?
    let end: ResidualJoin

    /// Asks for its parameters in the order in which they are laid out.
    init(
        _ a: DecoderArchitecture, _ parameter: DecoderWeights.Parameter, linear: (LinearSlot) -> LinearWeights,
        norm: (_ name: String?, _ width: Int) -> RMSNorm?
    ) {
        self.norm = norm(a.norms.beforeAttention, a.hidden)
        (query, key) = (linear(.query), linear(.key))
        (value, output) = (linear(.value), linear(.output))
        let has = a.queryKeyNorm != .none, perHead = a.queryKeyNorm == .perHead
        queryNorm = norm(has ? "self_attn.q_norm" : nil, perHead ? a.headWidth : a.queryColumns)
        keyNorm = norm(has ? "self_attn.k_norm" : nil, perHead ? a.headWidth : a.keyValueColumns)
        sinks = a.hasSinks ? parameter("self_attn.sinks", [a.queryHeads]).float32 : nil
        end = ResidualJoin(norm: norm(a.norms.afterAttention, a.hidden), scale: a.scales.residual)
    }

    private func shape<Keys>(_ layer: Int, _ batch: DecoderBatch<Keys>) -> AttentionShape {
        var shape = batch.architecture.attention(layer: layer)
        shape.sinks = sinks
        return shape
    }

    private static func place(of slot: LinearSlot) -> WritableKeyPath<AttentionBlock, LinearWeights>? {
        switch slot {
        case .query: \.query
        case .key: \.key
        case .value: \.value
        case .output: \.output
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
        layer.sinks = sinks
        (layer.queryNorm, layer.keyNorm) = (queryNorm?.weight, keyNorm?.weight)
    }

    // MARK: forward

    func forward<Keys>(
        _ saved: MixerActivations, into middle: Matrix, scratch: Matrix, layer: Int, _ batch: DecoderBatch<Keys>
    ) {
        let t = batch.tokens, compute = batch.compute, own = saved.attention
        let x = saved.normedInput(norm, rows: t, compute)
        own.query.forward(
            x, query, gate: own.gateMatrix(rows: t), scratch: scratch, norm: queryNorm,
            scale: batch.architecture.queryScale, layer: layer, batch)
        own.key.forward(x, key, norm: keyNorm, layer: layer, batch)
        linearForward(x, value, into: own.value.matrix(rows: t), compute)
        batch.keys.attend(
            q: own.query.rotated.matrix(rows: t), k: own.key.rotated.matrix(rows: t),
            v: own.value.matrix(rows: t), layer: layer, shape(layer, batch),
            into: own.attention.matrix(rows: t),
            logSumExp: own.logSumExp.matrix(rows: batch.architecture.queryHeads), compute)
        let results = batch.results(ofLayer: layer)
        let gated = own.gated(into: scratch.base, rows: t, compute)
        let attended = results.gather(gated, into: saved.attended.matrix(rows: results.count))
        end.forward(
            attended, output, adding: results.gather(saved.input.matrix(rows: t), into: middle), into: middle,
            saved.end, compute)
    }

    // MARK: backward

    func backward(
        _ saved: MixerActivations, gradients g: LayerGradients, layer: Int, dmiddle: Matrix,
        into dresidual: Matrix, _ scratch: LayerScratch, _ batch: DecoderBatch<ForestKeys>
    ) {
        let t = batch.tokens, compute = batch.compute, x = saved.x(rows: t), own = saved.attention
        endBackward(saved, gradients: g, layer: layer, dmiddle: dmiddle, scratch, batch)
        batch.results(ofLayer: layer).scatter(dmiddle, into: dresidual)
        attentionBackward(own, gradients: g, layer: layer, scratch, batch)
        // Without a norm what the projections give goes to the stream itself.
        let dx = norm == nil ? dresidual : scratch.dnormed.matrix(rows: t)
        linearBackward(
            scratch.dvalue.matrix(rows: t), x: x, value, gradient: g[.value], into: dx, adding: norm == nil,
            compute)
        let dkey = own.key.backward(
            scratch.dkey.matrix(rows: t), scratch: scratch.dheads, norm: keyNorm, dnorm: g.keyNorm, layer: layer, batch)
        linearBackward(dkey, x: x, key, gradient: g[.key], into: dx, adding: true, compute)
        let dquery = own.query.backward(
            scratch.dquery.matrix(rows: t), scratch: scratch.dheads, norm: queryNorm, dnorm: g.queryNorm,
            scale: batch.architecture.queryScale, layer: layer, batch)
        linearBackward(
            own.withGateGradient(dquery, in: scratch.feedForward, batch.architecture.headWidth), x: x, query,
            gradient: g[.query], into: dx, adding: true, compute)
        guard let norm else { return }
        rmsNormBackward(
            dx, x: saved.input.matrix(rows: t), norm, rstd: saved.rstd.pointer, into: dresidual,
            dweight: g.attentionNorm, compute)
    }

    /// dmiddle [S, C] → `scratch.dattention` [T, H·D], and the gate's gradient in the gate's place.
    private func endBackward(
        _ saved: MixerActivations, gradients g: LayerGradients, layer: Int, dmiddle: Matrix,
        _ scratch: LayerScratch, _ batch: DecoderBatch<ForestKeys>
    ) {
        let t = batch.tokens, results = batch.results(ofLayer: layer), own = saved.attention
        let dattention = scratch.dattention.matrix(rows: t, columns: batch.architecture.queryColumns)
        let attended =
            results.isAll
            ? own.gated(into: scratch.feedForward.pointer, rows: t, batch.compute)
            : saved.attended.matrix(rows: results.count)
        let dattended = results.isAll ? dattention : scratch.dheads.matrix(rows: t)[rows: 0..<results.count]
        let doutput = end.backward(dmiddle, saved.end, dnorm: g.attentionEndNorm, scratch, batch.compute)
        linearBackward(doutput, x: attended, output, gradient: g[.output], into: dattended, batch.compute)
        results.scatter(dattended, into: dattention)
        guard let gate = own.gateMatrix(rows: t) else { return }
        sigmoidGateBackward(dattention, x: own.attention.matrix(rows: t), gate: gate, batch.compute)
    }

    /// `scratch.dattention` → `dquery`, `dkey`, `dvalue` there, of rotated heads.
    private func attentionBackward(
        _ own: AttentionActivations, gradients g: LayerGradients, layer: Int, _ scratch: LayerScratch,
        _ batch: DecoderBatch<ForestKeys>
    ) {
        let t = batch.tokens, shape = shape(layer, batch)
        let dattention = scratch.dattention.matrix(rows: t, columns: batch.architecture.queryColumns)
        if let dsinks = g.sinks {
            attentionSinkBackward(
                dout: dattention, out: own.attention.matrix(rows: t),
                logSumExp: own.logSumExp.matrix(rows: batch.architecture.queryHeads), shape: shape, into: dsinks,
                batch.compute)
        }
        scratch.dkey.zero()
        scratch.dvalue.zero()
        Tensors.attentionBackward(
            dout: dattention, out: own.attention.matrix(rows: t),
            q: own.query.rotated.matrix(rows: t), k: own.key.rotated.matrix(rows: t),
            v: own.value.matrix(rows: t), logSumExp: own.logSumExp.matrix(rows: batch.architecture.queryHeads),
            runs: batch.keys.runs, shape: shape,
            dq: scratch.dquery.matrix(rows: t), dk: scratch.dkey.matrix(rows: t), dv: scratch.dvalue.matrix(rows: t),
            batch.compute)
    }
}

/// What attention keeps of its forward pass for the backward one, [T, ·].
struct AttentionActivations {
    let query: HeadActivations
    let key: HeadActivations
    let value: Buffer
    let attention: Buffer
    /// [T, H·D]; empty without an output gate.
    private let gate: Buffer
    private let hasGate: Bool
    /// [H, T]
    let logSumExp: Buffer

    /// The forward pass writes every one of them whole.
    init(_ a: DecoderArchitecture, tokens: Int, in space: any Allocator) {
        query = HeadActivations(a, tokens: tokens, heads: a.queryHeads, in: space)
        key = HeadActivations(a, tokens: tokens, heads: a.keyValueHeads, in: space)
        value = space.take(tokens * a.keyValueColumns)
        attention = space.take(tokens * a.queryColumns)
        hasGate = a.hasOutputGate
        gate = hasGate ? space.take(tokens * a.queryColumns) : Buffer.none
        logSumExp = space.take(tokens * a.queryHeads)
    }

    var arrays: [Buffer] { [value, attention, gate, logSumExp] + query.arrays + key.arrays }

    /// nil without an output gate.
    func gateMatrix(rows: Int) -> Matrix? { hasGate ? gate.matrix(rows: rows) : nil }

    /// What goes on of attention, [T, H·D]: in `place` where a gate changes it.
    func gated(into place: UnsafeMutablePointer<Float>, rows: Int, _ compute: Compute) -> Matrix {
        let attention = attention.matrix(rows: rows)
        guard let gate = gateMatrix(rows: rows) else { return attention }
        let gated = Matrix(place, rows: rows, columns: attention.columns)
        sigmoidGateForward(attention, gate: gate, into: gated, compute)
        return gated
    }

    /// The gradient of what the queries' projection gave: `dquery`, with the gate's in turns where there is one, which
    /// by now stands in the gate's place.
    func withGateGradient(_ dquery: Matrix, in scratch: Buffer, _ headWidth: Int) -> Matrix {
        guard let dgate = gateMatrix(rows: dquery.rows) else { return dquery }
        let both = Matrix(scratch.pointer, rows: dquery.rows, columns: 2 * dquery.columns)
        joinGatedHeads(queries: dquery, gates: dgate, headWidth: headWidth, into: both)
        return both
    }
}
