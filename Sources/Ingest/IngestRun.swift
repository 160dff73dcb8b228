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
    /// The shard as it was when this was made from it.
    var input: Manifest.File
    var rolloutIDs: [String] = []
    /// For each of them, its frame's or line's number and first byte in the input.
    var numbers: [Int] = []
    var offsets: [Int] = []
    /// Frames that were laid down in the output for score.
    var frames: WrittenFile?
    var trainableTokens = 0
    /// Widths of the logits seen.
    var vocabularies: Set<Int> = []
    var prompts = GroupPrompts()
    var rejections: [Rejection] = []
}

/// Runs the shards, then — whichever task comes last — finishes the directory.
struct IngestRun {
    let directory: StageDirectory
    let shards: [String]
    let logits: LogitsMode
    /// Opens a file of the input.
    let open: (String) throws -> any RolloutSource
    let context: StageContext

    /// The shards; behind them the plan has what goes with all of them.
    private var inputs: [Manifest.File] { Array(directory.plan.inputs.prefix(shards.count)) }
    private var names: [String] { shards.indices.map { String(format: "rollouts-%05d.arrow", $0) } }
    private func copyName(_ index: Int) -> String { String(format: "logits-%05d.rollouts.zst", index) }

    func run() throws -> StageSummary {
        let work = WorkList<ShardRecord>(directory, outputs: names)
        let progress = ProgressLine(context, total: shards.count, unit: "shards")
        let failures = try work.run(context, isCurrent: { $1.input == inputs[$0] }) { index, output in
            defer { progress.advance() }
            return try ingestShard(index, output: output)
        }
        guard failures.isEmpty else { return try failed(failures) }
        return try directory.exclusively(context) { try finish(work) }
    }

    private func failed(_ failures: [FormatError]) throws -> StageSummary {
        if failures.count == shards.count {
            throw StageError(.invalidInput, "no shard could be read; the first: \(failures[0])")
        }
        return StageSummary(status: .someShardsFailed, ["output": directory.path, "failed_shards": failures.map(\.file)])
    }

    private func finish(_ work: WorkList<ShardRecord>) throws -> StageSummary {
        if let manifest = try Manifest.read(directory.path) { return summary(manifest) }
        guard let pieces = try work.all() else {
            return StageSummary(["output": directory.path, "waiting_for_other_tasks": true])
        }
        var records = pieces.map(\.record), tables = pieces.map(\.file)
        try removeDuplicatesAcrossShards(&records, &tables)
        try removeOtherPrompts(&records, &tables)
        let rejected = rejectedRows(records)
        let rest = try writeRejected(rejected, inputs: records.map(\.input))
        try checkAmounts(records, rejected)
        let frames = records.indices.compactMap { index in records[index].frames.map { Manifest.File(copyName(index), $0) } }
        let manifest = try directory.finish(
            inputs: records.map(\.input) + directory.plan.inputs.dropFirst(shards.count), outputs: tables + frames + [rest],
            counts: counts(records, rejected))
        report(manifest, rejected)
        return summary(manifest)
    }

    private func writeRejected(_ rows: [RejectedRow], inputs: [Manifest.File]) throws -> Manifest.File {
        let name = "rejected.arrow", metadata = directory.tableMetadata(inputs: inputs)
        var table = try ArrowTableWriter(path: try directory.writing(name), table: Tables.rejected, metadata: metadata)
        for row in rows { try table.append(row) }
        return Manifest.File(name, try table.finish())
    }

    // MARK: one shard

    /// Frames are decoded by several threads and taken in their order, a few ahead at most: memory depends neither on the
    /// shard's length nor on its logits.
    private func ingestShard(_ index: Int, output: String) throws -> (ShardRecord, WrittenFile) {
        let source = try open(shards[index])
        var record = ShardRecord(input: inputs[index]), seen = Set<String>()
        var table = GradedTableWriter(table(of: index, path: output))
        var place = try source.framePlace(try directory.writing(copyName(index)), copies: logits == .copy)
        try parallelInOrder(source.count, threads: context.threads, produce: { try source.examine($0) }) { entry, outcomes in
            let (number, offset) = source.position(of: entry)
            for outcome in outcomes {
                switch outcome {
                case .accepted(let row, _, _) where !seen.insert(row.rolloutID).inserted:
                    record.rejections.append(duplicate(row.rolloutID, number, offset, "a second time in this shard, expected each id once"))
                case .accepted(var row, let vocabulary, let frame):
                    if let detail = record.prompts.conflict(row) {
                        record.rejections.append(GroupPrompts.rejection(row.rolloutID, number, offset, detail))
                        continue
                    }
                    if let vocabulary { record.vocabularies.insert(vocabulary) }
                    try place.fill(&row, frame: frame)
                    try table.append(row)
                    record.rolloutIDs.append(row.rolloutID)
                    record.numbers.append(number)
                    record.offsets.append(offset)
                    record.trainableTokens += row.lossMask.count { $0 }
                case .rejected(let rejection): record.rejections.append(rejection)
                }
            }
        }
        record.frames = try place.finish()
        return (record, try table.finish())
    }

    private func table(of index: Int, path: String) -> GradedTable<RolloutRow> {
        GradedTable(path: path, table: Tables.rollouts, grade: \.evidence) { directory.tableMetadata(inputs: [inputs[index]], evidence: $0.sorted()) }
    }

    private func duplicate(_ id: String, _ number: Int, _ offset: Int, _ where_: String) -> ShardRecord.Rejection {
        .init(frameIndex: number, frameOffset: offset, rolloutID: id, reason: "duplicate_rollout_id", detail: "found '\(id)' \(where_)")
    }

    // MARK: all shards

    /// The first shard in order keeps an id; later rows with it move to the rejected, and their table is written again.
    /// (A kill in between is harmless: the changed table no longer matches its marker, so that shard is redone.)
    private func removeDuplicatesAcrossShards(_ records: inout [ShardRecord], _ tables: inout [Manifest.File]) throws {
        var owner: [String: Int] = [:]
        for index in records.indices {
            let doubled = Set(records[index].rolloutIDs.filter { owner[$0] != nil })
            for id in records[index].rolloutIDs where owner[id] == nil { owner[id] = index }
            guard !doubled.isEmpty else { continue }
            tables[index] = try move(doubled, of: index, to: &records[index]) { id, number, offset in
                duplicate(id, number, offset, "again after \(shards[owner[id] ?? 0]), expected each id once in the dump")
            }
        }
    }

    /// The first shard in order that has a group says what its prompt is; rollouts of later ones with another prompt move.
    private func removeOtherPrompts(_ records: inout [ShardRecord], _ tables: inout [Manifest.File]) throws {
        var first = GroupPrompts()
        for index in records.indices {
            let groups = records[index].prompts.others(than: first)
            if !groups.isEmpty {
                var details: [String: String] = [:]
                try ArrowTableReader(path: directory.file(names[index]), table: Tables.rollouts).forEachRow { row in
                    guard groups.contains(row.groupID), row.jobID == nil else { return }
                    details[row.rolloutID] = first.conflict(row)
                }
                tables[index] = try move(Set(details.keys), of: index, to: &records[index]) {
                    GroupPrompts.rejection($0, $1, $2, details[$0] ?? "")
                }
            }
            first.merge(records[index].prompts)
        }
    }

    /// Rows of a finished table to the rejected; the table as it is then.
    private func move(
        _ doubled: Set<String>, of index: Int, to record: inout ShardRecord,
        _ rejection: (String, Int, Int) -> ShardRecord.Rejection
    ) throws -> Manifest.File {
        let path = directory.file(names[index]), kept = record.rolloutIDs.indices.filter { !doubled.contains(record.rolloutIDs[$0]) }
        for (row, id) in record.rolloutIDs.enumerated() where doubled.contains(id) {
            record.rejections.append(rejection(id, record.numbers[row], record.offsets[row]))
        }
        record.rejections.sort { $0.frameIndex < $1.frameIndex }
        let written = try table(of: index, path: path).rewrite { !doubled.contains($0.rolloutID) }
        (record.rolloutIDs, record.numbers, record.offsets) = (kept.map { record.rolloutIDs[$0] }, kept.map { record.numbers[$0] }, kept.map { record.offsets[$0] })
        record.trainableTokens = 0
        try ArrowTableReader(path: path, table: Tables.rollouts).forEachRow { record.trainableTokens += $0.lossMask.count { $0 } }
        return Manifest.File(names[index], written)
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

    private func counts(_ records: [ShardRecord], _ rejected: [RejectedRow]) -> [String: Int] {
        var counts = [
            "rollouts": records.reduce(0) { $0 + $1.rolloutIDs.count }, "rejected": rejected.count,
            "trainable_tokens": records.reduce(0) { $0 + $1.trainableTokens },
        ]
        for row in rejected { counts["rejected_\(row.reason)", default: 0] += 1 }
        // What later stages hold a checkpoint against.
        let vocabularies = records.reduce(into: Set<Int>()) { $0.formUnion($1.vocabularies) }
        if let vocabulary = vocabularies.first, vocabularies.count == 1 { counts["vocabulary"] = vocabulary }
        return counts
    }

    private func report(_ manifest: Manifest, _ rejected: [RejectedRow]) {
        let counts = manifest.counts
        context.say(
            "\(counts["rollouts"] ?? 0) rollouts, \(counts["trainable_tokens"] ?? 0) trainable tokens from \(shards.count) shards",
            counts.merging(["shards": shards.count]) { $1 })
        guard !rejected.isEmpty else { return }
        context.warn("\(rejected.count) rejected (see \(directory.file("rejected.arrow"))):", ["rejected": rejected.count])
        for row in rejected.prefix(5) {
            context.warn(
                "  \(row.shard) at byte \(row.frameOffset): \(row.reason): \(row.detail)",
                ["shard": row.shard, "frame_index": Int(row.frameIndex), "frame_offset": Int(row.frameOffset), "reason": row.reason, "detail": row.detail])
        }
    }

    private func summary(_ manifest: Manifest) -> StageSummary { StageSummary(["output": directory.path, "counts": manifest.counts]) }
}
