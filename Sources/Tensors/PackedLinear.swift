import CKernels

/// A linear layer's weight laid out in panels for a few rows at a time: what generation needs, where a matrix product's
/// set-up would cost more than the product. A copy: as large as the weight itself, in bf16 half as large, and half as
/// much to read.
package struct PackedLinear: Sendable {
    package let outputs: Int
    package let inputs: Int
    private let precision: GenerationPrecision
    private let panels: Buffer
    private let bias: Matrix?

    /// `weight` [O, I]. `precision`: in what its copy is kept.
    package init(_ weight: Matrix, bias: Matrix? = nil, as precision: GenerationPrecision = .f32, _ compute: Compute) {
        (outputs, inputs) = (weight.rows, weight.columns)
        (self.precision, self.bias) = (precision, bias)
        let panels = Buffer(uninitialized: Self.floats(weight, precision))
        compute.forEachBlock(rows: weight.rows, blockRows: Self.panel * 8) { _, rows in
            let from = weight.row(rows.lowerBound)
            switch precision {
            case .f32:
                crux_pack(from, rows.count, weight.columns, panels.pointer + rows.lowerBound * weight.columns)
            case .bf16, .bf16AMX, .bf16Weights:
                let place = rows.lowerBound * Self.even(weight.columns)
                crux_pack_half(from, rows.count, weight.columns, Self.halves(panels) + place)
            }
        }
        self.panels = panels
    }

    private static func floats(_ weight: Matrix, _ precision: GenerationPrecision) -> Int {
        switch precision {
        case .f32: crux_packed_count(weight.rows, weight.columns)
        case .bf16, .bf16AMX, .bf16Weights: crux_packed_half_count(weight.rows, weight.columns) / 2
        }
    }

    /// Of bf16 numbers two inputs lie side by side.
    private static func even(_ count: Int) -> Int { (count + 1) / 2 * 2 }

    private static func halves(_ buffer: Buffer) -> UnsafeMutablePointer<UInt16> {
        UnsafeMutableRawPointer(buffer.pointer).assumingMemoryBound(to: UInt16.self)
    }

    private static let panel = Int(CRUX_PANEL)
    /// What a thread takes of work that goes row by row.
    fileprivate static let rowsAtOnce = 8

    /// y = x · weightᵀ + bias: x [R, I] → y [R, O]. Unlike `linearForward` each row's result is the same whatever R is.
    package func forward(_ x: Matrix, into y: Matrix, _ compute: Compute) {
        x.check(y.rows, inputs, "a packed layer's input")
        y.check(x.rows, outputs, "a packed layer's output")
        guard x.rows > 0 else { return }
        multiply(x, into: y, blockRows: blockRows(x.rows, compute.threads), compute)
        guard let bias else { return }
        compute.forEachBlock(rows: y.rows, blockRows: Self.rowsAtOnce) { _, rows in
            for row in rows { crux_add(y.row(row), bias.base, y.columns) }
        }
    }

    /// One stretch of panels for each thread: what is read from memory in one go comes fastest.
    private func blockRows(_ rows: Int, _ threads: Int) -> Int {
        // Handing work to other threads costs about as much as ten thousand multiplications.
        guard rows * outputs * inputs >= 1 << 15 else { return outputs }
        let panels = (outputs + Self.panel - 1) / Self.panel
        return (panels + threads - 1) / threads * Self.panel
    }

    private func multiply(_ x: Matrix, into y: Matrix, blockRows: Int, _ compute: Compute) {
        let width = Self.even(inputs)
        switch precision {
        case .f32:
            compute.forEachBlock(rows: outputs, blockRows: blockRows) { _, range in
                crux_packed_rows(
                    x.base, x.rows, x.stride, panels.pointer + range.lowerBound * inputs, range.count, inputs,
                    y.base + range.lowerBound, y.stride)
            }
        case .bf16Weights:
            let weights = Self.halves(panels)
            compute.forEachBlock(rows: outputs, blockRows: blockRows) { _, range in
                crux_packed_half_rows(
                    x.base, x.rows, x.stride, weights + range.lowerBound * width, range.count, inputs,
                    y.base + range.lowerBound, y.stride)
            }
        case .bf16, .bf16AMX:
            let weights = Self.halves(panels), rows = HalfRows(x, compute)
            let product = precision == .bf16 ? crux_half_rows : crux_tile_rows
            compute.forEachBlock(rows: outputs, blockRows: blockRows) { _, range in
                product(
                    rows.pairs, x.rows, rows.stride, weights + range.lowerBound * width, range.count, inputs,
                    y.base + range.lowerBound, y.stride)
            }
        }
    }
}

/// Rows rounded to bf16, two neighbouring numbers in 32 bits, an odd number of them filled up with a zero.
private final class HalfRows: @unchecked Sendable {
    let pairs: UnsafeMutablePointer<UInt32>
    /// Pairs from one row to the next.
    let stride: Int

    init(_ x: Matrix, _ compute: Compute) {
        stride = (x.columns + 1) / 2
        pairs = .allocate(capacity: max(1, x.rows * stride))
        compute.forEachBlock(rows: x.rows, blockRows: PackedLinear.rowsAtOnce) { _, rows in
            for row in rows { round(x.row(row), x.columns, into: pairs + row * stride) }
        }
    }

    private func round(_ row: UnsafePointer<Float>, _ count: Int, into pairs: UnsafeMutablePointer<UInt32>) {
        if !count.isMultiple(of: 2) { pairs[stride - 1] = 0 }
        crux_f32_to_bf16(row, UnsafeMutableRawPointer(pairs).assumingMemoryBound(to: UInt16.self), count)
    }

    deinit { pairs.deallocate() }
}
