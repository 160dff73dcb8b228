import Arrow
import Files
import Formats
import Foundation
import StageSupport
import TestSupport
import Testing

/// Files with a few bytes changed, thousands of times over: reading one ends in values or in an error that names the
/// file, never in a trap, a hang or memory without bound. The seeds are fixed; a trap ends the whole test run.
@Suite struct MutationTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    /// Changes bytes: single ones, words that lengths and offsets are made of, cuts, and chunks that stand twice.
    private struct Mutator {
        var random: SplitMix
        private static let words: [Int64] = [
            0, 1, 2, -1, 8, 255, 65535, Int64(Int32.max), Int64(Int32.min), Int64.max, Int64.min, 1 << 40, 1 << 56,
            Int64.max - 127, 4_294_967_295, 1 << 24,
        ]

        init(seed: UInt64) { random = SplitMix(seed: seed) }

        private mutating func below(_ limit: Int) -> Int { Int(random.next() % UInt64(max(1, limit))) }

        /// `hot`: where sizes and places are kept; most changes are made there.
        mutating func changed(_ whole: [UInt8], hot: [Range<Int>]) -> [UInt8] {
            var bytes = whole
            let range = below(10) < 8 ? hot[below(hot.count)].clamped(to: bytes.indices) : bytes.indices
            for _ in 0...below(3) {
                let place = range.lowerBound + below(range.count)
                switch below(8) {
                case 0: return Array(bytes.prefix(place))
                case 1, 2, 3: bytes[place] = UInt8(truncatingIfNeeded: random.next())
                case 4, 5, 6:
                    let size = below(2) == 0 ? 4 : 8, word = Self.words[below(Self.words.count)],
                        start = place / size * size
                    withUnsafeBytes(of: word.littleEndian) { source in
                        for (index, byte) in source.prefix(size).enumerated() where start + index < bytes.count {
                            bytes[start + index] = byte
                        }
                    }
                default:
                    let other = range.lowerBound + below(range.count), length = below(64)
                    for index in 0..<length where place + index < bytes.count && other + index < bytes.count {
                        bytes[place + index] = bytes[other + index]
                    }
                }
            }
            return bytes
        }
    }

    // MARK: tables

    private func write<Row>(_ rows: [Row], _ table: Table<Row>, _ compression: ArrowCompression) throws -> [UInt8] {
        var writer = try ArrowTableWriter(
            path: folder("whole.arrow"), table: table, metadata: ["crux.stage": "test"], compression: compression)
        for row in rows { try writer.append(row) }
        try writer.finish()
        return try readBytes(folder("whole.arrow"))
    }

    private func mutate<Row>(_ rows: [Row], _ table: Table<Row>, seed: UInt64, rounds: Int) throws {
        for compression in [ArrowCompression.none, .zstd(level: 1)] {
            let whole = try write(rows, table, compression)
            // The footer, and the messages of schema and batch, which the file begins with.
            let hot = [max(0, whole.count - 2500)..<whole.count, 0..<min(whole.count, 4500)]
            var mutator = Mutator(seed: seed)
            for _ in 0..<rounds {
                try writeBytes(mutator.changed(whole, hot: hot), to: folder("changed.arrow"))
                do {
                    let reader = try ArrowTableReader(path: folder("changed.arrow"), table: table)
                    _ = try reader.rows()
                    let cursor = ArrowColumnCursor(reader, table.columns.map { .values($0.name) })
                    for row in 0..<min(reader.rowCount, 64) { _ = try cursor.row(row).isPresent(0) }
                } catch let error as FormatError { #expect(error.file == folder("changed.arrow")) }
            }
        }
    }

    private func rollouts() -> [RolloutRow] {
        (0..<12).map { index in
            var row = RolloutRow()
            (row.rolloutID, row.groupID, row.prompt, row.completion) = (
                "r\(index)", "g\(index / 4)", "2+2=", "four \(index)"
            )
            row.tokenIDs = (0..<index + 2).map { Int32($0) }
            row.lossMask = row.tokenIDs.map { $0 > 0 }
            row.rolloutLogprobs = index % 3 == 0 ? nil : row.tokenIDs.map { -Float($0) }
            row.givenReward = index % 2 == 0 ? 1 : nil
            return row
        }
    }

    @Test func tablesOfRollouts() throws { try mutate(rollouts(), Tables.rollouts, seed: 21, rounds: 250) }

    @Test func tablesOfScores() throws {
        let rows = rollouts().map { rollout in
            var row = ScoreRow()
            (row.rolloutID, row.reward, row.correct, row.evidence) = (rollout.rolloutID, 1, true, "logits")
            row.setVerdict(.correct)
            row.entropy = rollout.tokenIDs.map { Float($0) / 8 }
            row.oldLogprobs = rollout.rolloutLogprobs
            return row
        }
        try mutate(rows, Tables.scores.adding(Tables.topK), seed: 22, rounds: 200)
    }

    @Test func tablesOfPlans() throws {
        let rows = rollouts().map { rollout in
            var row = PlanRow()
            (row.rolloutID, row.groupID, row.tokenIDs, row.lossMask, row.entropyMask) = (
                rollout.rolloutID, rollout.groupID, rollout.tokenIDs, rollout.lossMask, rollout.lossMask
            )
            (row.advantages, row.tokenWeights, row.oldLogprobs) = (
                row.tokenIDs.map { Float($0) }, row.tokenIDs.map { Float($0) }, row.tokenIDs.map { -Float($0) }
            )
            return row
        }
        try mutate(rows, Tables.plan, seed: 23, rounds: 200)
    }

    @Test func tablesOfJobsAndBases() throws {
        let jobs = (0..<12).map { index in
            var job = JobRow()
            (job.jobID, job.customID, job.baseRolloutID, job.prefixLength, job.maxTokens) = (
                "j\(index)", "c\(index)", "r0", 1, 5
            )
            return job
        }
        try mutate(jobs, Tables.jobs, seed: 24, rounds: 100)
        let bases = rollouts().map { rollout in
            var base = BaseRow()
            (base.rollout, base.statePositions) = (rollout, [1, Int32(rollout.tokenIDs.count)])
            return base
        }
        try mutate(bases, Tables.bases, seed: 25, rounds: 100)
    }

    // MARK: shards and checkpoints

    private func readAll(_ path: String) throws {
        let shard = try RolloutShard(path: path)
        for entry in shard.entries {
            guard case .frame(let span) = entry else { continue }
            do {
                let stream = try FrameStream(span, in: shard.file, place: "")
                _ = try RolloutFrameReader.read(stream, file: path, place: "", memory: PlaneMemory(limit: 1 << 16)) {
                    #expect($0.info.rows > $0.index)
                }
            } catch let error as FrameError { #expect(error.format.file == path) }
        }
    }

    @Test func shards() throws {
        var rollout = TinyRollout()
        (rollout.frame.topk, rollout.frame.topkTokenIDs, rollout.frame.topkLogprobs) = (
            2, [1, 2, 3, 4, 5, 6], [-1, -2, -1, -2, -1, -2]
        )
        let blob = try rollout.blob(), json = 8..<8 + Int(blob[0]) + Int(blob[1]) << 8
        var mutator = Mutator(seed: 26)
        for round in 0..<400 {
            try writeShard(blobs: [mutator.changed(blob, hot: [0..<8, json]), blob], to: folder("x.zst"))
            // What is compressed, or what is made of it.
            if round % 3 == 0 {
                let bytes = try readBytes(folder("x.zst"))
                try writeBytes(mutator.changed(bytes, hot: [0..<24]), to: folder("x.zst"))
            }
            try readAll(folder("x.zst"))
        }
    }

    /// Numbers of a header in place of others, which single bytes seldom make.
    @Test func numbersOfSafetensorsHeaders() throws {
        let header =
            #"{"__metadata__":{"rollout_id":"r"},"token_ids":{"dtype":"I32","shape":[@],"data_offsets":[@,@]},"loss_mask":{"dtype":"U8","shape":[@],"#
            + #""data_offsets":[@,@]},"logits":{"dtype":"BF16","shape":[@,@],"data_offsets":[@,@]}}"#
        let numbers = [
            "0", "1", "2", "8", "16", "9223372036854775807", "9223372036854775679", "4611686018427387904", "1e18", "-1",
            "18446744073709551616", "72057594037927936",
            "00", "65536",
        ]
        var random = SplitMix(seed: 27)
        for _ in 0..<700 {
            let json = header.split(separator: "@", omittingEmptySubsequences: false).reduce("") { text, part in
                text.isEmpty ? String(part) : text + numbers[Int(random.next() % UInt64(numbers.count))] + part
            }
            let blob =
                withUnsafeBytes(of: UInt64(json.utf8.count).littleEndian) { Array($0) } + Array(json.utf8)
                + [UInt8](repeating: 1, count: 24)
            try writeShard(blobs: [blob], to: folder("x.zst"))
            try readAll(folder("x.zst"))
            try writeBytes(blob, to: folder("x.safetensors"))
            do {
                _ = try SafetensorsFile(path: folder("x.safetensors")).header.tensors.map(\.elementCount)
            } catch is FormatError {}
        }
    }

    @Test func checkpointFiles() throws {
        let whole = Array(try readBytes(fixture("policy/model.safetensors")).prefix(4000)),
            json = 8..<8 + Int(whole[0]) + Int(whole[1]) << 8
        var mutator = Mutator(seed: 28)
        for _ in 0..<500 {
            try writeBytes(mutator.changed(whole, hot: [0..<8, json]), to: folder("x.safetensors"))
            do {
                let file = try SafetensorsFile(path: folder("x.safetensors"))
                for tensor in file.header.tensors { _ = file.bytes(of: tensor).count }
            } catch is FormatError {}
        }
    }

    // MARK: manifests

    @Test func manifests() throws {
        var manifest = Manifest(
            stage: "ingest", configuration: ["format": "auto"],
            inputs: [Manifest.File(path: "a", bytes: 3, sha256: "00")])
        (manifest.outputs, manifest.counts) = (
            [Manifest.File(path: "rollouts-00000.arrow", bytes: 12, sha256: "ff", rows: 2)], ["rollouts": 2]
        )
        let whole = Array(try manifest.encoded().utf8)
        var mutator = Mutator(seed: 29)
        for _ in 0..<700 {
            try writeBytes(mutator.changed(whole, hot: [whole.indices]), to: folder("manifest.json"))
            do { _ = try Manifest.read(folder.path) } catch is FormatError {}
        }
    }
}
