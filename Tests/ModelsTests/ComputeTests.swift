import Tensors
import TestSupport
import Testing

@Suite struct ComputeTests {
    @Test func theNormIsSummedInDoubleAndTheSameForAnyThreads() {
        let count = 3_000_003, buffer = Buffer([Float](repeating: 0.1, count: count)), expected = (Double(count) * Double(Float(0.1)) * Double(Float(0.1))).squareRoot()
        // Float32 sums of so many numbers are off by a thousandth and more.
        #expect(isClose(Compute(threads: 2).norm(buffer), expected, relative: 1e-9))
        #expect(Compute(threads: 1).norm(buffer) == Compute(threads: 2).norm(buffer))
    }
}
