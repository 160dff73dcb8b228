import CKernels

/// Which keys each query may see, for a batch laid out as a forest of token runs. A run is a stretch of consecutive
/// tokens of the flat batch; its tokens see the tokens of all ancestor runs and, causally, their own. A batch of
/// sequences without shared prefixes is one run each.
package struct AttentionRun: Sendable {
    /// Flat token indices of this run.
    package let tokens: Range<Int>
    /// Flat token ranges of the ancestors, root first; together the prefix.
    package let prefix: [Range<Int>]

    package init(tokens: Range<Int>, prefix: [Range<Int>]) {
        self.tokens = tokens
        self.prefix = prefix
    }

    package var prefixLength: Int { prefix.reduce(0) { $0 + $1.count } }
    /// Keys the last token of this run sees when no window limits it.
    package var keyCount: Int { prefixLength + tokens.count }
}

/// Grouped-query attention: query head h reads key/value head h / (H / K).
package struct AttentionShape: Sendable {
    package let queryHeads: Int
    package let keyValueHeads: Int
    package let headWidth: Int
    /// A token sees at most this many keys, itself included (sliding-window layers); nil is no limit.
    package let window: Int?

    package init(queryHeads: Int, keyValueHeads: Int, headWidth: Int, window: Int? = nil) {
        self.queryHeads = queryHeads
        self.keyValueHeads = keyValueHeads
        self.headWidth = headWidth
        self.window = window
    }

    var scale: Float { 1 / Float(headWidth).squareRoot() }
    var queriesPerKeyValueHead: Int { queryHeads / keyValueHeads }
    func queryColumns(_ head: Int) -> Range<Int> { head * headWidth..<(head + 1) * headWidth }
}

/// Scores are held for this many queries at a time: a chunk of [128, S] stays in cache, and memory does not grow
/// with the square of the length.
private let queriesPerChunk = 128

/// Floats that one thread works in, at most, where the last token of a run sees `keys` keys.
package func attentionScratchFloats(keys: Int, headWidth: Int) -> Int { keys * (2 * queriesPerChunk + 4 * headWidth) }

/// out = softmax(scale · q · kᵀ over the visible keys) · v. q, out [T, H·D]; k, v [T, K·D] (q and k rotated already);
/// logSumExp [H, T] is kept for the backward half, which rebuilds the probabilities from it.
package func attentionForward(
    q: Matrix, k: Matrix, v: Matrix, runs: [AttentionRun], shape: AttentionShape, into out: Matrix, logSumExp: Matrix, _ compute: Compute
) {
    compute.forEach(runs.count * shape.keyValueHeads) { task in
        let run = runs[task / shape.keyValueHeads], keyValueHead = task % shape.keyValueHeads
        let path = PathKeys(run, k: k, v: v, head: shape.queryColumns(keyValueHead))
        let scores = Buffer(uninitialized: min(queriesPerChunk, run.tokens.count) * run.keyCount)
        for head in heads(of: keyValueHead, shape) {
            let columns = shape.queryColumns(head)
            for chunk in chunks(of: run, shape) {
                let p = chunk.scores(in: scores)
                multiplyTransposed(q[rows: chunk.queries][columns: columns], path.keys[rows: chunk.keys], into: p)
                for i in 0..<chunk.queries.count {
                    logSumExp.row(head)[chunk.queries.lowerBound + i] = chunk.softmax(p.row(i), query: i, scale: shape.scale)
                }
                multiply(p, path.values[rows: chunk.keys], into: out[rows: chunk.queries][columns: columns])
            }
        }
    }
}

/// dq =, dk +=, dv += (zero dk and dv before). Key/value heads run in parallel, the runs of one head in order, because
/// runs that share ancestors add to the same keys.
package func attentionBackward(
    dout: Matrix, out: Matrix, q: Matrix, k: Matrix, v: Matrix, logSumExp: Matrix, runs: [AttentionRun], shape: AttentionShape,
    dq: Matrix, dk: Matrix, dv: Matrix, _ compute: Compute
) {
    compute.forEach(shape.keyValueHeads) { keyValueHead in
        for run in runs {
            let columns = shape.queryColumns(keyValueHead)
            let path = PathKeys(run, k: k, v: v, head: columns)
            let gradients = PathKeys(zeroed: run.keyCount, width: shape.headWidth)
            let chunkRows = min(queriesPerChunk, run.tokens.count)
            let scores = Buffer(uninitialized: chunkRows * run.keyCount), dscores = Buffer(uninitialized: chunkRows * run.keyCount)
            for head in heads(of: keyValueHead, shape) {
                let columns = shape.queryColumns(head)
                for chunk in chunks(of: run, shape) {
                    let p = chunk.scores(in: scores), ds = chunk.scores(in: dscores)
                    let queries = q[rows: chunk.queries][columns: columns], douts = dout[rows: chunk.queries][columns: columns]
                    let outs = out[rows: chunk.queries][columns: columns]
                    multiplyTransposed(queries, path.keys[rows: chunk.keys], into: p)
                    multiplyTransposed(douts, path.values[rows: chunk.keys], into: ds)
                    for i in 0..<chunk.queries.count {
                        let lse = logSumExp.row(head)[chunk.queries.lowerBound + i]
                        let delta = crux_dot(douts.row(i), outs.row(i), shape.headWidth)
                        chunk.softmaxBackward(p.row(i), ds.row(i), query: i, scale: shape.scale, lse: lse, delta: delta)
                    }
                    transposedMultiply(p, douts, into: gradients.values[rows: chunk.keys], keep: 1)
                    transposedMultiply(ds, queries, into: gradients.keys[rows: chunk.keys], keep: 1)
                    multiply(ds, path.keys[rows: chunk.keys], into: dq[rows: chunk.queries][columns: columns])
                }
            }
            gradients.scatterAdd(run, dk: dk, dv: dv, head: columns)
        }
    }
}

private func heads(of keyValueHead: Int, _ shape: AttentionShape) -> Range<Int> {
    keyValueHead * shape.queriesPerKeyValueHead..<(keyValueHead + 1) * shape.queriesPerKeyValueHead
}

/// A stretch of a run's queries with the path keys that any of them sees.
private struct QueryChunk {
    /// Flat token indices.
    let queries: Range<Int>
    /// Path indices (0 is the first token of the root).
    let keys: Range<Int>
    /// Path index of the first query.
    let firstPosition: Int
    let window: Int?

    func scores(in buffer: Buffer) -> Matrix { Matrix(buffer.pointer, rows: queries.count, columns: keys.count) }

    /// Columns of a score row that query i sees: from the window's start to the query itself.
    private func visible(_ i: Int) -> Range<Int> {
        let position = firstPosition + i
        let first = max(keys.lowerBound, window.map { position - $0 + 1 } ?? 0)
        return first - keys.lowerBound..<position + 1 - keys.lowerBound
    }

    /// Scores → probabilities in place, 0 where unseen; returns the log-sum-exp.
    func softmax(_ row: UnsafeMutablePointer<Float>, query i: Int, scale: Float) -> Float {
        let seen = visible(i)
        clear(row, outside: seen)
        return crux_softmax_row(row + seen.lowerBound, seen.count, scale)
    }

    /// Scores → probabilities in `row`, dprobabilities → dscores in `drow`, 0 where unseen.
    func softmaxBackward(
        _ row: UnsafeMutablePointer<Float>, _ drow: UnsafeMutablePointer<Float>, query i: Int, scale: Float, lse: Float, delta: Float
    ) {
        let seen = visible(i)
        clear(row, outside: seen)
        clear(drow, outside: seen)
        crux_softmax_row_from_lse(row + seen.lowerBound, seen.count, scale, lse)
        crux_softmax_row_backward(row + seen.lowerBound, drow + seen.lowerBound, seen.count, scale, delta)
    }

    private func clear(_ row: UnsafeMutablePointer<Float>, outside seen: Range<Int>) {
        row.update(repeating: 0, count: seen.lowerBound)
        (row + seen.upperBound).update(repeating: 0, count: keys.count - seen.upperBound)
    }
}

private func chunks(of run: AttentionRun, _ shape: AttentionShape) -> [QueryChunk] {
    stride(from: 0, to: run.tokens.count, by: queriesPerChunk).map { start in
        let end = min(start + queriesPerChunk, run.tokens.count)
        let firstPosition = run.prefixLength + start
        let firstKey = max(0, shape.window.map { firstPosition - $0 + 1 } ?? 0)
        return QueryChunk(
            queries: run.tokens.lowerBound + start..<run.tokens.lowerBound + end, keys: firstKey..<run.prefixLength + end,
            firstPosition: firstPosition, window: shape.window)
    }
}

/// Keys and values of one head along a run's path, gathered so that a matrix product can take them: [S, D] each.
private struct PathKeys {
    private let storage: Buffer
    let keys: Matrix
    let values: Matrix

    init(zeroed count: Int, width: Int) { self.init(Buffer(2 * count * width), count: count, width: width) }

    private init(_ storage: Buffer, count: Int, width: Int) {
        self.storage = storage
        keys = Matrix(storage.pointer, rows: count, columns: width)
        values = Matrix(storage.pointer + count * width, rows: count, columns: width)
    }

    init(_ run: AttentionRun, k: Matrix, v: Matrix, head columns: Range<Int>) {
        self.init(Buffer(uninitialized: 2 * run.keyCount * columns.count), count: run.keyCount, width: columns.count)
        forEachToken(run) { index, token in
            keys.row(index).update(from: k.row(token) + columns.lowerBound, count: columns.count)
            values.row(index).update(from: v.row(token) + columns.lowerBound, count: columns.count)
        }
    }

    func scatterAdd(_ run: AttentionRun, dk: Matrix, dv: Matrix, head columns: Range<Int>) {
        forEachToken(run) { index, token in
            crux_add(dk.row(token) + columns.lowerBound, keys.row(index), columns.count)
            crux_add(dv.row(token) + columns.lowerBound, values.row(index), columns.count)
        }
    }

    private func forEachToken(_ run: AttentionRun, _ body: (_ index: Int, _ token: Int) -> Void) {
        var index = 0
        for range in run.prefix + [run.tokens] {
            for token in range {
                body(index, token)
                index += 1
            }
        }
    }
}
