import CKernels
import Tensors

/// The decoder one token at a time over a key-value cache. Every row's numbers depend on its own path alone — never on
/// which rows are computed together or on the thread count — so what a rollout samples doesn't depend on its batch.
struct DecodingPass {
    private let model: LanguageModel
    private var rotary: RotaryTable?
    private let layers: [PackedLayer]
    private let head: PackedLinear
    private var a: DecoderArchitecture { model.architecture }
    private var compute: Compute { model.compute }

    init(_ model: LanguageModel) {
        self.model = model
        layers = model.weights.layers.map { PackedLayer($0, model.compute) }
        head = PackedLinear(model.weights.head, model.compute)
    }

    /// `positions`: length of the longest sequence to come.
    mutating func prepare(positions: Int) throws {
        rotary = try model.architecture.rotary.table(headWidth: model.architecture.headWidth, positions: positions)
    }

    private struct PackedLayer {
        let weights: LayerWeights
        let query, key, value, output, gate, up, down: PackedLinear

        init(_ w: LayerWeights, _ compute: Compute) {
            weights = w
            (query, key, value) = (
                PackedLinear(w.query, compute), PackedLinear(w.key, compute), PackedLinear(w.value, compute)
            )
            (output, gate, up) = (
                PackedLinear(w.output, compute), PackedLinear(w.gate, compute), PackedLinear(w.up, compute)
            )
            down = PackedLinear(w.down, compute)
        }
    }

    /// Writes each row's keys and values into its block and returns the final norm's output, [R, C]. A row may see rows
    /// before it in the same pass: parents and earlier tokens come first.
    func hidden(_ rows: [DecodingRow]) -> Buffer {
        let space = Space(a, rows: rows.count)
        embeddingForward(rows.map(\.token), weight: model.weights.embedding, into: space.residual)
        for (index, layer) in layers.enumerated() {
            attentionBlock(layer, index, rows, space)
            feedForwardBlock(layer, space)
        }
        rmsNorm(space.residual, model.weights.finalNorm, into: space.normed)
        return space.normedBuffer
    }

    /// Raw logits [R, V] of final hidden states [R, C].
    func logits(_ hidden: Matrix, into logits: Matrix) { head.forward(hidden, into: logits, compute) }

    private func attentionBlock(_ w: PackedLayer, _ layer: Int, _ rows: [DecodingRow], _ space: Space) {
        rmsNorm(space.residual, w.weights.inputNorm, into: space.normed)
        project(space.normed, w.query, norm: w.weights.queryNorm, into: space.query, rows, rotated: true)
        project(space.normed, w.key, norm: w.weights.keyNorm, into: space.key, rows, rotated: true)
        project(space.normed, w.value, norm: nil, into: space.value, rows, rotated: false)
        for (r, row) in rows.enumerated() {
            row.block.keys(layer).row(row.index).update(from: space.key.row(r), count: a.keyValueColumns)
            row.block.values(layer).row(row.index).update(from: space.value.row(r), count: a.keyValueColumns)
        }
        compute.forEach(rows.count) {
            attend(rows[$0], layer, query: space.query.row($0), into: space.attention.row($0))
        }
        w.output.forward(space.attention, into: space.normed, compute)
        addToResidual(space)
    }

    private func feedForwardBlock(_ w: PackedLayer, _ space: Space) {
        rmsNorm(space.residual, w.weights.feedForwardNorm, into: space.normed)
        w.gate.forward(space.normed, into: space.gate, compute)
        w.up.forward(space.normed, into: space.up, compute)
        // Not in place: a kernel whose output may be its input is not vectorised.
        swigluForward(gate: space.gate, up: space.up, into: space.product, compute)
        w.down.forward(space.product, into: space.normed, compute)
        addToResidual(space)
    }

    private func addToResidual(_ space: Space) {
        crux_add(space.residual.base, space.normed.base, space.normed.rows * space.normed.columns)
    }

    private func rmsNorm(_ x: Matrix, _ weight: Matrix, into y: Matrix) {
        for row in 0..<x.rows {
            _ = crux_rmsnorm_forward(x.row(row), weight.base, y.row(row), x.columns, a.normEpsilon)
        }
    }

    private func project(
        _ x: Matrix, _ weights: PackedLinear, norm: Matrix?, into y: Matrix, _ rows: [DecodingRow], rotated: Bool
    ) {
        weights.forward(x, into: y, compute)
        if let norm {
            let heads = Matrix(y.base, rows: y.rows * y.columns / a.headWidth, columns: a.headWidth)
            rmsNorm(heads, norm, into: heads)
        }
        if rotated { rotary?.forward(y, positions: rows.map { Int32($0.position) }, compute) }
    }

    /// out [H·D] = softmax(scale · q · kᵀ) · v, head by head, over the keys that the row sees.
    private func attend(
        _ row: DecodingRow, _ layer: Int, query: UnsafeMutablePointer<Float>, into out: UnsafeMutablePointer<Float>
    ) {
        let shape = a.attention(layer: layer), width = a.headWidth
        let first = max(0, shape.window.map { row.position - $0 + 1 } ?? 0), count = row.position + 1 - first
        out.update(repeating: 0, count: a.queryColumns)
        withUnsafeTemporaryAllocation(of: Float.self, capacity: count) { buffer in
            guard let scores = buffer.baseAddress else { return }
            for head in 0..<a.queryHeads {
                let column = head / (a.queryHeads / a.keyValueHeads) * width
                row.forEachBlock(from: first) { block, keys, offset in
                    let k = block.keys(layer)
                    crux_attention_scores(
                        query + head * width, k.row(keys.lowerBound) + column, k.stride, keys.count, width,
                        scores + offset)
                }
                _ = crux_softmax_row(scores, count, 1 / Float(width).squareRoot())
                row.forEachBlock(from: first) { block, keys, offset in
                    let v = block.values(layer)
                    crux_attention_mix(
                        scores + offset, v.row(keys.lowerBound) + column, v.stride, keys.count, width,
                        out + head * width)
                }
            }
        }
    }

    /// Activations of one pass, [R, ·].
    private struct Space {
        let residual, normed, query, key, value, attention, gate, up, product: Matrix
        let normedBuffer: Buffer
        private let buffers: [Buffer]

        init(_ a: DecoderArchitecture, rows: Int) {
            let widths = [
                a.hidden, a.hidden, a.queryColumns, a.keyValueColumns, a.keyValueColumns, a.queryColumns, a.feedForward,
                a.feedForward, a.feedForward,
            ]
            buffers = widths.map { Buffer(uninitialized: rows * $0) }
            let views = buffers.map { $0.matrix(rows: rows) }
            (residual, normed, query, key) = (views[0], views[1], views[2], views[3])
            (value, attention, gate, up) = (views[4], views[5], views[6], views[7])
            product = views[8]
            normedBuffer = buffers[1]
        }
    }
}
