import CKernels
import COpenBLAS
import Dispatch
import Tensors

/// What the machine can do at most, measured in the same run as what it is compared with.
struct MachineLimits {
    /// Bytes per second.
    let readBandwidth: Double
    /// Floating-point operations per second.
    let multiplyRate: Double

    static func measure(threads: Int) -> MachineLimits {
        MachineLimits(readBandwidth: readBandwidth(threads), multiplyRate: multiplyRate(threads))
    }

    /// Best of five passes over 1 GiB that no cache holds, all threads together.
    static func readBandwidth(_ threads: Int) -> Double {
        let buffer = Buffer(uninitialized: 1 << 28), piece = buffer.count / threads,
            compute = Compute(threads: threads)
        // Written once: pages that never were are all the same one.
        compute.zero(buffer)
        let times = (0..<5).map { _ in
            seconds {
                compute.forEach(threads) { _ = crux_read_bandwidth_probe(buffer.pointer + $0 * piece, 4 * piece) }
            }
        }
        return Double(4 * piece * threads) / (times.min() ?? 1)
    }

    /// Best of five products of the size of a feed-forward layer.
    private static func multiplyRate(_ threads: Int) -> Double {
        _ = Compute(threads: threads)
        let a = Buffer([Float](repeating: 0.5, count: 2048 * 896)),
            b = Buffer([Float](repeating: 0.25, count: 4864 * 896)), c = Buffer(2048 * 4864)
        let times = (0..<5).map { _ in
            seconds { multiplyTransposed(a.matrix(rows: 2048), b.matrix(rows: 4864), into: c.matrix(rows: 2048)) }
        }
        return 2 * 2048 * 4864 * 896 / (times.min() ?? 1)
    }
}
