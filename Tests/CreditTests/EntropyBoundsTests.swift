import Credit
import Foundation
import TestSupport
import Testing

@Suite struct EntropyBoundsTests {
    private func bounds(_ p: [Double], _ vocabulary: Int) throws -> (low: Double, high: Double) {
        try #require(EntropyBounds.bounds(p.map { log($0) }, vocabulary: vocabulary))
    }

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

    /// A distribution of 2 to 300 tokens, from nearly flat to nearly certain, most likely token first.
    private func distribution(_ generator: inout SplitMix) -> [Double] {
        func uniform() -> Double { Double(generator.next() >> 11) / Double(1 << 53) }
        let count = 2 + Int(uniform() * 300), sharpness = 40 * uniform() * uniform()
        let weights = (0..<count).map { _ in exp(sharpness * (uniform() - 0.5)) }, sum = weights.reduce(0, +)
        return weights.map { $0 / sum }.sorted(by: >)
    }

    private func rounded(_ logprob: Double, _ rounding: EntropyBounds.Rounding) -> Float {
        switch rounding {
        case .float32: Float(logprob)
        case .float16: Float(Float16(logprob))
        case .bfloat16:
            {
                let bits = Float(logprob).bitPattern
                return Float(bitPattern: (bits &+ 0x7fff &+ (bits >> 16 & 1)) & 0xffff_0000)
            }()
        }
    }

    /// The same for log-probabilities that were rounded to 16 bits, and with one token of the tail known.
    @Test(arguments: EntropyBounds.Rounding.allCases, 1...150) func roundingAndAKnownTokenKeepItInside(_ rounding: EntropyBounds.Rounding, _ seed: Int) throws {
        var generator = SplitMix(seed: UInt64(seed) &* 77)
        let p = distribution(&generator), entropy = -p.reduce(0) { $0 + $1 * log($1) }
        for k in Set([1, 2, 5, 20, p.count / 2, p.count]) where k >= 1 && k <= p.count {
            let head = p.prefix(k).map { rounded(log($0), rounding) }, others = p.dropFirst(k)
            let known = others.isEmpty || seed % 2 == 0 ? [] : [Double(rounded(log(others[others.startIndex + Int(generator.next() % UInt64(others.count))]), rounding))]
            let found = try #require(EntropyBounds.bounds(head.map { Double($0) }, known: known, vocabulary: p.count, rounding: rounding), "\(p.count) tokens, top \(k)")
            #expect(found.low <= entropy && entropy <= found.high, "\(p.count) tokens, top \(k): \(found.low) … \(found.high) against \(entropy)")
        }
    }

    @Test func valuesBetrayHowTheyWereRounded() {
        let exact = (1...50).map { log(Double($0) / 51) }
        for rounding in EntropyBounds.Rounding.allCases { #expect(EntropyBounds.Rounding(of: exact.map { rounded($0, rounding) }) == rounding) }
    }

    /// Whatever the entropies are within their intervals, a token that counts as decided is masked as the interval's middle says.
    @Test(arguments: 1...60) func whatIsDecidedHoldsForEveryEntropyWithinTheBounds(_ seed: Int) {
        var generator = SplitMix(seed: UInt64(seed) &* 99)
        func uniform() -> Float { Float(generator.next() >> 40) / Float(1 << 24) }
        let low = (0..<200).map { _ in (uniform() * 20).rounded() / 10 }, high = low.map { $0 + (uniform() < 0.5 ? 0 : uniform() * 0.3) }
        let middle = zip(low, high).map { ($0 + $1) / 2 }
        for (type, share) in [(TopEntropy.self as any TokenSelection.Type, \EntropyMask.top), (BottomEntropy.self, \EntropyMask.bottom)] {
            var mask = EntropyMask()
            mask[keyPath: share] = 0.3
            let cuts = (mask.keep(low).threshold ?? 0, mask.keep(high).threshold ?? 0), marks = mask.keep(middle).kept
            for _ in 0..<20 {
                let truth = zip(low, high).map { $0 + ($1 - $0) * uniform() }, kept = mask.keep(truth).kept
                for index in low.indices where type.isDecided(low: low[index], high: high[index], lowCut: cuts.0, highCut: cuts.1) {
                    #expect(kept[index] == marks[index], "\(type.name), token \(index)")
                }
            }
        }
    }

    @Test func contradictionsAreRefused() {
        // More than all probability; a tail that can't be as likely as it would have to be.
        #expect(EntropyBounds.bounds([log(0.7), log(0.6)], vocabulary: 10) == nil)
        #expect(EntropyBounds.bounds([log(0.5), log(0.01)], vocabulary: 4) == nil)
        #expect(EntropyBounds.bounds([log(0.5), log(0.5)], vocabulary: 1) == nil)
    }
}
