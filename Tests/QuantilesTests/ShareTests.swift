import Credit
import Quantiles
import TestSupport
import Testing

/// Shares are the decimals that were written: of n distinct values top and bottom keep 1 + ⌊ρ(n - 1)⌋, whatever ρ is in
/// binary.
@Suite struct ShareTests {
    /// By integers: what a decimal with up to nine digits keeps of n distinct values.
    private static func kept(_ text: String, of n: Int) -> Int {
        let digits = text.split(separator: ".").last.map(String.init) ?? "0"
        let power = digits.reduce(1) { value, _ in value * 10 }
        let numerator = text.hasPrefix("1") ? power : Int(digits) ?? 0
        return 1 + numerator * (n - 1) / power
    }

    private static let texts: [String] =
        (1..<100).map { "0." + ($0 < 10 ? "0" : "") + "\($0)" } + [
            "0.1", "0.2", "0.3", "0.7", "0.9", "0.333333333", "0.666666667", "0.999999999", "0.123456789",
        ]

    private func mask(_ key: WritableKeyPath<EntropyMask, Share?>, _ text: String) throws -> EntropyMask {
        var mask = EntropyMask()
        mask[keyPath: key] = try #require(Share(text), "\(text)")
        return mask
    }

    @Test(arguments: [\EntropyMask.top, \EntropyMask.bottom] as [WritableKeyPath<EntropyMask, Share?> & Sendable])
    func theShareIsExactInRanks(_ key: WritableKeyPath<EntropyMask, Share?> & Sendable) throws {
        for text in Self.texts {
            for n in [1, 2, 3, 7, 10, 11, 21, 31, 51, 101, 301, 1001] {
                // Neighbours in float32, so that nothing between two of them survives rounding.
                let values = (0..<n).map { Float(bitPattern: 0x3f80_0000 + UInt32($0)) }.shuffled()
                #expect(try mask(key, text).keep(values).kept.count { $0 } == Self.kept(text, of: n), "\(text) of \(n)")
            }
        }
    }

    @Test(arguments: ["0.1", "0.2", "0.3", "0.7", "0.9", "0.29", "0.333333333", "0.00001"]) func itIsExactOfManyToo(
        _ text: String
    ) throws {
        for n in [99_991, 100_000, 100_001] {
            let values = (0..<n).map { Float(bitPattern: 0x3f00_0000 + UInt32($0)) }
            #expect(try mask(\.top, text).keep(values).kept.count { $0 } == Self.kept(text, of: n), "\(text) of \(n)")
            #expect(
                try mask(\.bottom, text).keep(values).kept.count { $0 } == Self.kept(text, of: n), "\(text) of \(n)")
        }
    }

    @Test func moreDigitsThanADoubleHasCount() throws {
        // A third of 3 intervals is one whole rank only where the digits say so; a Double can't tell these apart.
        let values: [Float] = [1, 2, 3, 4]
        #expect(try mask(\.top, "0.33333333333333333333").keep(values).kept.count { $0 } == 1)
        #expect(try mask(\.top, "0.33333333333333333334").keep(values).kept.count { $0 } == 2)
        #expect(Share("0." + String(repeating: "3", count: 39)) == nil)
    }

    @Test func exactCountsRoundUpExactly() throws {
        for (text, n, count) in [
            ("0.2", 5, 1), ("0.29", 100, 29), ("0.3", 10, 3), ("0.7", 10, 7), ("0.35", 20, 7), ("0.1", 3, 1),
            ("0", 9, 1), ("1", 9, 9),
        ] {
            for key in [\EntropyMask.top, \EntropyMask.bottom, \EntropyMask.random] {
                var mask = try mask(key, text)
                mask.ties = .exactCount
                #expect(mask.keep((0..<n).map { Float($0) }, seed: 5).kept.count { $0 } == count, "\(text) of \(n)")
            }
        }
    }

    @Test func tiesAtTheThresholdAllStay() throws {
        let values: [Float] = [0, 1, 1, 1, 1, 2, 3, 4, 5, 6, 7]
        // Rank 3 of 11 is among the ones that are equal.
        #expect(try mask(\.top, "0.7").keep(values).kept.count { $0 } == 10)
        #expect(try mask(\.bottom, "0.3").keep(values).kept.count { $0 } == 5)
    }

    @Test func textsThatAreNoShare() {
        for text in ["", "x", "1e999", "nan", "inf", "--1"] { #expect(Share(text) == nil, "\(text)") }
        for text in ["1.5", "-0.1", "1e3"] {
            #expect(Share(text).map { !(0...1).contains($0.value) } == true, "\(text)")
        }
        for text in [".25", "0.25", "2.5e-1", "25e-2", "0.2500", "+0.25"] {
            #expect(Share(text)?.complement.value == 0.75, "\(text)")
        }
    }
}
