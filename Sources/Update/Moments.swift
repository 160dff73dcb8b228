import Tensors

/// AdamW's two moments of a gradient.
enum Moment: Int, CaseIterable {
    case first, second

    /// What the names of its tensors begin with.
    var prefix: String {
        switch self {
        case .first: "exp_avg."
        case .second: "exp_avg_sq."
        }
    }
}

/// The optimizer's moments of the trained parameters that a rank holds them of, float32 and 0 at first. Ranges are those
/// of all parameters.
protocol Moments: AnyObject {
    /// Parameters whose moments these are.
    var held: Range<Int> { get }
    /// Calls `body` with both moments of consecutive ranges of the parameters, which it may change.
    func forEachRange(
        _ body: (Range<Int>, _ first: UnsafeMutablePointer<Float>, _ second: UnsafeMutablePointer<Float>) -> Void
    ) throws
    /// Hands over a moment's values of a range of parameters, a piece at a time.
    func read(_ moment: Moment, _ range: Range<Int>, _ body: (UnsafeRawBufferPointer) throws -> Void) throws
    /// Sets a moment's values from parameter `start` on.
    func write(_ moment: Moment, from start: Int, _ values: UnsafeRawBufferPointer) throws
}

/// Two arrays. Made when the first gradient is applied: until then they are zero, and their memory is the passes'.
final class MomentsInMemory: Moments {
    let held: Range<Int>
    private lazy var arrays = Moment.allCases.map { _ in Buffer(held.count) }

    init(_ held: Range<Int>) { self.held = held }

    /// The float of this parameter, and those behind it.
    private func pointer(_ moment: Moment, at parameter: Int) -> UnsafeMutablePointer<Float> {
        precondition(held.lowerBound <= parameter && parameter <= held.upperBound, "parameter \(parameter) of \(held)")
        return arrays[moment.rawValue].pointer + (parameter - held.lowerBound)
    }

    func forEachRange(
        _ body: (Range<Int>, _ first: UnsafeMutablePointer<Float>, _ second: UnsafeMutablePointer<Float>) -> Void
    ) {
        body(held, pointer(.first, at: held.lowerBound), pointer(.second, at: held.lowerBound))
    }

    func read(_ moment: Moment, _ range: Range<Int>, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        try body(UnsafeRawBufferPointer(start: pointer(moment, at: range.lowerBound), count: 4 * range.count))
    }

    func write(_ moment: Moment, from start: Int, _ values: UnsafeRawBufferPointer) {
        guard let base = values.baseAddress else { return }
        UnsafeMutableRawPointer(pointer(moment, at: start)).copyMemory(from: base, byteCount: values.count)
    }
}
