import Credit
import StageSupport
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

    /// Each population's values in `parts` rows, those of different ones mixed, `rowsPerPiece` rows to a piece.
    private struct Rows: ValueStream {
        var rows: [(population: Int32, values: [Float])] = []
        var pieces: [Range<Int>]

        init(_ populations: [[Float]], parts: Int, rowsPerPiece: Int) {
            for part in 0..<parts {
                for (number, values) in populations.enumerated() {
                    rows.append((Int32(number), Array(values[values.count * part / parts..<values.count * (part + 1) / parts])))
                }
            }
            pieces = stride(from: 0, to: rows.count, by: rowsPerPiece).map { [count = rows.count] in $0..<min($0 + rowsPerPiece, count) }
        }

        func forEachRow(of piece: Int, _ body: (Int, UnsafeBufferPointer<Float>) throws -> Void) throws {
            for row in pieces[piece] { try rows[row].values.withUnsafeBufferPointer { try body(row, $0) } }
        }

        func inOrder<Value: Sendable>(_ count: Int, _ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void) throws {
            try parallelInOrder(count, threads: 3, produce: produce, consume: consume)
        }
    }

    private func check(_ name: String, _ populations: [[Float]], mostWaiting: Int, mostCounters: Int, parts: Int, rowsPerPiece: Int) throws {
        let wanted = populations.map { values in Population(count: values.count, ranks: Set([0, values.count / 3, values.count / 2, values.count - 1]).sorted()) }
        let stream = Rows(populations, parts: parts, rowsPerPiece: rowsPerPiece), rows = stream.rows.map { (population: $0.population, count: Int32($0.values.count)) }
        let found = try StreamedSelection(rows: rows, populations: wanted, mostWaiting: mostWaiting, mostCounters: mostCounters).run(stream)
        for (number, values) in populations.enumerated() {
            let sorted = values.sorted()
            for (rank, statistic) in zip(wanted[number].ranks, found[number]) {
                #expect(statistic.value == sorted[rank], "\(name): rank \(rank) of \(values.count)")
                #expect(statistic.below == values.count { $0 < sorted[rank] } && statistic.equal == values.count { $0 == sorted[rank] }, "\(name)")
            }
            #expect(found[number].count == wanted[number].ranks.count, "\(name)")
        }
    }

    @Test(arguments: [(1 << 20, 1 << 22), (0, 1 << 22), (0, 1 << 12), (0, 64), (0, 2)]) func countingFindsWhatSortingFinds(_ mostWaiting: Int, _ mostCounters: Int) throws
    {
        for (name, values) in Self.adversarial {
            if mostCounters < 64, values.count > 10_000 { continue }
            for parts in [1, 4] { try check(name, [values], mostWaiting: mostWaiting, mostCounters: mostCounters, parts: parts, rowsPerPiece: 1) }
        }
        let together = Self.adversarial.dropLast().map(\.values)
        for rows in [1, 5, 1000] { try check("together", together, mostWaiting: mostWaiting, mostCounters: mostCounters, parts: 3, rowsPerPiece: rows) }
    }

    @Test(arguments: 1...10 as ClosedRange<UInt64>) func randomPopulationsInAnyPieces(_ seed: UInt64) throws {
        var generator = SplitMix(seed: seed)
        let populations = (0..<Int(1 + generator.next() % 9)).map { _ in
            (0..<Int(1 + generator.next() % 9000)).map { _ in Float(Int64(generator.next() % 2000) - 1000) / Float(1 + generator.next() % 50) }
        }
        for (waiting, counters) in [(1 << 20, 1 << 20), (100, 1 << 16), (0, 500)] {
            let parts = Int(1 + generator.next() % 5), rows = Int(1 + generator.next() % 12)
            try check("random", populations, mostWaiting: waiting, mostCounters: counters, parts: parts, rowsPerPiece: rows)
        }
    }

    /// Many values and few populations are counted on all threads, by their own leading bits where there is one.
    @Test(arguments: [1, 2]) func manyValuesAreCounted(_ count: Int) throws {
        var generator = SplitMix(seed: 3)
        let populations = (0..<count).map { number in
            (0..<140_000).map { _ in Float(Int64(generator.next() % 4096) - (number == 0 ? 0 : 2048)) * (generator.next() % 5 == 0 ? 0.001 : -0.0) }
        }
        try check("many", populations, mostWaiting: 1 << 24, mostCounters: 1 << 21, parts: 7, rowsPerPiece: 3)
    }

    /// What a selector counts from a row's numbers is what it marks, also where a scope's share runs out within a row.
    @Test(arguments: [EntropyMask.Ties.quantile, .exactCount]) func aCountIsTheNumberOfMarks(_ ties: EntropyMask.Ties) {
        var generator = SplitMix(seed: 9)
        for (index, type) in TokenSelectionRegistry.all.enumerated() {
            for share in [0, 0.1, 0.5, 0.97, 1] {
                let rows = (0..<20).map { _ in (0..<Int(generator.next() % 40)).map { _ in Float(generator.next() % 6) / 4 } }, all = rows.flatMap { $0 }
                let statistics = type.ranks(share, of: all.count, ties: ties).map { rank in
                    let value = all.sorted()[rank]
                    return OrderStatistic(value: value, below: all.count { $0 < value }, equal: all.count { $0 == value })
                }
                var marking = type.selector(share, of: all.count, ties: ties, statistics, seed: UInt64(index)), counting = marking
                for row in rows {
                    let marks = marking.marks(row, row.map { _ in true }).count { $0 }, census = row.withUnsafeBufferPointer { counting.census($0) }
                    #expect(counting.count(census) == marks, "\(type.name) \(share) \(ties)")
                }
            }
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
