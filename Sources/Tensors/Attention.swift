import CKernels
import Foundation

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
    /// Multiplies scores.
    package let scale: Float
    /// Scores z, scaled already, become cap · tanh(z / cap); nil is no cap.
    package let cap: Float?
    /// [1, H]: a score in each query head's softmax whose share of the probabilities goes nowhere; nil is none.
    package var sinks: Matrix?

    /// `scale`: nil is 1/√D.
    package init(
        queryHeads: Int, keyValueHeads: Int, headWidth: Int, window: Int? = nil, scale: Float? = nil, cap: Float? = nil
    ) {
        precondition(
            keyValueHeads > 0 && queryHeads % keyValueHeads == 0,
            "\(queryHeads) query heads read \(keyValueHeads) key/value heads")
        self.queryHeads = queryHeads
        self.keyValueHeads = keyValueHeads
        self.headWidth = headWidth
        self.window = window
        self.scale = scale ?? 1 / Float(headWidth).squareRoot()
        self.cap = cap
    }

    /// Raw scores of one query → probabilities in place; returns the log-sum-exp of what the softmax saw, a sink included.
    @discardableResult
    package func softmax(_ scores: UnsafeMutablePointer<Float>, count: Int, head: Int) -> Float {
        let keys = softmax(scores, count: count)
        guard let sink = sinks?.base[head] else { return keys }
        let all = max(keys, sink) + log1p(exp(-abs(keys - sink))), share = exp(keys - all)
        for i in 0..<count { scores[i] *= share }
        return all
    }

    private func softmax(_ scores: UnsafeMutablePointer<Float>, count: Int) -> Float {
        guard let cap else { return crux_softmax_row(scores, count, scale) }
        crux_cap(scores, count, scale, cap)
        return crux_softmax_row(scores, count, 1)
    }

    /// Raw scores → probabilities, dprobabilities → derivatives by the raw scores, both in place. `delta`: Σ p dp.
    func softmaxBackward(
        _ scores: UnsafeMutablePointer<Float>, _ dp: UnsafeMutablePointer<Float>, count: Int, lse: Float, delta: Float
    ) {
        if let cap { return crux_capped_softmax_backward(scores, dp, count, scale, cap, lse, delta) }
        crux_softmax_row_from_lse(scores, count, scale, lse)
        crux_softmax_row_backward(scores, dp, count, scale, delta)
    }

    /// Traps unless q is [T, H·D] and k and v are [T, K·D].
    fileprivate func check(_ q: Matrix, _ k: Matrix, _ v: Matrix) {
        q.check(k.rows, queryHeads * headWidth, "the queries")
        k.check(k.rows, keyValueHeads * headWidth, "the keys")
        v.check(like: k, "the values")
    }

    fileprivate func check(_ runs: [AttentionRun], logSumExp: Matrix, tokens: Int) {
        logSumExp.check(queryHeads, tokens, "the log-sum-exps")
        for run in runs {
            precondition(
                run.tokens.upperBound <= tokens && run.prefix.allSatisfy { $0.upperBound <= tokens },
                "a run of tokens \(run.tokens) of \(tokens)")
        }
    }

    var queriesPerKeyValueHead: Int { queryHeads / keyValueHeads }
    func queryColumns(_ head: Int) -> Range<Int> { head * headWidth..<(head + 1) * headWidth }
}

/// Score rows that a task holds at a time, those of all query heads that read one key/value head together: [256, S]
/// stays in cache, and memory does not grow with the square of the length.
private let rowsPerChunk = 256
/// Fewer queries at a time mean fewer scores of keys that a query doesn't see; more are not needed.
private let queriesPerChunk = 16...128
/// Runs whose key and value gradients are computed side by side before they are added up.
private let runsPerWave = 4

extension AttentionShape {
    fileprivate var chunkQueries: Int {
        min(max(rowsPerChunk / queriesPerKeyValueHead, queriesPerChunk.lowerBound), queriesPerChunk.upperBound)
    }
    fileprivate func queryHeads(of keyValueHead: Int) -> Range<Int> {
        keyValueHead * queriesPerKeyValueHead..<(keyValueHead + 1) * queriesPerKeyValueHead
    }
}

/// Floats that attention works in beside its arguments, at most, where the last token of a run sees `keys` keys.
package func attentionScratchFloats(keys: Int, shape: AttentionShape, threads: Int) -> Int {
    let rows = shape.chunkQueries * shape.queriesPerKeyValueHead, width = shape.headWidth
    return threads * (2 * rows * keys + 4 * rows * width + 2 * keys * width) + runsPerWave * shape.keyValueHeads * 2
        * keys * width
}

/// out = softmax(scale · q · kᵀ, capped where the shape says so, over the visible keys) · v. q, out [T, H·D]; k, v [T, K·D] (q and k rotated already);
/// logSumExp [H, T] is kept for the backward half, which rebuilds the probabilities from it.
package func attentionForward(
    q: Matrix, k: Matrix, v: Matrix, runs: [AttentionRun], shape: AttentionShape, into out: Matrix, logSumExp: Matrix,
    _ compute: Compute
) {
    shape.check(q, k, v)
    shape.check(runs, logSumExp: logSumExp, tokens: q.rows)
    out.check(like: q, "attention's result")
    compute.timed(.attention) {
        compute.forEach(runs.count * shape.keyValueHeads) { task in
            let run = runs[task / shape.keyValueHeads], keyValueHead = task % shape.keyValueHeads
            let path = PathKeys(run, k: k, v: v, head: shape.queryColumns(keyValueHead))
            let space = ChunkSpace(run, shape)
            for chunk in chunks(of: run, shape) {
                let queries = chunk.gather(q, keyValueHead, into: space.queries), p = chunk.scores(in: space.scores)
                multiplyTransposed(queries, path.keys[rows: chunk.keys], into: p)
                chunk.forEachRow(keyValueHead) { row, head, i in
                    logSumExp.row(head)[chunk.queries.lowerBound + i] = chunk.softmax(
                        p.row(row), query: i, head: head)
                }
                // The queries' own rows are free now.
                multiply(p, path.values[rows: chunk.keys], into: queries)
                chunk.scatter(queries, keyValueHead, into: out)
            }
        }
    }
}

/// dq =, dk +=, dv += (zero dk and dv before). Runs and key/value heads run in parallel, a few runs at a time, each
/// into gradients of its own; these are then added in the order of the runs, because runs that share ancestors add to
/// the same keys.
package func attentionBackward(
    dout: Matrix, out: Matrix, q: Matrix, k: Matrix, v: Matrix, logSumExp: Matrix, runs: [AttentionRun],
    shape: AttentionShape,
    dq: Matrix, dk: Matrix, dv: Matrix, _ compute: Compute
) {
    shape.check(q, k, v)
    shape.check(dq, dk, dv)
    shape.check(runs, logSumExp: logSumExp, tokens: q.rows)
    dout.check(like: q, "the gradient of attention's result")
    out.check(like: q, "attention's result")
    let pass = AttentionBackward(dout: dout, out: out, q: q, k: k, v: v, logSumExp: logSumExp, shape: shape, dq: dq)
    compute.timed(.attention) {
        for start in stride(from: 0, to: runs.count, by: runsPerWave) {
            let wave = Array(runs[start..<min(start + runsPerWave, runs.count)]), heads = shape.keyValueHeads
            let gradients = wave.map { run in
                (0..<heads).map { _ in PathKeys(count: run.keyCount, width: shape.headWidth) }
            }
            compute.forEach(wave.count * heads) { task in
                pass.run(wave[task / heads], keyValueHead: task % heads, into: gradients[task / heads][task % heads])
            }
            compute.forEach(heads) { head in
                for (run, own) in zip(wave, gradients) {
                    own[head].scatterAdd(run, dk: dk, dv: dv, head: shape.queryColumns(head))
                }
            }
        }
    }
}

/// dsinks [1, H] += the derivatives by the shape's sinks: of each query, minus the sink's share times Σ p dp. Tokens are
/// summed in their order.
package func attentionSinkBackward(
    dout: Matrix, out: Matrix, logSumExp: Matrix, shape: AttentionShape, into dsinks: Matrix, _ compute: Compute
) {
    guard let sinks = shape.sinks else { return }
    dsinks.check(like: sinks, "the gradient of sinks")
    compute.forEach(shape.queryHeads) { head in
        let column = head * shape.headWidth, sink = sinks.base[head]
        var sum = 0.0
        for token in 0..<dout.rows {
            let share = exp(sink - logSumExp.row(head)[token])
            sum -= Double(share * crux_dot(dout.row(token) + column, out.row(token) + column, shape.headWidth))
        }
        dsinks.base[head] += Float(sum)
    }
}

/// What the tasks of a backward pass read, and dq, of which each writes its part.
private struct AttentionBackward: Sendable {
    let dout: Matrix
    let out: Matrix
    let q: Matrix
    let k: Matrix
    let v: Matrix
    let logSumExp: Matrix
    let shape: AttentionShape
    let dq: Matrix

    func run(_ run: AttentionRun, keyValueHead: Int, into gradients: PathKeys) {
        let path = PathKeys(run, k: k, v: v, head: shape.queryColumns(keyValueHead)),
            space = ChunkSpace(run, shape, backward: true)
        gradients.zero()
        for chunk in chunks(of: run, shape) {
            let queries = chunk.gather(q, keyValueHead, into: space.queries),
                douts = chunk.gather(dout, keyValueHead, into: space.douts)
            let p = chunk.scores(in: space.scores), ds = chunk.scores(in: space.dscores)
            multiplyTransposed(queries, path.keys[rows: chunk.keys], into: p)
            multiplyTransposed(douts, path.values[rows: chunk.keys], into: ds)
            chunk.forEachRow(keyValueHead) { row, head, i in
                let token = chunk.queries.lowerBound + i, lse = logSumExp.row(head)[token]
                let delta = crux_dot(douts.row(row), out.row(token) + head * shape.headWidth, shape.headWidth)
                chunk.softmaxBackward(p.row(row), ds.row(row), query: i, lse: lse, delta: delta)
            }
            transposedMultiply(p, douts, into: gradients.values[rows: chunk.keys], keep: 1)
            transposedMultiply(ds, queries, into: gradients.keys[rows: chunk.keys], keep: 1)
            // The queries' own rows are free now.
            multiply(ds, path.keys[rows: chunk.keys], into: queries)
            chunk.scatter(queries, keyValueHead, into: dq)
        }
    }
}

/// What one task works in, for the largest chunk of a run.
private struct ChunkSpace {
    /// [R, D] each; R counts the chunk's queries once for each head.
    let queries: Buffer
    let douts: Buffer
    /// [R, S] each
    let scores: Buffer
    let dscores: Buffer

    init(_ run: AttentionRun, _ shape: AttentionShape, backward: Bool = false) {
        let rows = min(shape.chunkQueries, run.tokens.count) * shape.queriesPerKeyValueHead
        queries = Buffer(uninitialized: rows * shape.headWidth)
        scores = Buffer(uninitialized: rows * run.keyCount)
        douts = Buffer(uninitialized: backward ? queries.count : 0)
        dscores = Buffer(uninitialized: backward ? scores.count : 0)
    }
}

/// A stretch of a run's queries with the path keys that any of them sees. Rows of a chunk are its queries for the first
/// head that reads the key/value head, then for the second, and so on: one product serves all.
private struct QueryChunk {
    /// Flat token indices.
    let queries: Range<Int>
    /// Path indices (0 is the first token of the root).
    let keys: Range<Int>
    /// Path index of the first query.
    let firstPosition: Int
    let shape: AttentionShape

    private var rows: Int { queries.count * shape.queriesPerKeyValueHead }

    func scores(in buffer: Buffer) -> Matrix { Matrix(buffer.pointer, rows: rows, columns: keys.count) }

    /// `i`: query of the chunk.
    func forEachRow(_ keyValueHead: Int, _ body: (_ row: Int, _ head: Int, _ i: Int) -> Void) {
        for (h, head) in shape.queryHeads(of: keyValueHead).enumerated() {
            for i in 0..<queries.count { body(h * queries.count + i, head, i) }
        }
    }

    /// Rows of x [T, H·D] → [R, D].
    func gather(_ x: Matrix, _ keyValueHead: Int, into buffer: Buffer) -> Matrix {
        let gathered = Matrix(buffer.pointer, rows: rows, columns: shape.headWidth)
        forEachRow(keyValueHead) { row, head, i in
            gathered.row(row).update(
                from: x.row(queries.lowerBound + i) + head * shape.headWidth, count: shape.headWidth)
        }
        return gathered
    }

    /// The way back.
    func scatter(_ gathered: Matrix, _ keyValueHead: Int, into x: Matrix) {
        forEachRow(keyValueHead) { row, head, i in
            (x.row(queries.lowerBound + i) + head * shape.headWidth).update(
                from: gathered.row(row), count: shape.headWidth)
        }
    }

    /// Columns of a score row that query i sees: from the window's start to the query itself.
    private func visible(_ i: Int) -> Range<Int> {
        let position = firstPosition + i
        let first = max(keys.lowerBound, shape.window.map { position - $0 + 1 } ?? 0)
        return first - keys.lowerBound..<position + 1 - keys.lowerBound
    }

    /// Scores → probabilities in place, 0 where unseen; returns the log-sum-exp.
    func softmax(_ row: UnsafeMutablePointer<Float>, query i: Int, head: Int) -> Float {
        let seen = visible(i)
        clear(row, outside: seen)
        return shape.softmax(row + seen.lowerBound, count: seen.count, head: head)
    }

    /// Scores → probabilities in `row`, dprobabilities → dscores in `drow`, 0 where unseen.
    func softmaxBackward(
        _ row: UnsafeMutablePointer<Float>, _ drow: UnsafeMutablePointer<Float>, query i: Int, lse: Float, delta: Float
    ) {
        let seen = visible(i)
        clear(row, outside: seen)
        clear(drow, outside: seen)
        shape.softmaxBackward(
            row + seen.lowerBound, drow + seen.lowerBound, count: seen.count, lse: lse, delta: delta)
    }

    private func clear(_ row: UnsafeMutablePointer<Float>, outside seen: Range<Int>) {
        row.update(repeating: 0, count: seen.lowerBound)
        (row + seen.upperBound).update(repeating: 0, count: keys.count - seen.upperBound)
    }
}

private func chunks(of run: AttentionRun, _ shape: AttentionShape) -> [QueryChunk] {
    stride(from: 0, to: run.tokens.count, by: shape.chunkQueries).map { start in
        let end = min(start + shape.chunkQueries, run.tokens.count)
        let firstPosition = run.prefixLength + start
        let firstKey = max(0, shape.window.map { firstPosition - $0 + 1 } ?? 0)
        return QueryChunk(
            queries: run.tokens.lowerBound + start..<run.tokens.lowerBound + end,
            keys: firstKey..<run.prefixLength + end,
            firstPosition: firstPosition, shape: shape)
    }
}

/// Keys and values of one head along a run's path, gathered so that a matrix product can take them: [S, D] each.
private struct PathKeys {
    private let storage: Buffer
    let keys: Matrix
    let values: Matrix

    /// Contents undefined.
    init(count: Int, width: Int) { self.init(Buffer(uninitialized: 2 * count * width), count: count, width: width) }

    func zero() { storage.zero() }

    private init(_ storage: Buffer, count: Int, width: Int) {
        self.storage = storage
        keys = Matrix(storage.pointer, rows: count, columns: width)
        values = Matrix(storage.pointer + count * width, rows: count, columns: width)
    }

    init(_ run: AttentionRun, k: Matrix, v: Matrix, head columns: Range<Int>) {
        self.init(count: run.keyCount, width: columns.count)
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
