import Credit
import TestSupport
import Testing

/// Exact order statistics by counting, against sorting.
@Suite struct OrderStatisticsTests {
    /// Values that are hard to tell apart or to order.
    static let adversarial: [(name: String, values: [Float])] = [
        ("one", [0.25]), ("two", [1, -1]), ("all equal", [Float](repeating: 0.7, count: 1000)),
        ("zeros of both signs", [0, -0.0, 0, -0.0, 1, -1]),
        ("denormals", (0..<300).map { Float(bitPattern: UInt32($0 % 7)) }),
        ("neighbours", (0..<500).map { Float(bitPattern: 0x3f80_0000 + UInt32($0 % 3)) }),
        ("largest and smallest", [.greatestFiniteMagnitude, -.greatestFiniteMagnitude, .leastNonzeroMagnitude, -.leastNonzeroMagnitude, 0]),
        ("low bits alone", (0..<70_000).map { Float(bitPattern: 0x4000_0000 | UInt32($0) & 0xffff) }),
    ]

    private func check(_ name: String, _ populations: [[Float]], mostWaiting: Int, mostCounters: Int, pieces: Int) throws {
        let wanted = populations.map { values in Population(count: values.count, ranks: Set([0, values.count / 3, values.count / 2, values.count - 1]).sorted()) }
        // Each population comes in pieces, those of different ones mixed.
        var order: [(population: Int32, values: [Float])] = []
        for piece in 0..<pieces {
            for (number, values) in populations.enumerated() {
                order.append((Int32(number), Array(values[values.count * piece / pieces..<values.count * (piece + 1) / pieces])))
            }
        }
        let stream = order.map { (population: $0.population, count: Int32($0.values.count)) }
        let selection = StreamedSelection(pieces: stream, populations: wanted, mostWaiting: mostWaiting, mostCounters: mostCounters)
        let found = try selection.run { see in for (index, piece) in order.enumerated() { see(index, piece.values) } }
        for (number, values) in populations.enumerated() {
            let sorted = values.sorted()
            for (rank, statistic) in zip(wanted[number].ranks, found[number]) {
                #expect(statistic.value == sorted[rank], "\(name): rank \(rank) of \(values.count)")
                #expect(statistic.below == values.count { $0 < sorted[rank] } && statistic.equal == values.count { $0 == sorted[rank] }, "\(name)")
            }
        }
    }

    @Test(arguments: [(1 << 20, 1 << 22), (0, 1 << 22), (0, 1 << 12), (0, 64), (0, 2)]) func countingFindsWhatSortingFinds(_ mostWaiting: Int, _ mostCounters: Int) throws {
        for (name, values) in Self.adversarial {
            if mostCounters < 64, values.count > 10_000 { continue }
            try check(name, [values], mostWaiting: mostWaiting, mostCounters: mostCounters, pieces: 1)
        }
        try check("together", Self.adversarial.dropLast().map(\.values), mostWaiting: mostWaiting, mostCounters: mostCounters, pieces: 3)
    }

    @Test(arguments: 1...10 as ClosedRange<UInt64>) func randomPopulationsInAnyPieces(_ seed: UInt64) throws {
        var generator = SplitMix(seed: seed)
        let populations = (0..<Int(1 + generator.next() % 9)).map { _ in
            (0..<Int(1 + generator.next() % 9000)).map { _ in Float(Int64(generator.next() % 2000) - 1000) / Float(1 + generator.next() % 50) }
        }
        for (waiting, counters) in [(1 << 20, 1 << 20), (100, 1 << 16), (0, 500)] {
            try check("random", populations, mostWaiting: waiting, mostCounters: counters, pieces: Int(1 + generator.next() % 5))
        }
    }

    @Test func aQuantileOfManyEqualsOneBySorting() {
        var generator = SplitMix(seed: 5)
        let values = (0..<50_000).map { _ in Float(generator.next() % 100_000) / 1000 }, sorted = values.sorted()
        for q in [0, 0.2, 0.5, 0.8, 0.999, 1] {
            let position = q * Double(values.count - 1), low = Int(position), high = min(low + 1, values.count - 1)
            #expect(quantile(values, q) == Double(sorted[low]) + (Double(sorted[high]) - Double(sorted[low])) * (position - Double(low)))
        }
    }
}
