import CKernels
import Files
import Tensors

/// The decoder one token at a time over a key-value cache. Every row's numbers depend on its own path alone — never on
/// which rows are computed together or on the thread count — so what a rollout samples doesn't depend on its batch.
struct DecodingPass {
    private let model: LanguageModel
    private var rotaries: [RotaryTable] = []
    private let weights: DecoderWeights
    private let head: PackedLinear

    /// `precision`: of the factors of its products.
    init(_ model: LanguageModel, _ precision: GenerationPrecision) {
        self.model = model
        weights = model.weights.packed(as: precision, model.compute)
        head = PackedLinear(model.weights.head.float32, as: precision, model.compute)
    }

    /// `positions`: length of the longest sequence to come.
    mutating func prepare(positions: Int) throws {
        try refuseLong(positions)
        rotaries = try model.architecture.rotaryTables(positions: positions)
    }

    /// What was cached of a short sequence holds for no long one.
    private func refuseLong(_ positions: Int) throws {
        guard let trained = model.architecture.longSequences, positions > trained else { return }
        throw FormatError(
            file: "config.json", place: "key original_max_position_embeddings",
            found: "rollouts of up to \(positions) tokens, prompt included",
            expected: "at most \(trained): longer ones are rotated by other factors from their first token on",
            remedy: "Lower --max-tokens, or leave out the longest prompts.")
    }

    /// Writes each row's keys and values into its block and returns the final norm's output, [R, C]. A row may see rows
    /// before it in the same pass: parents and earlier tokens come first.
    func hidden(_ rows: [DecodingRow]) -> Buffer {
        let a = model.architecture, space = HeapAllocator(), positions = rows.map { Int32($0.position) }
        let batch = DecoderBatch(
            architecture: a, tokenIDs: rows.map(\.token), positions: positions, tablePositions: positions,
            outputPositions: RowSubset(allOf: rows.count), rotaries: rotaries, keys: CachedKeys(rows: rows),
            compute: model.compute)
        let final = FinalNorm(a, tokens: rows.count, in: space),
            arrays = PassingArrays(a, tokens: rows.count, outputPositions: rows.count, in: space)
        weights.forward(batch, arrays.layers, final, scratch: arrays.scratch) { _ in }
        return final.output
    }

    /// Raw logits [R, V] of final hidden states [R, C].
    func logits(_ hidden: Matrix, into logits: Matrix) {
        head.forward(hidden, into: logits, model.compute)
        model.architecture.logitHead(model.weights.head).finish(logits, model.compute)
    }
}

/// What a cache holds: a pass's tokens add their own keys and values to it, then see what their paths hold; and they move
/// states on.
private struct CachedKeys: AttendedKeys {
    let rows: [DecodingRow]

    /// The log-sum-exps stay unwritten: nothing flows back.
    func attend(
        q: Matrix, k: Matrix, v: Matrix, layer: Int, _ shape: AttentionShape, into out: Matrix, logSumExp: Matrix,
        _ compute: Compute
    ) {
        for (r, row) in rows.enumerated() {
            row.block.keys(layer).row(row.index).update(from: k.row(r), count: k.columns)
            row.block.values(layer).row(row.index).update(from: v.row(r), count: v.columns)
        }
        // Heads that read the same keys stay together: the first one brings the keys into the cache.
        compute.forEach(rows.count * shape.keyValueHeads) { index in
            let (r, head) = index.quotientAndRemainder(dividingBy: shape.keyValueHeads)
            attend(rows[r], layer, shape, keyValueHead: head, query: q.row(r), into: out.row(r))
        }
    }

    /// One task has some columns of all rows: a row may go on from one before it.
    func convolve(
        _ x: Matrix, _ convolution: CausalConvolution, layer: Int, into y: Matrix, _ compute: Compute
    ) {
        let weight = convolution.turned(), groups = StateRows.all(rows, layer: layer), taps = convolution.taps
        compute.forEachBlock(rows: x.columns, blockRows: 256) { _, columns in
            for group in groups {
                if group.begins { group.state.takeInputs(layer: layer, columns: columns) }
                for row in group.rows {
                    convolve(x.row(row), group.state.inputs(layer: layer), weight, taps, columns, into: y.row(row))
                }
            }
        }
    }

    /// One token, which then is the newest of what was seen.
    private func convolve(
        _ x: UnsafeMutablePointer<Float>, _ seen: Matrix, _ weight: Buffer, _ taps: Int, _ columns: Range<Int>,
        into y: UnsafeMutablePointer<Float>
    ) {
        let first = columns.lowerBound, own = x + first
        withUnsafeTemporaryAllocation(of: UnsafePointer<Float>?.self, capacity: taps) { rows in
            guard let base = rows.baseAddress else { return }
            for row in 0..<seen.rows { base[row] = UnsafePointer(seen.row(row) + first) }
            base[seen.rows] = UnsafePointer(own)
            crux_convolve_silu(base, weight.pointer + first, seen.columns, taps, y + first, columns.count)
        }
        for row in 0..<seen.rows {
            let next = row + 1 < seen.rows ? seen.row(row + 1) + first : own
            (seen.row(row) + first).update(from: next, count: columns.count)
        }
    }

    /// One task has one head of all rows, in their order.
    func remember(_ inputs: DeltaInputs, layer: Int, into out: Matrix, _ compute: Compute) {
        let groups = StateRows.all(rows, layer: layer)
        compute.forEach(inputs.shape.valueHeads) { head in
            for group in groups {
                if group.begins { group.state.takeState(layer: layer, head: head) }
                inputs.run(head, group.rows, state: group.state.state(layer: layer, head: head), into: out)
            }
        }
        for group in groups where group.begins { group.state.begin(layer: layer) }
    }

    /// out [H·D] = softmax(scale · q · kᵀ) · v over the keys that the row sees, of the query heads that read one
    /// key/value head.
    private func attend(
        _ row: DecodingRow, _ layer: Int, _ shape: AttentionShape, keyValueHead: Int,
        query: UnsafeMutablePointer<Float>, into out: UnsafeMutablePointer<Float>
    ) {
        let width = shape.headWidth, group = shape.queryHeads / shape.keyValueHeads, column = keyValueHead * width
        let first = max(0, shape.window.map { row.position - $0 + 1 } ?? 0), count = row.position + 1 - first
        (out + keyValueHead * group * width).update(repeating: 0, count: group * width)
        withUnsafeTemporaryAllocation(of: Float.self, capacity: count) { buffer in
            guard let scores = buffer.baseAddress else { return }
            for head in keyValueHead * group..<(keyValueHead + 1) * group {
                row.forEachBlock(from: first) { block, keys, offset in
                    let k = block.keys(layer)
                    crux_attention_scores(
                        query + head * width, k.row(keys.lowerBound) + column, k.stride, keys.count, width,
                        scores + offset)
                }
                shape.softmax(scores, count: count, head: head)
                row.forEachBlock(from: first) { block, keys, offset in
                    let v = block.values(layer)
                    crux_attention_mix(
                        scores + offset, v.row(keys.lowerBound) + column, v.stride, keys.count, width,
                        out + head * width)
                }
            }
        }
    }
}
