import Tensors

/// How a half of a layer joins the residual stream: x + scale · norm(y), y [S, C] being what its last linear layer
/// gives. The norm may be missing.
struct ResidualJoin: Sendable {
    let norm: RMSNorm?
    let scale: Float

    /// Where it only adds, y is nowhere kept.
    var isPlain: Bool { norm == nil && scale == 1 }

    /// result = residual + scale · norm(linear(x)). x [S, I]; residual, result [S, C], which may be the same.
    func forward(
        _ x: Matrix, _ linear: LinearWeights, adding residual: Matrix, into result: Matrix, _ saved: JoinActivations,
        _ compute: Compute
    ) {
        guard !isPlain else { return linearForward(x, linear, adding: residual, into: result, compute) }
        let y = saved.output.matrix(rows: x.rows)
        linearForward(x, linear, into: y, compute)
        if let norm {
            return rmsNormForward(
                y, norm, scale: scale, adding: residual, into: result, rstd: saved.rstd.pointer, compute)
        }
        if residual.base != result.base { copy(residual, into: result) }
        add(y, scale: scale, into: result, compute)
    }

    /// dresult [S, C] → dy [S, C]: `dresult` itself where the join is plain. What flows past the half is `dresult`.
    func backward(
        _ dresult: Matrix, _ saved: JoinActivations, dnorm: Matrix?, _ scratch: LayerScratch, _ compute: Compute
    ) -> Matrix {
        guard !isPlain else { return dresult }
        var dy = dresult
        if scale != 1 {
            dy = Matrix(scratch.dscaled.pointer, rows: dresult.rows, columns: dresult.columns)
            copy(dresult, scale: scale, into: dy)
        }
        guard let norm else { return dy }
        let draw = Matrix(scratch.doutput.pointer, rows: dresult.rows, columns: dresult.columns)
        draw.base.update(repeating: 0, count: draw.rows * draw.columns)
        rmsNormBackward(
            dy, x: saved.output.matrix(rows: dy.rows), norm, rstd: saved.rstd.pointer, into: draw, dweight: dnorm,
            compute)
        return draw
    }
}

/// What a join that isn't plain keeps: y [S, C] and its norm's [S]. Empty otherwise.
struct JoinActivations {
    let output: Buffer
    let rstd: Buffer

    init(_ a: DecoderArchitecture, norm: String?, rows: Int, in space: any Allocator) {
        let isPlain = norm == nil && a.scales.residual == 1
        output = isPlain ? Buffer.none : space.take(rows * a.hidden)
        rstd = norm == nil ? Buffer.none : space.take(rows)
    }

    var arrays: [Buffer] { [output, rstd] }

    private init(_ output: Buffer, _ rstd: Buffer) { (self.output, self.rstd) = (output, rstd) }

    /// The first rows of them.
    func first(_ rows: Int, of all: Int) -> JoinActivations {
        JoinActivations(output.first(rows, of: all), rstd.first(rows, of: all))
    }
}

extension Buffer {
    /// The first of `all` rows.
    func first(_ rows: Int, of all: Int) -> Buffer { Buffer(part: 0, count: count / all * rows, of: self) }
}
