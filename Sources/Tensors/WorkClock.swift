import Dispatch

/// Kinds of work of a training pass.
package enum Work: Int, CaseIterable, Sendable {
    case linear, attention, norm, rotary, swiglu, headProduct, softmax

    package var name: String {
        switch self {
        case .linear: "linear layers"
        case .attention: "attention, delta rules"
        case .norm: "norms"
        case .rotary: "rotary positions"
        case .swiglu: "SwiGLU"
        case .headProduct: "head, products"
        case .softmax: "head, softmax"
        }
    }
}

/// How long a pass spends on each kind of work: for benchmarks. One pass at a time.
///
/// `@unchecked Sendable`: written by the thread that runs the pass, between its parallel loops.
package final class WorkClock: @unchecked Sendable {
    private var nanoseconds = [UInt64](repeating: 0, count: Work.allCases.count)

    package init() {}

    package func seconds(_ work: Work) -> Double { Double(nanoseconds[work.rawValue]) / 1e9 }

    fileprivate func add(_ work: Work, since start: UInt64) {
        nanoseconds[work.rawValue] += DispatchTime.now().uptimeNanoseconds - start
    }
}

extension Compute {
    /// Runs `body`, on the clock where there is one.
    @inline(__always)
    func timed<Result>(_ work: Work, _ body: () throws -> Result) rethrows -> Result {
        guard let clock else { return try body() }
        let start = DispatchTime.now().uptimeNanoseconds
        defer { clock.add(work, since: start) }
        return try body()
    }
}
