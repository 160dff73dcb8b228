import CKernels

/// How a 16-bit float is laid out.
package enum HalfFormat: Sendable {
    case bfloat16
    case float16

    func widen(_ x: UnsafePointer<UInt16>, into y: UnsafeMutablePointer<Float>, count: Int) {
        switch self {
        case .bfloat16: crux_bf16_to_f32(x, y, count)
        case .float16: crux_f16_to_f32(x, y, count)
        }
    }

    /// To the nearest bfloat16 number: exact where they are such numbers.
    func round(_ x: UnsafePointer<UInt16>, toBFloat16 y: UnsafeMutablePointer<UInt16>, count: Int) {
        switch self {
        case .bfloat16: y.update(from: x, count: count)
        case .float16:
            withUnsafeTemporaryAllocation(of: Float.self, capacity: count) { floats in
                guard let base = floats.baseAddress else { return }
                widen(x, into: base, count: count)
                crux_f32_to_bf16(base, y, count)
            }
        }
    }
}

/// A view of [rows, columns] 16-bit floats, row-major, `stride` of them from one row to the next. Does not own its
/// memory, and writes nothing there.
package struct HalfMatrix: @unchecked Sendable {
    package let rows: Int
    package let columns: Int
    private let base: UnsafePointer<UInt16>
    private let stride: Int
    private let format: HalfFormat

    package init(
        _ base: UnsafePointer<UInt16>, rows: Int, columns: Int, stride: Int? = nil, as format: HalfFormat
    ) {
        (self.base, self.rows, self.columns, self.format) = (base, rows, columns, format)
        self.stride = stride ?? columns
    }

    private func row(_ index: Int) -> UnsafePointer<UInt16> { base + index * stride }

    /// Columns `range` of a row.
    func widen(row: Int, columns range: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        format.widen(self.row(row) + range.lowerBound, into: target, count: range.count)
    }

    func round(row: Int, toBFloat16 target: UnsafeMutablePointer<UInt16>) {
        format.round(self.row(row), toBFloat16: target, count: columns)
    }

    subscript(rows range: Range<Int>) -> HalfMatrix {
        precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(rows)")
        return HalfMatrix(row(range.lowerBound), rows: range.count, columns: columns, stride: stride, as: format)
    }

    subscript(columns range: Range<Int>) -> HalfMatrix {
        precondition(range.lowerBound >= 0 && range.upperBound <= columns, "columns \(range) of \(columns)")
        return HalfMatrix(base + range.lowerBound, rows: rows, columns: range.count, stride: stride, as: format)
    }
}

/// A weight [rows, columns] as it lies in memory.
package enum WeightMatrix: Sendable {
    case float32(Matrix)
    /// Of a model that stands still: two bytes for each number, widened where they are multiplied.
    case half(HalfMatrix)

    package var rows: Int {
        switch self {
        case .float32(let matrix): matrix.rows
        case .half(let matrix): matrix.rows
        }
    }

    package var columns: Int {
        switch self {
        case .float32(let matrix): matrix.columns
        case .half(let matrix): matrix.columns
        }
    }

    package subscript(rows range: Range<Int>) -> WeightMatrix {
        switch self {
        case .float32(let matrix): .float32(matrix[rows: range])
        case .half(let matrix): .half(matrix[rows: range])
        }
    }

    subscript(columns range: Range<Int>) -> WeightMatrix {
        switch self {
        case .float32(let matrix): .float32(matrix[columns: range])
        case .half(let matrix): .half(matrix[columns: range])
        }
    }

    /// The matrix of what is always float32: gradients, norms, biases, whatever is trained or packed. Traps elsewhere.
    package var float32: Matrix {
        guard case .float32(let matrix) = self else { preconditionFailure("16-bit weights where float32 ones belong") }
        return matrix
    }

    /// Columns `range` of a row, or all of it, in float32.
    package func read(row: Int, columns range: Range<Int>? = nil, into target: UnsafeMutablePointer<Float>) {
        let range = range ?? 0..<columns
        switch self {
        case .float32(let matrix): target.update(from: matrix.row(row) + range.lowerBound, count: range.count)
        case .half(let matrix): matrix.widen(row: row, columns: range, into: target)
        }
    }

    /// A row in float32, where it lies or in a copy.
    func withRow<Result>(_ index: Int, _ body: (UnsafePointer<Float>) -> Result) -> Result {
        switch self {
        case .float32(let matrix): body(matrix.row(index))
        case .half(let matrix):
            withUnsafeTemporaryAllocation(of: Float.self, capacity: max(1, columns)) { copy in
                guard let base = copy.baseAddress else { preconditionFailure("no space for a row of a weight") }
                matrix.widen(row: index, columns: 0..<columns, into: base)
                return body(base)
            }
        }
    }

    /// A row rounded to bfloat16.
    func round(row: Int, toBFloat16 target: UnsafeMutablePointer<UInt16>) {
        switch self {
        case .float32(let matrix): crux_f32_to_bf16(matrix.row(row), target, columns)
        case .half(let matrix): matrix.round(row: row, toBFloat16: target)
        }
    }
}
