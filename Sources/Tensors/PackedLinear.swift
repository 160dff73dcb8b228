import CKernels

/// A linear layer's weight laid out in panels for a few rows at a time: what generation needs, where a matrix product's
/// set-up would cost more than the product. A copy: as large as the weight itself.
package struct PackedLinear: Sendable {
    package let outputs: Int
    package let inputs: Int
    private let panels: Buffer
    private let bias: Matrix?

    /// `weight` [O, I].
    package init(_ weight: Matrix, bias: Matrix? = nil, _ compute: Compute) {
        (outputs, inputs) = (weight.rows, weight.columns)
        self.bias = bias
        let panels = Buffer(uninitialized: crux_packed_count(weight.rows, weight.columns))
        compute.forEachBlock(rows: weight.rows, blockRows: Self.panel * 8) { _, rows in
            crux_pack(
                weight.row(rows.lowerBound), rows.count, weight.columns,
                panels.pointer + rows.lowerBound * weight.columns)
        }
        self.panels = panels
    }

    private static let panel = Int(CRUX_PANEL)

    /// y = x · weightᵀ + bias: x [R, I] → y [R, O]. Unlike `linearForward` each row's result is the same whatever R is.
    package func forward(_ x: Matrix, into y: Matrix, _ compute: Compute) {
        x.check(y.rows, inputs, "a packed layer's input")
        y.check(x.rows, outputs, "a packed layer's output")
        guard x.rows > 0 else { return }
        // Starting threads costs about as much as a hundred thousand multiplications.
        let isSmall = x.rows * outputs * inputs < 1 << 18
        let block = isSmall ? outputs : max(Self.panel, outputs / (16 * compute.threads) / Self.panel * Self.panel)
        compute.forEachBlock(rows: outputs, blockRows: block) { _, range in
            crux_packed_rows(
                x.base, x.rows, x.stride, panels.pointer + range.lowerBound * inputs, range.count, inputs,
                y.base + range.lowerBound, y.stride)
        }
        guard let bias else { return }
        for row in 0..<y.rows { crux_add(y.row(row), bias.base, y.columns) }
    }
}
