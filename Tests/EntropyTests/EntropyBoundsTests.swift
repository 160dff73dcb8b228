import Credit
import Entropy
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
            ([0.6, 0.2, 0.05], 1000, 1.227529, 2.098450), ([0.9, 0.06, 0.03], 151_936, 0.414878, 0.534190),
            ([0.9, 0.06, 0.03, 0.0099], 151_936, 0.415438, 0.416631),
        ] {
            let found = try bounds(p, vocabulary), slack = 2e-6 * Double(p.count)
            #expect(
                isClose(found.low + slack, low, absolute: 1e-6) && isClose(found.high - slack, high, absolute: 1e-6),
                "\(found)")
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
            #expect(
                found.low <= entropy && entropy <= found.high,
                "\(count) tokens, top \(k): \(found.low) … \(found.high) against \(entropy)")
        }
    }

    /// A distribution of 2 to 300 tokens, from nearly flat to nearly certain, most likely token first.
    private func distribution(_ generator: inout SplitMix) -> [Double] {
        func uniform() -> Double { Double(generator.next() >> 11) / Double(1 << 53) }
        let count = 2 + Int(uniform() * 300), sharpness = 40 * uniform() * uniform()
        let weights = (0..<count).map { _ in exp(sharpness * (uniform() - 0.5)) }, sum = weights.reduce(0, +)
        return weights.map { $0 / sum }.sorted(by: >)
    }

    /// As somebody wrote it: rounded, and in float32.
    private func rounded(_ logprob: Double, _ form: LogprobRounding.Form?) -> Float {
        switch form {
        case nil: return Float(logprob)
        case .float16: return Float(Float16(logprob))
        case .bfloat16:
            let bits = Float(logprob).bitPattern
            return Float(bitPattern: (bits &+ 0x7fff &+ (bits >> 16 & 1)) & 0xffff_0000)
        // As text, and as numpy rounds float32.
        case .decimals(let count):
            let unit = pow(10, Double(count))
            return count % 2 == 0
                ? Float(String(format: "%.\(count)f", logprob)) ?? .nan
                : (Float(logprob) * Float(unit)).rounded() / Float(unit)
        case .digits(let count): return Float(String(format: "%.\(count)g", logprob)) ?? .nan
        }
    }

    static let forms: [LogprobRounding.Form?] = [nil] + LogprobRounding.candidates.flatMap { $0 }

    /// The same for log-probabilities that were rounded, as they betray it, and with one token of the tail known.
    @Test(arguments: forms, 1...150) func roundingAndAKnownTokenKeepItInside(_ form: LogprobRounding.Form?, _ seed: Int)
        throws
    {
        var generator = SplitMix(seed: UInt64(seed) &* 77)
        let p = distribution(&generator), entropy = -p.reduce(0) { $0 + $1 * log($1) }
        for k in Set([1, 2, 5, 20, p.count / 2, p.count]) where k >= 1 && k <= p.count {
            let head = p.prefix(k).map { rounded(log($0), form) }, others = p.dropFirst(k)
            let known =
                others.isEmpty || seed % 2 == 0
                ? []
                : [Double(rounded(log(others[others.startIndex + Int(generator.next() % UInt64(others.count))]), form))]
            let found = try #require(
                EntropyBounds.bounds(
                    head.map { Double($0) }, known: known, vocabulary: p.count, rounding: LogprobRounding(of: head),
                    knownRounding: form.map { LogprobRounding([$0]) } ?? .none), "\(p.count) tokens, top \(k)")
            #expect(
                found.low <= entropy && entropy <= found.high,
                "\(p.count) tokens, top \(k): \(found.low) … \(found.high) against \(entropy)")
        }
    }

    @Test(arguments: forms) func valuesBetrayHowTheyWereRounded(_ form: LogprobRounding.Form?) {
        let logprobs = (1...500).map { rounded(log(Double($0) / 501), form) }, found = LogprobRounding(of: logprobs)
        switch form {
        case nil: #expect(found == .none)
        // What has few decimals has few digits too, and the other way round.
        case .decimals(let count):
            #expect(
                found.forms.first == .decimals(count) && found.error(-5) == 0.5 * pow(10, -Double(count)), "\(found)")
        case let form?: #expect(found.forms.last == form, "\(found)")
        }
        // What engines put where they know nothing says nothing about the rest.
        #expect(LogprobRounding(of: logprobs + [-9999, -.infinity]) == found)
    }

    /// Distributions like a model's, from certain to flat, with thin and with heavy tails.
    private static func model(_ size: Int, _ generator: inout SplitMix) -> [Double] {
        func uniform() -> Double { (Double(generator.next() >> 11) + 0.5) / Double(1 << 53) }
        let kind = generator.next() % 4, sharpness = pow(10, 3 * uniform() - 2)
        let logits = (0..<size).map { rank -> Double in
            switch kind {
            case 0: sharpness * sqrt(-2 * log(uniform())) * cos(2 * .pi * uniform())
            // A power of the rank: few tokens or many share the mass.
            case 1: -(0.3 + 3 * sharpness) * log(1 + Double(rank)) + 0.1 * uniform()
            // One token nearly certain, the rest even.
            case 2: rank == 0 ? 4 + 20 * sharpness : uniform()
            // Exponential.
            default: -sharpness * Double(rank) / 50
            }
        }
        let top = logits.max() ?? 0, weights = logits.map { exp($0 - top) }, sum = weights.reduce(0, +)
        return weights.map { $0 / sum }.sorted(by: >)
    }

    /// A softmax in float32 as an engine takes it, whose log-probabilities are then written down in every way: the
    /// interval of each of 12 tokens of a rollout holds the true entropy, with the sampled token anywhere.
    @Test(arguments: [60, 32_000, 151_936], forms) func intervalsHoldTheTruthOfModels(
        _ vocabulary: Int, _ form: LogprobRounding.Form?
    ) throws {
        var generator = SplitMix(seed: UInt64(vocabulary))
        let tokens = (0..<12).map { _ in Self.model(vocabulary, &generator) }
        for k in [1, 5, 20, 50] {
            let best = tokens.map { p in p.prefix(k).map { rounded(Self.inFloat32($0, p), form) } }
            let sampled = tokens.map { p in
                min(p.count - 1, Int(pow(Double(p.count), Double(generator.next() % 1000) / 1000)))
            }
            let own = zip(tokens, sampled).map { p, place in rounded(Self.inFloat32(p[place], p), form) }
            let rounding = LogprobRounding(of: best.flatMap { $0 }), ownRounding = LogprobRounding(of: own)
            for (index, p) in tokens.enumerated() {
                let entropy = -p.reduce(0) { $0 + ($1 > 0 ? $1 * log($1) : 0) },
                    known = sampled[index] < k ? [] : [Double(own[index])]
                let found = try #require(
                    EntropyBounds.bounds(
                        best[index].map { Double($0) }, known: known, vocabulary: vocabulary, rounding: rounding,
                        knownRounding: ownRounding),
                    "token \(index), top \(k)")
                #expect(
                    found.low <= entropy && entropy <= found.high,
                    "token \(index), top \(k): \(found.low) … \(found.high) against \(entropy)")
            }
        }
    }

    /// A log-probability off by what a sum of exponentials in float32 loses.
    private static func inFloat32(_ p: Double, _ all: [Double]) -> Double {
        p > 0 ? log(p) + 1e-6 * min(1, log(Double(all.count)) / 12) : -200
    }

    /// Whatever the entropies are within their intervals, a token that counts as decided is masked as the interval's
    /// middle says.
    @Test(arguments: 1...60) func whatIsDecidedHoldsForEveryEntropyWithinTheBounds(_ seed: Int) {
        var generator = SplitMix(seed: UInt64(seed) &* 99)
        func uniform() -> Float { Float(generator.next() >> 40) / Float(1 << 24) }
        let low = (0..<200).map { _ in (uniform() * 20).rounded() / 10 },
            high = low.map { $0 + (uniform() < 0.5 ? 0 : uniform() * 0.3) }
        let middle = zip(low, high).map { ($0 + $1) / 2 }
        for (type, share) in [
            (TopEntropy.self as any MaskRule.Type, \EntropyMask.top), (BottomEntropy.self, \EntropyMask.bottom),
        ] {
            var mask = EntropyMask()
            mask[keyPath: share] = 0.3
            let cuts = (mask.keep(low).threshold ?? 0, mask.keep(high).threshold ?? 0), marks = mask.keep(middle).kept
            for _ in 0..<20 {
                let truth = zip(low, high).map { $0 + ($1 - $0) * uniform() }, kept = mask.keep(truth).kept
                for index in low.indices
                where type.isDecided(low: low[index], high: high[index], lowCut: cuts.0, highCut: cuts.1) {
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
