import Arrow
import Formats
import Foundation
import MetricFiles
import TestSupport
import Testing

@Suite struct MetricFilesTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    /// RFC 3720, appendix B.4, and the check value that catalogues of such codes give.
    @Test(
        arguments: [
            ([UInt8](repeating: 0, count: 32), 0x8a91_36aa), ([UInt8](repeating: 0xff, count: 32), 0x62a8_ab43),
            (Array(0..<32), 0x46dd_794e), (Array((0..<32).reversed()), 0x113f_db5c),
            (Array("123456789".utf8), 0xe306_9283),
        ] as [([UInt8], UInt32)])
    func checksumsAreThoseOfTheStandard(_ bytes: [UInt8], _ checksum: UInt32) {
        #expect(CRC32C.of(bytes) == checksum)
    }

    private struct Row {
        var step: Int32 = 0
        var loss = 0.0
        var margin: Double?
    }

    private static let table = Table<Row>(
        name: "example", documentation: "",
        columns: [.int32("step", \.step, ""), .float64("loss", \.loss, ""), .float64("margin", \.margin, "")],
        make: { Row() }, weight: { _ in 1 }, writer: "")

    private func series(_ rows: [Row]) -> MetricSeries {
        MetricSeries(Self.table, rows, group: "update") { _ in 1.5 }
    }

    private func written(_ form: MetricForm, _ rows: [Row]) throws -> [UInt8] {
        try form.write(series(rows), to: folder(form.fileName))
        return try readBytes(folder(form.fileName))
    }

    /// What tensorboard's own RecordWriter makes of the same two events (2.20).
    @Test func anEventFileHasTheBytesThatTensorBoardWrites() throws {
        let header = "0f000000000000006d532b091a0d627261696e2e4576656e743a32fc985129"
        let found = try written(.tensorboard, [Row(step: 300, loss: 0.25)]).map { String(format: "%02x", $0) }.joined()
        #expect(found.hasPrefix(header))
        // Step and loss; the margin is null, and no event has it.
        let fields =
            "09000000000000f83f" + "10ac02" + "2a28" + "0a120a0b7570646174652f737465701500009643"
            + "0a120a0b7570646174652f6c6f7373150000803e"
        #expect(found.contains(fields) && !found.contains(hex("margin")))
    }

    private func hex(_ text: String) -> String { text.utf8.map { String(format: "%02x", $0) }.joined() }

    @Test func linesAreJSONAndKeepNumbersToTheLastBit() throws {
        let rows = [Row(step: 1, loss: 0.1 + 0.2, margin: 1e-300), Row(step: 2, loss: .nan, margin: -.infinity)]
        let text = String(decoding: try written(.jsonl, rows), as: UTF8.self)
        let lines = text.split(separator: "\n")
        #expect(lines[0] == #"{"step": 1, "loss": 0.30000000000000004, "margin": 1e-300}"#)
        #expect(lines[1] == #"{"step": 2, "loss": null, "margin": null}"#)
        for line in lines { _ = try JSONSerialization.jsonObject(with: Data(line.utf8)) }
        #expect(series(rows).notFinite == 2)
    }

    /// Event files are read back record by record: lengths, both checksums, times and numbers.
    @Test func recordsFollowOneAnotherWithTheirChecksums() throws {
        let rows = (1...200).map { Row(step: Int32($0), loss: Double($0), margin: $0 % 2 == 0 ? 1 : nil) }
        var rest = try written(.tensorboard, rows)[...], sizes: [Int] = []
        while !rest.isEmpty {
            let length = Array(rest.prefix(8)), count = Int(length.reversed().reduce(0) { $0 << 8 | UInt64($1) })
            let data = Array(rest.dropFirst(12).prefix(count))
            #expect(Array(rest.prefix(16 + count)) == EventRecord.framed(data))
            sizes.append(count)
            rest = rest.dropFirst(16 + count)
        }
        #expect(sizes.count == 201)
        // A null margin takes no bytes; steps from 128 on take two.
        #expect(sizes[2] > sizes[1] && sizes[199] == sizes[1] + 1)
    }

    /// Whoever adds a column to a table of metrics adds it to both forms.
    @Test func everyColumnOfTheTablesOfMetricsIsANumber() {
        var row = MetricsRow()
        (row.rewardMargin, row.rewardAccuracy, row.valueError, row.targetDivergence) = (0, 0, 0, 0)
        (row.entropyCoef, row.entropyCoefApplied, row.staleRows) = (0, 0, 0)
        (row.expertImbalance, row.expertsIdle, row.expertsReplayed) = (1, 0, 0)
        let update = MetricSeries(Tables.metrics, [row], group: "update", seconds: \.seconds)
        #expect(update.names == Tables.metrics.columns.map(\.name) && !update.steps[0].values.contains(.null))
        let loop = MetricSeries(Tables.loop, [LoopRow()], group: "loop") { _ in 1 }
        #expect(loop.names.contains("heldout_accuracy") && loop.steps[0].values.contains(.null))
    }
}
