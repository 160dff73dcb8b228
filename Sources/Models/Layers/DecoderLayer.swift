import Tensors

/// What a layer keeps of its forward pass for the backward half: [T, ·] over the tokens of a forest, and from `middle`
/// on [S, ·] over those that the layer's result is wanted of.
struct LayerActivations {
    /// S
    private(set) var resultRows: Int
    private(set) var input: Buffer
    let normed: Buffer
    let rstd: Buffer
    let query: NormedHeads
    let key: NormedHeads
    let value: Buffer
    let attention: Buffer
    /// [S, H·D]: the attention's rows that go on; empty where all do.
    private(set) var attended = Buffer(uninitialized: 0)
    /// [H, T]
    let logSumExp: Buffer
    private(set) var middle: Buffer
    private(set) var middleNormed: Buffer
    private(set) var middleRstd: Buffer
    private(set) var gate: Buffer
    private(set) var up: Buffer

    init(_ a: DecoderArchitecture, tokens: Int, resultRows: Int, input: Buffer, in space: any FloatSpace) {
        // The forward pass writes every one of them whole.
        func columns(_ count: Int) -> Buffer { space.take(tokens * count) }
        func resultColumns(_ count: Int) -> Buffer { space.take(resultRows * count) }
        self.resultRows = resultRows
        self.input = input
        normed = columns(a.hidden)
        rstd = columns(1)
        query = NormedHeads(tokens: tokens, heads: a.queryHeads, width: a.headWidth, normed: a.queryKeyNorm, in: space)
        key = NormedHeads(tokens: tokens, heads: a.keyValueHeads, width: a.headWidth, normed: a.queryKeyNorm, in: space)
        value = columns(a.keyValueColumns)
        attention = columns(a.queryColumns)
        logSumExp = columns(a.queryHeads)
        middle = resultColumns(a.hidden)
        middleNormed = resultColumns(a.hidden)
        middleRstd = resultColumns(1)
        gate = resultColumns(a.feedForward)
        up = resultColumns(a.feedForward)
    }

    /// The same arrays for another layer, which reads `input`.
    func reading(_ input: Buffer) -> LayerActivations {
        var other = self
        other.input = input
        return other
    }

    /// The same arrays, or the first part of them, for a layer whose result is wanted of `rows` tokens only.
    func ending(inRows rows: Int, attended: Buffer) -> LayerActivations {
        func first(_ buffer: Buffer) -> Buffer { Buffer(part: 0, count: buffer.count / resultRows * rows, of: buffer) }
        var other = self
        other.attended = attended
        guard rows < resultRows else { return other }
        other.resultRows = rows
        (other.middle, other.middleNormed, other.middleRstd) = (first(middle), first(middleNormed), first(middleRstd))
        (other.gate, other.up) = (first(gate), first(up))
        return other
    }
}

/// Query or key heads: projected, normed per head where the family does, then rotated in place.
struct NormedHeads {
    /// [T, heads·D], after norm and rotation.
    let rotated: Buffer
    /// [T, heads·D] before the norm, and [T·heads]; nil without a norm.
    let raw: Buffer?
    let rstd: Buffer?
    let width: Int

    init(tokens: Int, heads: Int, width: Int, normed: Bool, in space: any FloatSpace) {
        self.width = width
        rotated = space.take(tokens * heads * width)
        raw = normed ? space.take(tokens * heads * width) : nil
        rstd = normed ? space.take(tokens * heads) : nil
    }

    /// One row per head of one token, [T·heads, D].
    private func perHead(_ buffer: Buffer) -> Matrix { buffer.matrix(rows: buffer.count / width) }

    func forward(_ x: Matrix, _ weights: LinearWeights, norm: Matrix?, _ batch: DecoderBatch) {
        let target = raw ?? rotated
        linearForward(x, weights, into: target.matrix(rows: x.rows), batch.compute)
        if let norm, let raw, let rstd {
            rmsNormForward(
                perHead(raw), weight: norm, epsilon: batch.architecture.normEpsilon, into: perHead(rotated),
                rstd: rstd.pointer, batch.compute)
        }
        batch.rotary.forward(rotated.matrix(rows: x.rows), positions: batch.forest.positions, batch.compute)
    }

    /// `d` [T, heads·D] goes in as the gradient of the rotated heads and comes out as that of the projection.
    func backward(_ d: Matrix, scratch: Buffer, norm: Matrix?, dnorm: Matrix?, _ batch: DecoderBatch) -> Matrix {
        batch.rotary.backward(d, positions: batch.forest.positions, batch.compute)
        guard let norm, let raw, let rstd else { return d }
        let draw = Matrix(scratch.pointer, rows: d.rows * d.columns / width, columns: width)
        draw.base.update(repeating: 0, count: d.rows * d.columns)
        let dheads = Matrix(d.base, rows: draw.rows, columns: width)
        rmsNormBackward(
            dheads, x: perHead(raw), weight: norm, rstd: rstd.pointer, into: draw, dweight: dnorm, batch.compute)
        return Matrix(draw.base, rows: d.rows, columns: d.columns)
    }
}

/// What every layer of one pass shares.
struct DecoderBatch {
    let architecture: DecoderArchitecture
    let forest: TokenForest
    let rotary: RotaryTable
    let compute: Compute
    var tokens: Int { forest.tokenIDs.count }

    /// The tokens that a layer's result is wanted of.
    func results(ofLayer layer: Int) -> ChosenRows {
        layer == architecture.layers - 1 ? forest.outlets : ChosenRows(allOf: tokens)
    }
}

/// Space that the layers of a backward pass use one after the other. All [T, ·].
struct LayerScratch {
    let feedForward: Buffer
    let dnormed: Buffer
    let dattention: Buffer
    let dquery: Buffer
    let dkey: Buffer
    let dvalue: Buffer
    let dheads: Buffer

    init(_ a: DecoderArchitecture, tokens: Int, in space: any FloatSpace) {
        func columns(_ count: Int) -> Buffer { space.take(tokens * count) }
        feedForward = columns(a.feedForward)
        dnormed = columns(a.hidden)
        dattention = columns(a.queryColumns)
        dquery = columns(a.queryColumns)
        dkey = columns(a.keyValueColumns)
        dvalue = columns(a.keyValueColumns)
        dheads = columns(a.queryColumns)
    }
}

/// x [T, C] (already in `saved.input`) → result [S, C]: x + attention(norm(x)), then + feedForward(norm(·)).
/// `product`: scratch, [T, F].
func layerForward(
    _ w: LayerWeights, _ saved: LayerActivations, layer: Int, into result: Matrix, product: Matrix,
    _ batch: DecoderBatch
) {
    layerActivations(w, saved, layer: layer, batch)
    feedForwardResult(w, saved, into: result, product: product[rows: 0..<saved.resultRows], batch)
}

/// Fills `saved` from its input: all of the forward pass that the backward half reads. The layer's result isn't part of
/// it.
func layerActivations(_ w: LayerWeights, _ saved: LayerActivations, layer: Int, _ batch: DecoderBatch) {
    attentionBlockForward(w, saved, layer: layer, batch)
    feedForwardActivations(w, saved, batch)
}

/// dresult [S, C], the gradient of the layer's result → dresidual [T, C], that of its input: the same array where S is
/// T. Leaves `saved` and `dresult` in pieces.
func layerBackward(
    _ w: LayerWeights, gradients g: LayerGradients, _ saved: LayerActivations, layer: Int, dresult: Matrix,
    into dresidual: Matrix, _ scratch: LayerScratch,
    _ batch: DecoderBatch
) {
    feedForwardBlockBackward(w, gradients: g, saved, dresidual: dresult, scratch, batch)
    attentionBlockBackward(w, gradients: g, saved, layer: layer, dmiddle: dresult, into: dresidual, scratch, batch)
}

private func attentionBlockForward(_ w: LayerWeights, _ saved: LayerActivations, layer: Int, _ batch: DecoderBatch) {
    let t = batch.tokens, compute = batch.compute, normed = saved.normed.matrix(rows: t)
    rmsNormForward(
        saved.input.matrix(rows: t), weight: w.inputNorm, epsilon: batch.architecture.normEpsilon, into: normed,
        rstd: saved.rstd.pointer, compute)
    saved.query.forward(normed, w.query, norm: w.queryNorm, batch)
    saved.key.forward(normed, w.key, norm: w.keyNorm, batch)
    linearForward(normed, w.value, into: saved.value.matrix(rows: t), compute)
    attentionForward(
        q: saved.query.rotated.matrix(rows: t), k: saved.key.rotated.matrix(rows: t), v: saved.value.matrix(rows: t),
        runs: batch.forest.runs,
        shape: batch.architecture.attention(layer: layer), into: saved.attention.matrix(rows: t),
        logSumExp: saved.logSumExp.matrix(rows: batch.architecture.queryHeads), compute)
    let results = batch.results(ofLayer: layer), middle = saved.middle.matrix(rows: results.count)
    let attended = results.gather(saved.attention.matrix(rows: t), into: saved.attended.matrix(rows: results.count))
    linearForward(
        attended, w.output, adding: results.gather(saved.input.matrix(rows: t), into: middle), into: middle, compute)
}

/// dmiddle [S, C] → dresidual [T, C].
private func attentionBlockBackward(
    _ w: LayerWeights, gradients g: LayerGradients, _ saved: LayerActivations, layer: Int, dmiddle: Matrix,
    into dresidual: Matrix, _ scratch: LayerScratch,
    _ batch: DecoderBatch
) {
    let results = batch.results(ofLayer: layer)
    let t = batch.tokens, normed = saved.normed.matrix(rows: t), attention = saved.attention.matrix(rows: t)
    let dattention = scratch.dattention.matrix(rows: t), dnormed = scratch.dnormed.matrix(rows: t)
    let attended = results.isAll ? attention : saved.attended.matrix(rows: results.count)
    let dattended = results.isAll ? dattention : scratch.dheads.matrix(rows: t)[rows: 0..<results.count]
    linearBackward(dmiddle, x: attended, w.output, gradient: g.output, into: dattended, batch.compute)
    results.scatter(dattended, into: dattention)
    results.scatter(dmiddle, into: dresidual)
    scratch.dkey.zero()
    scratch.dvalue.zero()
    attentionBackward(
        dout: dattention, out: attention, q: saved.query.rotated.matrix(rows: t), k: saved.key.rotated.matrix(rows: t),
        v: saved.value.matrix(rows: t), logSumExp: saved.logSumExp.matrix(rows: batch.architecture.queryHeads),
        runs: batch.forest.runs,
        shape: batch.architecture.attention(layer: layer), dq: scratch.dquery.matrix(rows: t),
        dk: scratch.dkey.matrix(rows: t),
        dv: scratch.dvalue.matrix(rows: t), batch.compute)
    linearBackward(scratch.dvalue.matrix(rows: t), x: normed, w.value, gradient: g.value, into: dnormed, batch.compute)
    let dkey = saved.key.backward(
        scratch.dkey.matrix(rows: t), scratch: scratch.dheads, norm: w.keyNorm, dnorm: g.keyNorm, batch)
    linearBackward(dkey, x: normed, w.key, gradient: g.key, into: dnormed, keep: 1, batch.compute)
    let dquery = saved.query.backward(
        scratch.dquery.matrix(rows: t), scratch: scratch.dheads, norm: w.queryNorm, dnorm: g.queryNorm, batch)
    linearBackward(dquery, x: normed, w.query, gradient: g.query, into: dnormed, keep: 1, batch.compute)
    rmsNormBackward(
        dnormed, x: saved.input.matrix(rows: t), weight: w.inputNorm, rstd: saved.rstd.pointer, into: dresidual,
        dweight: g.inputNorm, batch.compute)
}

private func feedForwardActivations(_ w: LayerWeights, _ saved: LayerActivations, _ batch: DecoderBatch) {
    let s = saved.resultRows, normed = saved.middleNormed.matrix(rows: s)
    rmsNormForward(
        saved.middle.matrix(rows: s), weight: w.feedForwardNorm, epsilon: batch.architecture.normEpsilon, into: normed,
        rstd: saved.middleRstd.pointer, batch.compute)
    linearForward(normed, w.gate, into: saved.gate.matrix(rows: s), batch.compute)
    linearForward(normed, w.up, into: saved.up.matrix(rows: s), batch.compute)
}

private func feedForwardResult(
    _ w: LayerWeights, _ saved: LayerActivations, into result: Matrix, product: Matrix, _ batch: DecoderBatch
) {
    let s = saved.resultRows
    swigluForward(gate: saved.gate.matrix(rows: s), up: saved.up.matrix(rows: s), into: product, batch.compute)
    linearForward(product, w.down, adding: saved.middle.matrix(rows: s), into: result, batch.compute)
}

private func feedForwardBlockBackward(
    _ w: LayerWeights, gradients g: LayerGradients, _ saved: LayerActivations, dresidual: Matrix,
    _ scratch: LayerScratch, _ batch: DecoderBatch
) {
    let s = saved.resultRows, compute = batch.compute, normed = saved.middleNormed.matrix(rows: s)
    let gate = saved.gate.matrix(rows: s), up = saved.up.matrix(rows: s),
        product = scratch.feedForward.matrix(rows: batch.tokens)[rows: 0..<s]
    let dnormed = scratch.dnormed.matrix(rows: batch.tokens)[rows: 0..<s]
    swigluForward(gate: gate, up: up, into: product, compute)
    linearBackward(dresidual, x: product, w.down, gradient: g.down, into: nil, compute)
    linearInputGradient(dresidual, w.down, into: product, compute)
    // In place: from here on `gate` and `up` hold their gradients.
    swigluBackward(product, gate: gate, up: up, dgate: gate, dup: up, compute)
    linearBackward(gate, x: normed, w.gate, gradient: g.gate, into: dnormed, compute)
    linearBackward(up, x: normed, w.up, gradient: g.up, into: dnormed, keep: 1, compute)
    rmsNormBackward(
        dnormed, x: saved.middle.matrix(rows: s), weight: w.feedForwardNorm, rstd: saved.middleRstd.pointer,
        into: dresidual,
        dweight: g.feedForwardNorm, compute)
}
