import Arrow
import Files
import Formats
import Foundation
import TestSupport
import Testing

@Suite struct ArrowTests {
    private func rows(_ count: Int) -> [PlanRow] {
        (0..<count).map { index in
            var row = PlanRow()
            let length = index % 5 + 1
            row.rolloutID = "r\(index)é"
            row.tokenIDs = (0..<length).map { Int32($0 * index) }
            row.lossMask = (0..<length).map { $0 > 0 && ($0 + index) % 3 == 0 }
            row.advantages = row.tokenIDs.map { Float($0) / 3 }
            row.entropyMask = row.lossMask
            row.tokenWeights = row.advantages
            row.oldLogprobs = row.advantages
            row.referenceLogprobs = index % 4 == 0 ? nil : row.advantages
            row.step = Int32(index)
            return row
        }
    }

    private func write(_ rows: [PlanRow], _ path: String, _ compression: ArrowCompression = .none) throws {
        var writer = try ArrowTableWriter(
            path: path, table: Tables.plan, metadata: ["b": "2", "a": "1"], compression: compression)
        for row in rows { try writer.append(row) }
        try writer.finish()
    }

    @Test(arguments: [0, 1, 7, 20_000], [ArrowCompression.none, .zstd(level: 1)])
    func rowsComeBackAsTheyWent(_ count: Int, _ compression: ArrowCompression) throws {
        let folder = try TemporaryDirectory(), rows = rows(count)
        try write(rows, folder("a.arrow"), compression)
        let reader = try ArrowTableReader(path: folder("a.arrow"), table: Tables.plan)
        #expect(reader.rowCount == count)
        #expect(reader.metadata == ["a": "1", "b": "2"])
        #expect(try reader.rows() == rows)
        try write(rows, folder("b.arrow"), compression)
        #expect(try readBytes(folder("a.arrow")) == readBytes(folder("b.arrow")))
    }

    @Test func aMissingOrOtherColumnIsNamed() throws {
        let folder = try TemporaryDirectory()
        try write(rows(3), folder("a.arrow"))
        let error = #expect(throws: FormatError.self) {
            _ = try ArrowTableReader(path: folder("a.arrow"), table: Tables.scores)
        }
        #expect(error?.found.contains("no column 'verdict'") == true)
        #expect(throws: FormatError.self) {
            _ = try ArrowTableReader(path: fixture("policy/config.json"), table: Tables.plan)
        }
    }

    @Test(arguments: [ArrowCompression.none, .zstd(level: 1)]) func damageIsAnErrorOrOtherRowsButNeverATrap(
        _ compression: ArrowCompression
    ) throws {
        let folder = try TemporaryDirectory()
        try write(rows(40), folder("whole.arrow"), compression)
        let whole = try readBytes(folder("whole.arrow"))
        var generator = SplitMix(seed: 12)
        for round in 0..<1500 {
            var bytes = whole
            if round % 5 == 0 {
                bytes = Array(bytes.prefix(Int(generator.next() % UInt64(whole.count))))
            } else {
                for _ in 0...round % 3 {
                    bytes[Int(generator.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: generator.next())
                }
            }
            try writeBytes(bytes, to: folder("damaged.arrow"))
            do {
                _ = try ArrowTableReader(path: folder("damaged.arrow"), table: Tables.plan).rows()
            } catch is FormatError {}
            do { try lookAtColumns(folder("damaged.arrow")) { _, _, _ in } } catch is FormatError {}
        }
    }

    /// Each row with the marked advantages and how many marks there are; nil where the lists have different lengths.
    private func lookAtColumns(
        _ path: String, _ body: (_ row: Int, ArrowRowView, (marked: [Float], count: Int)?) throws -> Void
    ) throws {
        let reader = try ArrowTableReader(path: path, table: Tables.plan)
        let cursor = ArrowColumnCursor(
            reader,
            [
                .values("loss_mask"), .values("advantages"), .values("rollout_id"), .presence("reference_logprobs"),
                .values("step"),
            ])
        for row in 0..<reader.rowCount {
            let view = try cursor.row(row)
            guard let mask = view.list(0), let values = view.list(1), mask.count == values.count else {
                try body(row, view, nil); continue
            }
            let scratch = UnsafeMutablePointer<Float>.allocate(capacity: mask.count + 1)
            defer { scratch.deallocate() }
            let marked = Array(mask.marked(values, scratch: scratch))
            checkCopies(cursor, mask, values, marked)
            try body(row, view, (marked, mask.trueCount))
        }
    }

    /// A few of the marked numbers, copied alone.
    private func checkCopies(
        _ cursor: ArrowColumnCursor<PlanRow>, _ mask: ArrowList, _ values: ArrowList, _ marked: [Float]
    ) {
        for wanted in [
            0..<marked.count, marked.count / 3..<marked.count * 2 / 3,
            marked.count / 2..<min(marked.count, marked.count / 2 + 1),
        ] {
            var copied = [Float](repeating: .nan, count: marked.count + 1), count = 0
            mask.places(ofTrues: wanted) { places in
                copied.withUnsafeMutableBufferPointer { cursor.copy(values, places, into: $0.baseAddress! + count) }
                count += places.count
            }
            #expect(Array(copied[..<count]) == Array(marked[wanted]))
        }
    }

    /// Masks of all kinds of lengths and beginnings, in one run, in several and in none.
    @Test(arguments: [ArrowCompression.none, .zstd(level: 1)]) func columnsAreLookedAtAsTheyAreRead(
        _ compression: ArrowCompression
    ) throws {
        var generator = SplitMix(seed: 8)
        let folder = try TemporaryDirectory()
        let rows = (0..<400).map { index in
            var row = PlanRow()
            let length = Int(generator.next() % 300), start = Int(generator.next() % 300),
                end = start + Int(generator.next() % 200)
            row.rolloutID = "r\(index)"
            row.lossMask = (0..<length).map { t in
                index % 4 == 0
                    ? generator.next() % 3 > 0
                    : index % 4 == 1 ? t >= start : index % 4 == 2 ? (start..<end).contains(t) : t / 64 % 2 == 0
            }
            row.advantages = (0..<length).map { _ in Float(generator.next() % 1000) }
            row.referenceLogprobs = index % 3 == 0 ? row.advantages : nil
            return row
        }
        try write(rows, folder("a.arrow"), compression)
        try lookAtColumns(folder("a.arrow")) { index, view, found in
            let row = rows[index], marked = row.lossMask.indices.filter { row.lossMask[$0] }.map { row.advantages[$0] }
            #expect(found?.marked == marked && found?.count == marked.count, "row \(index)")
            #expect(
                view.text(2) == row.rolloutID && view.hasText(of: view, 2)
                    && view.isPresent(3) == (row.referenceLogprobs != nil))
        }
    }

    /// Written by pyarrow: four rows sliced out of a plan, with a list of structs before our columns and a dictionary
    /// behind.
    @Test(arguments: ["plain", "zstd"]) func filesOfPyarrowAreReadPastColumnsOfOtherTypesAndWithoutNullableOnes(
        _ kind: String
    ) throws {
        let rows = try ArrowTableReader(path: fixture("arrow/pyarrow-\(kind).arrow"), table: Tables.plan).rows()
        #expect(rows.map(\.rolloutID) == ["add-21-0000-05", "add-21-0000-06", "add-21-0000-07", "add-21-0001-00"])
        #expect(
            rows.allSatisfy {
                $0.tokenIDs.count == $0.lossMask.count && $0.tokenIDs.first == 17 && $0.referenceLogprobs == nil
            })
    }

    @Test func lz4IsRefusedByName() throws {
        let error = #expect(throws: FormatError.self) {
            _ = try ArrowTableReader(path: fixture("arrow/pyarrow-lz4.arrow"), table: Tables.plan).rows()
        }
        #expect(error?.found == "LZ4-compressed buffers")
    }
}
