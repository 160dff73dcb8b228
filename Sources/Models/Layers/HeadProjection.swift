import Tensors

/// What becomes of query or key heads between their projection and attention: a norm where the family has one, then
/// the rotation.
struct HeadActivations {
    /// [T, heads·D], after norm and rotation.
    let rotated: Buffer
    /// [T, heads·D] before the norm, and one number for each normed row; nil without a norm.
    let raw: Buffer?
    let rstd: Buffer?
    /// Elements that are normed together: D, or heads·D.
    private let width: Int

    init(_ a: DecoderArchitecture, tokens: Int, heads: Int, in space: any Allocator) {
        let columns = heads * a.headWidth
        width = a.queryKeyNorm == .perHead ? a.headWidth : columns
        rotated = space.take(tokens * columns)
        raw = a.queryKeyNorm == .none ? nil : space.take(tokens * columns)
        rstd = a.queryKeyNorm == .none ? nil : space.take(tokens * columns / width)
    }

    var arrays: [Buffer] { [rotated] + [raw, rstd].compactMap { $0 } }

    /// One row for each normed one, [T·heads, D] or [T, heads·D].
    private func normed(_ buffer: Buffer) -> Matrix { buffer.matrix(rows: buffer.count / width) }

    /// x [T, C] → `rotated`. `gate`: where a projection gives gates beside queries, which then go there; `scratch` is for
    /// both, [T, 2·heads·D] or more. `scale`: a factor by position on what was rotated.
    func forward<Keys>(
        _ x: Matrix, _ weights: LinearWeights, gate: Matrix? = nil, scratch: Matrix? = nil, norm: RMSNorm?,
        scale: PositionScale? = nil, layer: Int, _ batch: DecoderBatch<Keys>
    ) {
        let projected = (raw ?? rotated).matrix(rows: x.rows)
        if let gate, let scratch {
            let both = Matrix(scratch.base, rows: x.rows, columns: 2 * projected.columns)
            linearForward(x, weights, into: both, batch.compute)
            splitGatedHeads(both, headWidth: batch.architecture.headWidth, queries: projected, gates: gate)
        } else {
            linearForward(x, weights, into: projected, batch.compute)
        }
        if let norm, let raw, let rstd {
            rmsNormForward(normed(raw), norm, into: normed(rotated), rstd: rstd.pointer, batch.compute)
        }
        let heads = rotated.matrix(rows: x.rows)
        batch.rotary(ofLayer: layer)?.forward(heads, positions: batch.tablePositions, batch.compute)
        scale?.apply(to: heads, positions: batch.positions)
    }

    /// `d` [T, heads·D] goes in as the gradient of the rotated heads and comes out as that of the projection.
    func backward<Keys>(
        _ d: Matrix, scratch: Buffer, norm: RMSNorm?, dnorm: Matrix?, scale: PositionScale? = nil, layer: Int,
        _ batch: DecoderBatch<Keys>
    ) -> Matrix {
        scale?.apply(to: d, positions: batch.positions)
        batch.rotary(ofLayer: layer)?.backward(d, positions: batch.tablePositions, batch.compute)
        guard let norm, let raw, let rstd else { return d }
        let draw = Matrix(scratch.pointer, rows: d.rows * d.columns / width, columns: width)
        draw.base.update(repeating: 0, count: d.rows * d.columns)
        let dnormed = Matrix(d.base, rows: draw.rows, columns: width)
        rmsNormBackward(dnormed, x: normed(raw), norm, rstd: rstd.pointer, into: draw, dweight: dnorm, batch.compute)
        return Matrix(draw.base, rows: d.rows, columns: d.columns)
    }
}
