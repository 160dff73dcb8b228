import Formats
import Foundation
import StageSupport

/// One shard's outcome, remembered until the manifest is written.
struct ShardRecord: Codable, Sendable {
    struct Rejection: Codable, Sendable {
        var frameIndex: Int
        var frameOffset: Int
        var rolloutID: String?
        var reason: String
        var detail: String
    }
    var rolloutIDs: [String] = []
    var trainableTokens = 0
    var evidence: [String] = []
    var rejections: [Rejection] = []
}

/// Runs the shards, then — whichever task comes last — finishes the directory.
struct IngestRun {
    let directory: StageDirectory
    let shards: [String]
    let logits: LogitsMode
    let context: StageContext

    private var names: [String] { shards.indices.map { String(format: "rollouts-%05d.arrow", $0) } }

    func run() throws -> StageSummary {
        let work = WorkList<ShardRecord>(directory, outputs: names)
        let progress = ProgressLine(context, total: shards.count, unit: "shards")
        let failures = try work.run(context) { index, output in
            defer { progress.advance() }
            return try ingestShard(index, output: output)
        }
        guard failures.isEmpty else {
            return StageSummary(status: .someShardsFailed, ["output": directory.path, "failed_shards": failures.map(\.file)])
        }
        return try directory.exclusively { try finish(work) }
    }

    private func finish(_ work: WorkList<ShardRecord>) throws -> StageSummary {
        if let manifest = try Manifest.read(directory.path) { return summary(manifest) }
        guard var records = work.allRecords() else {
            return StageSummary(["output": directory.path, "waiting_for_other_tasks": true])
        }
        try removeDuplicatesAcrossShards(&records)
        let rejected = rejectedRows(records)
        try checkAmounts(records, rejected)
        var table = try ArrowTableWriter(path: directory.file("rejected.arrow"), table: Tables.rejected, metadata: directory.tableMetadata())
        for row in rejected { try table.append(row) }
        try table.finish()
        let manifest = try directory.finish(outputs: try outputs(records, rejected: rejected.count), counts: counts(records, rejected))
        report(manifest, rejected)
        return summary(manifest)
    }

    // MARK: one shard

    private func ingestShard(_ index: Int, output: String) throws -> ShardRecord {
        let shard = try RolloutShard(path: shards[index])
        try requireFrames(shard)
        let outcomes = try parallelMap(shard.entries.count, threads: context.threads) { examine(shard, entry: $0) }
        var record = ShardRecord(), seen = Set<String>(), rows: [RolloutRow] = []
        for (entry, outcome) in outcomes.enumerated() {
            switch outcome {
            case .accepted(let row) where !seen.insert(row.rolloutID).inserted:
                let (span, _) = location(shard.entries[entry])
                record.rejections.append(.init(
                    frameIndex: entry, frameOffset: span.offset, rolloutID: row.rolloutID, reason: "duplicate_rollout_id",
                    detail: "found '\(row.rolloutID)' a second time in this shard, expected each id once"))
            case .accepted(let row): rows.append(row)
            case .rejected(let rejection): record.rejections.append(rejection)
            }
        }
        try place(&rows, shard: shard, index: index)
        try write(rows, to: output)
        record.rolloutIDs = rows.map(\.rolloutID)
        record.trainableTokens = rows.reduce(0) { $0 + $1.lossMask.count { $0 } }
        record.evidence = Set(rows.map(\.evidence)).sorted()
        return record
    }

    private func requireFrames(_ shard: RolloutShard) throws {
        guard !shard.file.bytes.isEmpty, Array(shard.file.bytes.prefix(4)) != [0x28, 0xb5, 0x2f, 0xfd] else { return }
        let frames = shard.entries.contains { if case .frame = $0 { true } else { false } }
        guard !frames, !shard.entries.isEmpty else { return }
        throw FormatError(
            file: shard.file.path, place: "", found: "no zstd frame", expected: "concatenated zstd frames, one rollout each",
            remedy: "Check that this is a rollout shard.")
    }

    private enum Outcome: Sendable {
        case accepted(RolloutRow)
        case rejected(ShardRecord.Rejection)
    }

    private func location(_ entry: ShardEntry) -> (FrameSpan, brokenBecause: String?) {
        switch entry {
        case .frame(let span): (span, nil)
        case .broken(let span, let reason): (span, reason)
        }
    }

    private func examine(_ shard: RolloutShard, entry index: Int) -> Outcome {
        let (span, broken) = location(shard.entries[index])
        func reject(_ id: String?, _ reason: String, _ detail: String) -> Outcome {
            .rejected(.init(frameIndex: index, frameOffset: span.offset, rolloutID: id, reason: reason, detail: detail))
        }
        if let broken {
            return reject(nil, broken, "found bytes \(span.offset)..<\(span.offset + span.length) that are no whole zstd frame, expected one")
        }
        do {
            let place = "frame \(index) at byte \(span.offset)"
            let stream = try FrameStream(shard.compressed(span), file: shard.file.path, place: place)
            var check = LogitsCheck()
            let frame = try RolloutFrameReader.read(stream, file: shard.file.path, place: place) { try check.see($0, $1, $2) }
            return .accepted(try RolloutValidation(frame, span: span, keepLogits: logits != .drop).row())
        } catch let error as FrameError {
            return reject(nil, error.kind.rawValue, "found \(error.format.found), expected \(error.format.expected)")
        } catch let error as Rejection {
            return reject(error.rolloutID, error.reason, error.detail)
        } catch { return reject(nil, "unreadable_frame", "\(error)") }
    }

    /// Fills in where each row's frame lies: in the shard, or in the copy made here.
    private func place(_ rows: inout [RolloutRow], shard: RolloutShard, index: Int) throws {
        guard logits == .copy else {
            for row in rows.indices where rows[row].logitsLength > 0 { rows[row].logitsPath = absolutePath(shard.file.path) }
            return
        }
        let name = String(format: "logits-%05d.rollouts.zst", index)
        let copy = try AtomicFile(directory.file(name))
        for row in rows.indices where rows[row].logitsLength > 0 {
            let frame = shard.compressed(FrameSpan(offset: Int(rows[row].logitsOffset), length: Int(rows[row].logitsLength)))
            rows[row].logitsPath = name
            rows[row].logitsOffset = Int64(copy.position)
            try copy.write(frame)
        }
        try copy.commit()
    }

    private func write(_ rows: [RolloutRow], to output: String) throws {
        let metadata = directory.tableMetadata(evidence: Set(rows.map(\.evidence)).sorted())
        var table = try ArrowTableWriter(path: output, table: Tables.rollouts, metadata: metadata)
        for row in rows { try table.append(row) }
        try table.finish()
    }

    // MARK: all shards

    /// The first shard in order keeps an id; later rows with it move to the rejected, and their table is written again.
    /// (A kill in between is harmless: the changed table no longer matches its marker, so that shard is redone.)
    private func removeDuplicatesAcrossShards(_ records: inout [ShardRecord]) throws {
        var owner: [String: Int] = [:]
        for index in records.indices {
            let doubled = Set(records[index].rolloutIDs.filter { owner[$0] != nil })
            for id in records[index].rolloutIDs where owner[id] == nil { owner[id] = index }
            guard !doubled.isEmpty else { continue }
            let rows = try ArrowTableReader(path: directory.file(names[index]), table: Tables.rollouts).rows()
            try write(rows.filter { !doubled.contains($0.rolloutID) }, to: directory.file(names[index]))
            for row in rows where doubled.contains(row.rolloutID) {
                records[index].rejections.append(.init(
                    frameIndex: -1, frameOffset: Int(row.logitsOffset), rolloutID: row.rolloutID, reason: "duplicate_rollout_id",
                    detail: "found '\(row.rolloutID)' again after \(shards[owner[row.rolloutID] ?? 0]), expected each id once in the dump"))
            }
            records[index].rolloutIDs.removeAll { doubled.contains($0) }
            records[index].trainableTokens -= rows.filter { doubled.contains($0.rolloutID) }.reduce(0) { $0 + $1.lossMask.count { $0 } }
        }
    }

    private func rejectedRows(_ records: [ShardRecord]) -> [RejectedRow] {
        zip(shards, records).flatMap { shard, record in
            record.rejections.map { rejection in
                var row = RejectedRow()
                row.shard = (shard as NSString).lastPathComponent
                row.frameIndex = Int64(rejection.frameIndex)
                row.frameOffset = Int64(rejection.frameOffset)
                row.rolloutID = rejection.rolloutID
                row.reason = rejection.reason
                row.detail = rejection.detail
                return row
            }
        }
    }

    private func checkAmounts(_ records: [ShardRecord], _ rejected: [RejectedRow]) throws {
        let first = rejected.prefix(3).map { "\($0.shard) at byte \($0.frameOffset): \($0.reason): \($0.detail)" }.joined(separator: "; ")
        guard records.contains(where: { !$0.rolloutIDs.isEmpty }) else {
            throw StageError(
                .invalidInput,
                "\(shards.joined(separator: ", ")): found no valid rollout\(rejected.isEmpty ? "" : " (\(rejected.count) rejected: \(first))"), expected at least one")
        }
        if let limit = context.options.maxRejected, rejected.count > limit {
            throw StageError(.invalidInput, "found \(rejected.count) rejected rollouts, expected at most --max-rejected \(limit). First: \(first)")
        }
    }

    private func outputs(_ records: [ShardRecord], rejected: Int) throws -> [Manifest.File] {
        var files = try zip(names, records).map { try Manifest.describe($0, in: directory.path, rows: $1.rolloutIDs.count) }
        if logits == .copy {
            files += try shards.indices.map { try Manifest.describe(String(format: "logits-%05d.rollouts.zst", $0), in: directory.path) }
        }
        return files + [try Manifest.describe("rejected.arrow", in: directory.path, rows: rejected)]
    }

    private func counts(_ records: [ShardRecord], _ rejected: [RejectedRow]) -> [String: Int] {
        var counts = [
            "rollouts": records.reduce(0) { $0 + $1.rolloutIDs.count }, "rejected": rejected.count,
            "trainable_tokens": records.reduce(0) { $0 + $1.trainableTokens },
        ]
        for row in rejected { counts["rejected_\(row.reason)", default: 0] += 1 }
        return counts
    }

    private func report(_ manifest: Manifest, _ rejected: [RejectedRow]) {
        let counts = manifest.counts
        context.say("\(counts["rollouts"] ?? 0) rollouts, \(counts["trainable_tokens"] ?? 0) trainable tokens from \(shards.count) shards")
        guard !rejected.isEmpty else { return }
        context.warn("\(rejected.count) rejected (see \(directory.file("rejected.arrow"))):")
        for row in rejected.prefix(5) { context.warn("  \(row.shard) at byte \(row.frameOffset): \(row.reason): \(row.detail)") }
    }

    private func summary(_ manifest: Manifest) -> StageSummary { StageSummary(["output": directory.path, "counts": manifest.counts]) }
}
