import Credit
import Foundation
import TestSupport
import Testing

@Suite struct EntropyBoundsTests {
    private func bounds(_ p: [Double], _ vocabulary: Int) throws -> (low: Double, high: Double) { try #require(EntropyBounds.bounds(p.map { log($0) }, vocabulary: vocabulary)) }

    @Test func boundsAreTheWorkedExamples() throws {
        // The widening for float32 log-probabilities is 2e-6 for each.
        for (p, vocabulary, low, high) in [
            ([0.6, 0.2, 0.05], 1000, 1.227529, 2.098450), ([0.9, 0.06, 0.03], 151_936, 0.414878, 0.534190), ([0.9, 0.06, 0.03, 0.0099], 151_936, 0.415438, 0.416631),
        ] {
            let found = try bounds(p, vocabulary), slack = 2e-6 * Double(p.count)
            #expect(isClose(found.low + slack, low, absolute: 1e-6) && isClose(found.high - slack, high, absolute: 1e-6), "\(found)")
        }
    }

    /// The true entropy lies inside, whatever the distribution, k and the rounding of the log-probabilities to float32.
    @Test(arguments: 1...60) func theTrueEntropyLiesInside(_ seed: Int) throws {
        var generator = SplitMix(seed: UInt64(seed))
        func uniform() -> Double { Double(generator.next() >> 11) / Double(1 << 53) }
        let count = 2 + Int(uniform() * 300), sharpness = 12 * uniform() * uniform()
        let weights = (0..<count).map { _ in exp(sharpness * (uniform() - 0.5)) }, sum = weights.reduce(0, +)
        let p = weights.map { $0 / sum }.sorted(by: >), entropy = -p.reduce(0) { $0 + $1 * log($1) }
        for k in Set([1, 2, 5, 20, count - 1, count]) where k >= 1 && k <= count {
            let head = p.prefix(k).map { Double(Float(log($0))) }
            let found = try #require(EntropyBounds.bounds(head, vocabulary: count))
            #expect(found.low <= entropy && entropy <= found.high, "\(count) tokens, top \(k): \(found.low) … \(found.high) against \(entropy)")
        }
    }

    @Test func contradictionsAreRefused() {
        // More than all probability; a tail that can't be as likely as it would have to be.
        #expect(EntropyBounds.bounds([log(0.7), log(0.6)], vocabulary: 10) == nil)
        #expect(EntropyBounds.bounds([log(0.5), log(0.01)], vocabulary: 4) == nil)
        #expect(EntropyBounds.bounds([log(0.5), log(0.5)], vocabulary: 1) == nil)
    }
}
