import Formats
import Tensors

/// A model's parameters, wherever they lie: as matrices for passes, in float32 for files. Holds their memory.
package protocol ModelParameters: ParameterValues {
    var layout: ParameterLayout { get }
    /// A parameter of the layout as a matrix; one of a single dimension is a row. Traps where the layout has no such
    /// name.
    func weight(_ name: String) -> WeightMatrix
}

/// Parameters in float32, read a stretch at a time: what files are written from.
package protocol ParameterValues: Sendable {
    /// Elements `range` of a parameter of the layout, row by row, into `target`.
    func read(_ parameter: ParameterLayout.Parameter, _ range: Range<Int>, into target: UnsafeMutablePointer<Float>)
}

extension ParameterLayout.Parameter {
    var columns: Int { shape.last ?? 1 }
    var rows: Int { shape.dropLast().reduce(1, *) }
    /// What is none is small and needed whole, in float32: norms, biases, those of experts too, and convolutions.
    package var isWeightMatrix: Bool {
        rows > 1 && !name.hasSuffix("bias") && !name.hasSuffix(DeltaNet.Name.convolution)
    }
}

/// One flat array, laid out as the layout: what can be trained.
package struct FlatParameters: ModelParameters {
    package let layout: ParameterLayout
    package let buffer: Buffer

    package init(_ layout: ParameterLayout, _ buffer: Buffer) {
        precondition(buffer.count == layout.count, "\(buffer.count) parameters for a model of \(layout.count)")
        (self.layout, self.buffer) = (layout, buffer)
    }

    package func weight(_ name: String) -> WeightMatrix {
        guard let parameter = layout[name] else { preconditionFailure("no parameter \(name)") }
        return .float32(
            Matrix(
                buffer.pointer + parameter.range.lowerBound, rows: parameter.rows, columns: parameter.columns))
    }

    package func read(
        _ parameter: ParameterLayout.Parameter, _ range: Range<Int>, into target: UnsafeMutablePointer<Float>
    ) {
        buffer.read(parameter, range, into: target)
    }
}

extension Buffer: ParameterValues {
    /// Of an array that is laid out as the parameter's layout.
    package func read(
        _ parameter: ParameterLayout.Parameter, _ range: Range<Int>, into target: UnsafeMutablePointer<Float>
    ) {
        target.update(from: pointer + parameter.range.lowerBound + range.lowerBound, count: range.count)
    }
}

/// Parameters of a model that stands still, each an array of its own: weights of 16 bits as they are stored, two bytes
/// each, everything else in float32.
package struct StandingParameters: ModelParameters {
    package let layout: ParameterLayout
    private let weights: [String: StandingWeight]

    package init(_ layout: ParameterLayout, _ weight: (ParameterLayout.Parameter) throws -> StandingWeight) rethrows {
        self.layout = layout
        weights = try Dictionary(
            uniqueKeysWithValues: layout.parameters.map { ($0.name, try weight($0)) })
    }

    package func weight(_ name: String) -> WeightMatrix {
        guard let weight = weights[name] else { preconditionFailure("no parameter \(name)") }
        return weight.matrix
    }

    package func read(
        _ parameter: ParameterLayout.Parameter, _ range: Range<Int>, into target: UnsafeMutablePointer<Float>
    ) {
        let weight = weight(parameter.name)
        forEachRow(of: range, columns: parameter.columns) { row, columns, offset in
            weight.read(row: row, columns: columns, into: target + offset)
        }
    }
}

/// A stretch of a matrix's elements, row by row: the row, its columns, and how many elements come before.
func forEachRow(of range: Range<Int>, columns: Int, _ body: (_ row: Int, _ columns: Range<Int>, _ offset: Int) -> Void)
{
    var place = range.lowerBound
    while place < range.upperBound {
        let (row, first) = place.quotientAndRemainder(dividingBy: columns)
        let end = min(columns, first + range.upperBound - place)
        body(row, first..<end, place - range.lowerBound)
        place += end - first
    }
}

/// One parameter of a model that stands still, and its memory.
package struct StandingWeight: Sendable {
    let matrix: WeightMatrix
    private let storage: Buffer

    /// In float32.
    package init(_ parameter: ParameterLayout.Parameter, widened: Buffer) {
        storage = widened
        matrix = .float32(Matrix(widened.pointer, rows: parameter.rows, columns: parameter.columns))
    }

    /// `stored`: its elements in 16 bits.
    package init(_ parameter: ParameterLayout.Parameter, stored: Buffer, as format: HalfFormat) {
        storage = stored
        let base = UnsafeRawPointer(stored.pointer).assumingMemoryBound(to: UInt16.self)
        matrix = .half(HalfMatrix(base, rows: parameter.rows, columns: parameter.columns, as: format))
    }
}
