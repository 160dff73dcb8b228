import Tensors

/// A layer's first half: x + scale · norm(W_o · attention(norm(x))), norms where the family has them. Training and
/// generation run the same; over which keys is the batch's matter.
struct AttentionBlock: Sendable {
    let norm: RMSNorm?
    var query: LinearWeights
    var key: LinearWeights
    var value: LinearWeights
    var output: LinearWeights
    /// Of D or all heads' elements.
    let queryNorm: RMSNorm?
    let keyNorm: RMSNorm?
    /// [1, H]; nil without any.
    let sinks: Matrix?
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

    static func place(of slot: LinearSlot) -> WritableKeyPath<AttentionBlock, LinearWeights>? {
        switch slot {
        case .query: \.query
        case .key: \.key
        case .value: \.value
        case .output: \.output
        case .gate, .up, .down: nil
        }
    }

    /// With linear layers as generation needs them.
    func packed(as precision: GenerationPrecision, _ compute: Compute) -> AttentionBlock {
        var packed = self
        for slot in LinearSlot.allCases {
            guard let place = Self.place(of: slot) else { continue }
            packed[keyPath: place] = self[keyPath: place].packed(as: precision, compute)
        }
        return packed
    }

    /// `saved.input` [T, C] → `middle` [S, C], of the tokens that the layer's result is wanted of.
    func forward<Keys>(
        _ saved: AttentionActivations, into middle: Matrix, layer: Int, _ batch: DecoderBatch<Keys>
    ) {
        let t = batch.tokens, compute = batch.compute, input = saved.input.matrix(rows: t), x = saved.x(rows: t)
        if let norm { rmsNormForward(input, norm, into: x, rstd: saved.rstd.pointer, compute) }
        saved.query.forward(
            x, query, norm: queryNorm, scale: batch.architecture.queryScale, layer: layer, batch)
        saved.key.forward(x, key, norm: keyNorm, layer: layer, batch)
        linearForward(x, value, into: saved.value.matrix(rows: t), compute)
        batch.keys.attend(
            q: saved.query.rotated.matrix(rows: t), k: saved.key.rotated.matrix(rows: t),
            v: saved.value.matrix(rows: t), layer: layer, shape(layer, batch),
            into: saved.attention.matrix(rows: t),
            logSumExp: saved.logSumExp.matrix(rows: batch.architecture.queryHeads), compute)
        let results = batch.results(ofLayer: layer)
        let attended = results.gather(saved.attention.matrix(rows: t), into: saved.attended.matrix(rows: results.count))
        end.forward(
            attended, output, adding: results.gather(input, into: middle), into: middle, saved.end, compute)
    }

    /// dmiddle [S, C] → dresidual [T, C], the gradient of the input: the same array where S is T.
    func backward(
        _ saved: AttentionActivations, gradients g: LayerGradients, layer: Int, dmiddle: Matrix,
        into dresidual: Matrix, _ scratch: LayerScratch, _ batch: DecoderBatch<ForestKeys>
    ) {
        let t = batch.tokens, compute = batch.compute, x = saved.x(rows: t)
        endBackward(saved, gradients: g, layer: layer, dmiddle: dmiddle, scratch, batch)
        batch.results(ofLayer: layer).scatter(dmiddle, into: dresidual)
        attentionBackward(saved, gradients: g, layer: layer, scratch, batch)
        // Without a norm what the projections give goes to the stream itself.
        let dx = norm == nil ? dresidual : scratch.dnormed.matrix(rows: t)
        linearBackward(
            scratch.dvalue.matrix(rows: t), x: x, value, gradient: g[.value], into: dx, adding: norm == nil,
            compute)
        let dkey = saved.key.backward(
            scratch.dkey.matrix(rows: t), scratch: scratch.dheads, norm: keyNorm, dnorm: g.keyNorm, layer: layer, batch)
        linearBackward(dkey, x: x, key, gradient: g[.key], into: dx, adding: true, compute)
        let dquery = saved.query.backward(
            scratch.dquery.matrix(rows: t), scratch: scratch.dheads, norm: queryNorm, dnorm: g.queryNorm,
            scale: batch.architecture.queryScale, layer: layer, batch)
        linearBackward(dquery, x: x, query, gradient: g[.query], into: dx, adding: true, compute)
        guard let norm else { return }
        rmsNormBackward(
            dx, x: saved.input.matrix(rows: t), norm, rstd: saved.rstd.pointer, into: dresidual,
            dweight: g.attentionNorm, compute)
    }

    /// dmiddle [S, C] → `scratch.dattention` [T, H·D].
    private func endBackward(
        _ saved: AttentionActivations, gradients g: LayerGradients, layer: Int, dmiddle: Matrix,
        _ scratch: LayerScratch, _ batch: DecoderBatch<ForestKeys>
    ) {
        let t = batch.tokens, results = batch.results(ofLayer: layer)
        let attention = saved.attention.matrix(rows: t), dattention = scratch.dattention.matrix(rows: t)
        let attended = results.isAll ? attention : saved.attended.matrix(rows: results.count)
        let dattended = results.isAll ? dattention : scratch.dheads.matrix(rows: t)[rows: 0..<results.count]
        let doutput = end.backward(dmiddle, saved.end, dnorm: g.attentionEndNorm, scratch, batch.compute)
        linearBackward(doutput, x: attended, output, gradient: g[.output], into: dattended, batch.compute)
        results.scatter(dattended, into: dattention)
    }

    /// `scratch.dattention` → `dquery`, `dkey`, `dvalue` there, of rotated heads.
    private func attentionBackward(
        _ saved: AttentionActivations, gradients g: LayerGradients, layer: Int, _ scratch: LayerScratch,
        _ batch: DecoderBatch<ForestKeys>
    ) {
        let t = batch.tokens, shape = shape(layer, batch)
        if let dsinks = g.sinks {
            attentionSinkBackward(
                dout: scratch.dattention.matrix(rows: t), out: saved.attention.matrix(rows: t),
                logSumExp: saved.logSumExp.matrix(rows: batch.architecture.queryHeads), shape: shape, into: dsinks,
                batch.compute)
        }
        scratch.dkey.zero()
        scratch.dvalue.zero()
        Tensors.attentionBackward(
            dout: scratch.dattention.matrix(rows: t), out: saved.attention.matrix(rows: t),
            q: saved.query.rotated.matrix(rows: t), k: saved.key.rotated.matrix(rows: t),
            v: saved.value.matrix(rows: t), logSumExp: saved.logSumExp.matrix(rows: batch.architecture.queryHeads),
            runs: batch.keys.runs, shape: shape,
            dq: scratch.dquery.matrix(rows: t), dk: scratch.dkey.matrix(rows: t), dv: scratch.dvalue.matrix(rows: t),
            batch.compute)
    }
}

/// What the half keeps of its forward pass for the backward one, [T, ·] over the tokens of a pass.
struct AttentionActivations {
    private(set) var input: Buffer
    /// Empty without a norm: the projections read the input.
    private let normed: Buffer
    let rstd: Buffer
    let query: HeadActivations
    let key: HeadActivations
    let value: Buffer
    let attention: Buffer
    /// [S, H·D]: the attention's rows that go on; empty where all do.
    private(set) var attended = Buffer.none
    /// [H, T]
    let logSumExp: Buffer
    /// [S, ·]
    private(set) var end: JoinActivations

    /// The forward pass writes every one of them whole.
    init(_ a: DecoderArchitecture, tokens: Int, resultRows: Int, input: Buffer, in space: any Allocator) {
        func columns(_ count: Int) -> Buffer { space.take(tokens * count) }
        let hasNorm = a.norms.beforeAttention != nil
        self.input = input
        normed = hasNorm ? columns(a.hidden) : Buffer.none
        rstd = hasNorm ? columns(1) : Buffer.none
        query = HeadActivations(a, tokens: tokens, heads: a.queryHeads, in: space)
        key = HeadActivations(a, tokens: tokens, heads: a.keyValueHeads, in: space)
        value = columns(a.keyValueColumns)
        attention = columns(a.queryColumns)
        logSumExp = columns(a.queryHeads)
        end = JoinActivations(a, norm: a.norms.afterAttention, rows: resultRows, in: space)
        hasOwnNormed = hasNorm
    }

    private let hasOwnNormed: Bool

    /// All but the input, and but what goes on of a layer whose result is wanted of some tokens only.
    var arrays: [Buffer] { [normed, rstd, value, attention, logSumExp] + query.arrays + key.arrays + end.arrays }

    /// What the projections read, [T, C].
    func x(rows: Int) -> Matrix { (hasOwnNormed ? normed : input).matrix(rows: rows) }

    /// The same arrays for another layer, which reads `input`.
    func reading(_ input: Buffer) -> AttentionActivations {
        var other = self
        other.input = input
        return other
    }

    /// The same arrays for a layer whose result is wanted of `rows` of `all` tokens.
    func ending(inRows rows: Int, of all: Int, attended: Buffer) -> AttentionActivations {
        var other = self
        other.attended = attended
        if rows < all { other.end = end.first(rows, of: all) }
        return other
    }
}
