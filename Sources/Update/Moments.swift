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

/// The optimizer's moments of all trained parameters, float32 and 0 at first.
protocol Moments: AnyObject {
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
    private let count: Int
    private lazy var arrays = Moment.allCases.map { _ in Buffer(count) }

    init(count: Int) { self.count = count }

    private func start(_ moment: Moment) -> UnsafeMutablePointer<Float> { arrays[moment.rawValue].pointer }

    func forEachRange(
        _ body: (Range<Int>, _ first: UnsafeMutablePointer<Float>, _ second: UnsafeMutablePointer<Float>) -> Void
    ) {
        body(0..<count, start(.first), start(.second))
    }

    func read(_ moment: Moment, _ range: Range<Int>, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        try body(UnsafeRawBufferPointer(start: start(moment) + range.lowerBound, count: 4 * range.count))
    }

    func write(_ moment: Moment, from start: Int, _ values: UnsafeRawBufferPointer) {
        guard let base = values.baseAddress else { return }
        UnsafeMutableRawPointer(self.start(moment) + start).copyMemory(from: base, byteCount: values.count)
    }
}
