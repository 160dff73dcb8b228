import Credit
import Foundation
import Quantiles
import Scratch
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
        (
            "largest and smallest",
            [.greatestFiniteMagnitude, -.greatestFiniteMagnitude, .leastNonzeroMagnitude, -.leastNonzeroMagnitude, 0]
        ),
        ("low bits alone", (0..<70_000).map { Float(bitPattern: 0x4000_0000 | UInt32($0) & 0xffff) }),
    ]

    /// Each population's values in `parts` rows, those of different ones mixed, `rowsPerPiece` rows to a piece.
    private struct Rows: ValueStream {
        var rows: [(population: Int32, values: [Float])] = []
        var pieces: [Range<Int>]
        var threads = 3

        /// What is known of them before they are looked at.
        var known: StreamedRows {
            let rows = rows
            return StreamedRows(
                count: rows.count, population: { Int(rows[$0].population) }, values: { rows[$0].values.count })
        }

        init(_ populations: [[Float]], parts: Int, rowsPerPiece: Int) {
            for part in 0..<parts {
                for (number, values) in populations.enumerated() {
                    rows.append(
                        (Int32(number), Array(values[values.count * part / parts..<values.count * (part + 1) / parts])))
                }
            }
            pieces = stride(from: 0, to: rows.count, by: rowsPerPiece).map { [count = rows.count] in
                $0..<min($0 + rowsPerPiece, count)
            }
        }

        var counts: [Int] { pieces.map { $0.reduce(0) { $0 + rows[$1].values.count } } }

        func forEachRow(of piece: Int, _ body: (Int, UnsafeBufferPointer<Float>) throws -> Void) throws {
            for row in pieces[piece] { try rows[row].values.withUnsafeBufferPointer { try body(row, $0) } }
        }

        func inOrder<Value: Sendable>(
            _ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void
        ) throws {
            try parallelInOrder(pieces.count, threads: threads, produce: produce, consume: consume)
        }
    }

    private func check(
        _ name: String, _ populations: [[Float]], mostWaiting: Int, mostCounters: Int, parts: Int, rowsPerPiece: Int
    ) throws {
        let wanted = populations.map { values in
            Population(
                count: values.count, ranks: Set([0, values.count / 3, values.count / 2, values.count - 1]).sorted())
        }
        let stream = Rows(populations, parts: parts, rowsPerPiece: rowsPerPiece)
        let selection = StreamingQuantiles(
            rows: stream.known, populations: wanted, space: .memory, mostWaiting: mostWaiting,
            mostCounters: mostCounters, leastBracketed: .max)
        let found = try selection.run(stream)
        for (number, values) in populations.enumerated() {
            let sorted = values.sorted()
            for (rank, statistic) in zip(wanted[number].ranks, found[number]) {
                #expect(statistic.value == sorted[rank], "\(name): rank \(rank) of \(values.count)")
                #expect(
                    statistic.below == values.count { $0 < sorted[rank] }
                        && statistic.equal == values.count { $0 == sorted[rank] }, "\(name)")
            }
            #expect(found[number].count == wanted[number].ranks.count, "\(name)")
        }
    }

    @Test(arguments: [(1 << 20, 1 << 22), (0, 1 << 22), (0, 1 << 12), (0, 64), (0, 2)])
    func countingFindsWhatSortingFinds(_ mostWaiting: Int, _ mostCounters: Int) throws {
        for (name, values) in Self.adversarial {
            if mostCounters < 64, values.count > 10_000 { continue }
            for parts in [1, 4] {
                try check(
                    name, [values], mostWaiting: mostWaiting, mostCounters: mostCounters, parts: parts, rowsPerPiece: 1)
            }
        }
        let together = Self.adversarial.dropLast().map(\.values)
        for rows in [1, 5, 1000] {
            try check(
                "together", together, mostWaiting: mostWaiting, mostCounters: mostCounters, parts: 3, rowsPerPiece: rows
            )
        }
    }

    @Test(arguments: 1...10 as ClosedRange<UInt64>) func randomPopulationsInAnyPieces(_ seed: UInt64) throws {
        var generator = SplitMix(seed: seed)
        let populations = (0..<Int(1 + generator.next() % 9)).map { _ in
            (0..<Int(1 + generator.next() % 9000)).map { _ in
                Float(Int64(generator.next() % 2000) - 1000) / Float(1 + generator.next() % 50)
            }
        }
        for (waiting, counters) in [(1 << 20, 1 << 20), (100, 1 << 16), (0, 500)] {
            let parts = Int(1 + generator.next() % 5), rows = Int(1 + generator.next() % 12)
            try check(
                "random", populations, mostWaiting: waiting, mostCounters: counters, parts: parts, rowsPerPiece: rows)
        }
    }

    /// Many values and few populations are counted on all threads, by their own leading bits where there is one.
    @Test(arguments: [1, 2]) func manyValuesAreCounted(_ count: Int) throws {
        var generator = SplitMix(seed: 3)
        let populations = (0..<count).map { number in
            (0..<140_000).map { _ in
                Float(Int64(generator.next() % 4096) - (number == 0 ? 0 : 2048))
                    * (generator.next() % 5 == 0 ? 0.001 : -0.0)
            }
        }
        try check("many", populations, mostWaiting: 1 << 24, mostCounters: 1 << 21, parts: 7, rowsPerPiece: 3)
    }

    // MARK: brackets

    /// Where even short lists lie in files.
    private static let space = ScratchSpace(folder: FileManager.default.temporaryDirectory.path, mostInMemory: 256)

    /// The ranks of five quantiles, as a plan asks for them.
    private func ranks(_ count: Int) -> [Int] {
        let quantiles: [Double] = [0, 0.2, 0.5, 0.8, 0.95, 1], lower = quantiles.map { Int($0 * Double(count - 1)) }
        return (lower + lower.map { min(count - 1, $0 + 1) }).sorted()
    }

    /// By brackets on its own; nil where they say that another way must be gone.
    private func bracketed(_ values: [Float], parts: Int, rowsPerPiece: Int, threads: Int = 3, mostKept: Int = .max)
        throws -> BracketedSelect.Outcome?
    {
        var stream = Rows([values], parts: parts, rowsPerPiece: rowsPerPiece)
        stream.threads = threads
        let population = Population(count: values.count, ranks: ranks(values.count))
        return try BracketedSelect(
            rows: stream.known, population: population, cut: [], mostKept: mostKept, space: Self.space
        ).run(stream)
    }

    /// What sorting says of the same ranks.
    private func sorted(_ values: [Float]) -> [OrderStatistic] {
        let sorted = values.sorted()
        return ranks(values.count).map { rank in
            OrderStatistic(
                value: sorted[rank] + 0, below: values.count { $0 < sorted[rank] },
                equal: values.count { $0 == sorted[rank] })
        }
    }

    /// Tens of thousands of values that entropies are like, or that are hard to sample: named, so that a failure says
    /// which.
    private static func large(_ seed: UInt64) -> [(name: String, values: [Float])] {
        var generator = SplitMix(seed: seed)
        func uniform() -> Float { Float(generator.next() >> 40) / Float(1 << 24) }
        let count = 50_000 + Int(generator.next() % 1000)
        var made: [(name: String, values: [Float])] = []
        func add(_ name: String, _ value: (Int) -> Float) { made.append((name, (0..<count).map(value))) }
        add("uniform") { _ in uniform() }
        add("both signs") { _ in (uniform() - 0.5) * 1e30 }
        add("half are 0") { _ in uniform() < 0.5 ? (uniform() < 0.5 ? 0 : -0.0) : uniform() }
        add("all equal") { _ in 0.7 }
        add("all 0 of both signs") { $0 % 2 == 0 ? 0 : -0.0 }
        add("few distinct") { _ in Float(generator.next() % 5) / 4 }
        add("neighbours") { _ in Float(bitPattern: 0x3f80_0000 + UInt32(generator.next() % 3)) }
        add("denormals") { _ in Float(bitPattern: UInt32(generator.next() % 1000)) }
        add("ascending") { Float($0) }
        add("falling") { Float(count - $0) }
        add("periodic") { Float($0 % 64) }
        add("alike within rows") { Float($0 / 700 * 7919 % 71) + uniform() * 0.01 }
        add("one large") { $0 == 17 ? .greatestFiniteMagnitude : -1 }
        return made
    }

    @Test(arguments: 1...3 as ClosedRange<UInt64>) func bracketsFindWhatSortingFinds(_ seed: UInt64) throws {
        var settled = 0
        let all = Self.large(seed)
        for (name, values) in all {
            let wanted = sorted(values)
            for (parts, rows, threads) in [(1, 1, 1), (40, 3, 1), (40, 3, 3), (611, 50, 2)] {
                guard let found = try bracketed(values, parts: parts, rowsPerPiece: rows, threads: threads) else {
                    continue
                }
                #expect(found.statistics == wanted, "\(name) in \(parts) rows")
                settled += 1
            }
        }
        #expect(settled > all.count * 4 - 5, "brackets miss, once in thousands of times")
    }

    /// Fewer values than there are ranks, and each of them wanted.
    @Test func bracketsFindTheRanksOfAHandful() throws {
        for (name, values) in Self.adversarial {
            let found = try bracketed(values, parts: min(3, values.count), rowsPerPiece: 1)
            if let found { #expect(found.statistics == sorted(values), "\(name)") }
            #expect(found != nil || values.count > 1000, "\(name)")
        }
    }

    /// Whether there is an outcome, and which, is the same whoever counts and however rows lie in pieces.
    @Test func bracketsDontDependOnThreadsOrPieces() throws {
        for (name, values) in Self.large(8) {
            let ways = try [(1, 1), (2, 1), (3, 7), (3, 1000)].map {
                try bracketed(values, parts: 200, rowsPerPiece: $1, threads: $0)?.statistics
            }
            #expect(ways.allSatisfy { $0 == ways[0] }, "\(name)")
        }
    }

    @Test(arguments: [Float.nan, .infinity, -.infinity, Float(bitPattern: 0xffc0_0001)])
    func bracketsLeaveValuesThatAreNoNumbersToOthers(_ odd: Float) throws {
        for place in [0, 12_345, 49_999] {
            var values = Self.large(2)[0].values
            values[place] = odd
            #expect(try bracketed(values, parts: 40, rowsPerPiece: 3) == nil)
        }
    }

    /// Where the sample is led astray, as by values that only stand where it doesn't look, or too much would be kept,
    /// counting takes over.
    @Test func whereBracketsMissCountingTakesOver() throws {
        let count = 60_000, places = StratifiedSample(of: count)
        var values = [Float](repeating: 1, count: count)
        for index in 0..<count { values[index] = Float(index % 1000) / 1000 }
        for run in 0..<places.runs {
            for place in places.place(run)..<places.place(run) + places.run { values[place] = 100 + Float(place) }
        }
        #expect(try bracketed(values, parts: 60, rowsPerPiece: 5) == nil)
        #expect(try bracketed(Self.large(1)[0].values, parts: 60, rowsPerPiece: 5, mostKept: 10) == nil)
        for values in [values, Self.large(1)[0].values] {
            let stream = Rows([values], parts: 60, rowsPerPiece: 5),
                wanted = Population(count: values.count, ranks: ranks(values.count))
            let selection = StreamingQuantiles(
                rows: stream.known, populations: [wanted], space: Self.space, mostWaiting: 10, leastBracketed: 1)
            #expect(try selection.run(stream)[0] == sorted(values))
        }
    }

    @Test func aSamplesRunsAscendAndStayWithin() {
        for population in [1, 2, 17, 16_383, 16_384, 16_385, 100_000, 123_456_789, 3_000_000_000] {
            let sample = StratifiedSample(of: population), step = max(1, sample.runs / 1000)
            var last = -1
            for run in stride(from: 0, to: sample.runs, by: step) {
                let place = sample.place(run)
                #expect(place > last && place + sample.run <= population)
                #expect(
                    sample.first(endingBehind: place) == run
                        && sample.first(endingBehind: place + sample.run) == run + 1)
                last = place + sample.run - 1
            }
            #expect(sample.count >= min(population, 1))
        }
    }

    /// What a cut keeps of each row follows from its values near the cut, as from all of them.
    @Test(arguments: [EntropyMask.Ties.quantile, .exactCount]) func rowsAroundACutTellWhatItKeeps(
        _ ties: EntropyMask.Ties
    ) throws {
        var told = 0
        for (name, values) in Self.large(4) {
            for (type, share) in [
                (TopEntropy.self as any MaskRule.Type, 0.2 as Share), (BottomEntropy.self, 0.3),
            ] {
                let stream = Rows([values], parts: 90, rowsPerPiece: 7)
                let wanted = type.ranks(share, of: values.count, ties: ties)
                let selection = StreamingQuantiles(
                    rows: stream.known, populations: [Population(count: values.count, ranks: wanted)],
                    space: Self.space, leastBracketed: 1)
                let (statistics, around) = try selection.run(stream, cut: Array(wanted.indices))
                var near = type.selector(share, of: values.count, ties: ties, statistics[0], seed: 0), all = near,
                    counts: [(Int, Int)] = []
                around?.forEachRow(Self.space, { stream.rows[$0].values.count }) { row, own, above, below in
                    let whole = stream.rows[row].values.withUnsafeBufferPointer { all.census($0) }
                    counts.append((near.count(near.census(own, above: above, below: below)), all.count(whole)))
                }
                #expect(counts.allSatisfy { $0.0 == $0.1 }, "\(name)")
                #expect(around == nil || counts.count == 90)
                told += around == nil ? 0 : 1
            }
        }
        #expect(told > 8)
    }

    /// What a selector counts from a row's numbers is what it marks, also where a scope's share runs out within a row.
    @Test(arguments: [EntropyMask.Ties.quantile, .exactCount]) func aCountIsTheNumberOfMarks(_ ties: EntropyMask.Ties) {
        var generator = SplitMix(seed: 9)
        for (index, type) in MaskRegistry.all.enumerated() {
            for share in [0, 0.1, 0.5, 0.97, 1] as [Share] {
                let
                    rows = (0..<20).map { _ in
                        (0..<Int(generator.next() % 40)).map { _ in Float(generator.next() % 6) / 4 }
                    }, all = rows.flatMap { $0 }
                let statistics = type.ranks(share, of: all.count, ties: ties).map { rank in
                    let value = all.sorted()[rank]
                    return OrderStatistic(
                        value: value, below: all.count { $0 < value }, equal: all.count { $0 == value })
                }
                let fresh = type.selector(share, of: all.count, ties: ties, statistics, seed: UInt64(index))
                var marking = fresh, counting = marking
                for row in rows {
                    // One that has seen nothing goes on from what another remembers.
                    var late = fresh
                    late.memory = counting.memory
                    #expect(counting.memory == marking.memory)
                    let marked = marking.marks(row, row.map { _ in true }), marks = marked.count { $0 }
                    #expect(late.marks(row, row.map { _ in true }) == marked, "\(type.name) \(share) \(ties)")
                    let census = row.withUnsafeBufferPointer { counting.census($0) }
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
            let expected = Double(sorted[low]) + (Double(sorted[high]) - Double(sorted[low])) * (position - Double(low))
            #expect(isClose(quantile(values, q) ?? .nan, expected, absolute: 1e-12))
        }
    }
}
