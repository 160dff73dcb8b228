import Arrow
import Files
import Formats
import Foundation
import Scratch
import StageSupport

/// Runs the shards, then — whichever task comes last — finishes the directory.
struct IngestRun {
    let directory: StageDirectory
    let shards: [String]
    let logits: LogitsMode
    /// Opens a file of the input, by its number.
    let open: (Int) throws -> any RolloutSource
    let labels: InputLabels
    let requests: RequestBook?
    let prompts: PromptBook?
    /// Whether score's measures are taken in the same pass.
    let measures: Bool
    let context: StageContext

    private static let missingName = "missing.jsonl"

    /// A shard as it is now: the plan has the shards first, but leaves the digests of large ones to their turn.
    private func input(_ index: Int) throws -> Manifest.File {
        let planned = directory.plan.inputs[index]
        guard planned.digest == nil, planned.bytes != nil else { return planned }
        return try .input("input", shards[index], MappedFile(path: shards[index]), threads: context.threads)
    }
    private var names: [String] { shards.indices.map { String(format: "rollouts-%05d.arrow", $0) } }
    private func copyName(_ index: Int) -> String { String(format: "logits-%05d.rollouts.zst", index) }
    private func measuresName(_ index: Int) -> String { String(format: "measures-%05d.arrow", index) }

    func run() throws -> StageSummary {
        let work = WorkList<ShardRecord>(directory, outputs: names)
        let progress = ProgressLine(context, total: shards.count, unit: "shards")
        let failures = try work.run(context, isCurrent: { $1.input == (try input($0)) }) { index, output in
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
        return StageSummary(
            status: .someShardsFailed, ["output": directory.path, "failed_shards": failures.map(\.file)])
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
        let frames = records.indices.compactMap { index in
            records[index].frames.map { Manifest.File(copyName(index), $0) }
        }
        let measured = records.indices.compactMap { index in
            records[index].measures.map { Manifest.File(measuresName(index), $0) }
        }
        let answers = requests?.answers(records.lazy.flatMap(\.requests))
        let missing = try answers.map { [try writeMissing($0)] } ?? []
        let manifest = try directory.finish(
            inputs: records.map(\.input) + directory.plan.inputs.dropFirst(shards.count),
            outputs: tables + frames + measured + [rest] + missing,
            counts: counts(records, rejected).merging(counts(answers)) { $1 })
        reportFruitless(records)
        report(manifest, rejected)
        return summary(manifest)
    }

    /// Shards that gave nothing, whatever the reason: an empty one, one that is none, one that is there twice.
    private func reportFruitless(_ records: [ShardRecord]) {
        for (index, record) in records.enumerated() where record.rolloutIDs.isEmpty {
            let why = record.rejections.first.map { "\($0.reason): \($0.detail)" } ?? "nothing in it"
            context.warn(
                "\(labels.name(index)): nothing of it is taken, \(record.rejections.count) rejected, the first: \(why)")
        }
    }

    private func writeMissing(_ answers: RequestBook.Answers) throws -> Manifest.File {
        let file = try AtomicFile(try directory.writing(Self.missingName), digests: true)
        try requests?.write(answers.missing, to: file)
        return Manifest.File(Self.missingName, try file.finish(), rows: answers.missing.count)
    }

    private func counts(_ answers: RequestBook.Answers?) -> [String: Int] {
        guard let requests, let answers else { return [:] }
        return [
            "requests": requests.requests.count, "missing": answers.missing.count, "incomplete": answers.incomplete,
        ]
    }

    private func writeRejected(_ rows: [RejectedRow], inputs: [Manifest.File]) throws -> Manifest.File {
        let name = "rejected.arrow", metadata = directory.tableMetadata(inputs: inputs)
        var table = try ArrowTableWriter(path: try directory.writing(name), table: Tables.rejected, metadata: metadata)
        for row in rows { try table.append(row) }
        return Manifest.File(name, try table.finish())
    }

    // MARK: one shard

    /// Frames are decoded by several threads and taken in their order, a few ahead at most: memory depends neither on
    /// the shard's length nor on its logits.
    private func ingestShard(_ index: Int, output: String) throws -> (ShardRecord, WrittenFile) {
        // Its digest first: what is opened then is what the digest is of.
        var record = ShardRecord(input: try input(index)), seen = Set<ByteText>()
        let source = try open(index)
        var table = EvidenceTableWriter(table(of: record.input, path: output))
        if let fault = source.fault {
            record.rejections.append(
                .init(frameIndex: 0, frameOffset: 0, rolloutID: nil, reason: fault.reason, detail: fault.detail))
            return (record, try table.finish())
        }
        var place = try source.framePlace(try directory.writing(copyName(index)), copies: logits == .copy)
        var queued = QueuedRows(), answers = prompts.map { PromptPlaces($0) }
        var measured = measures ? try measuresTable(index, of: record.input) : nil
        try parallelInOrder(source.count, threads: context.threads, produce: { try source.examine($0) }) {
            entry, outcomes in
            let (number, offset) = source.position(of: entry)
            for var outcome in outcomes {
                if let name = outcome.nameQueued(&queued) {
                    record.isQueue = true
                    outcome.rename(name)
                }
                switch outcome {
                case .accepted(let found) where !seen.insert(ByteText(found.row.rolloutID)).inserted:
                    record.rejections.append(
                        duplicate(
                            found.row.rolloutID, number, offset, "a second time in this shard, expected each id once",
                            isQueue: record.isQueue))
                case .accepted(var found):
                    if let detail = record.prompts.conflict(found.row) {
                        record.rejections.append(GroupPrompts.rejection(found.row.rolloutID, number, offset, detail))
                        continue
                    }
                    answers?.fill(&found.row, &found.remarks)
                    try place.fill(&found.row, frame: found.frame)
                    try table.append(found.row)
                    if let measure = found.measure { try measured?.append(measure) }
                    record.add(found, number: number, offset: offset, keepsRequest: requests != nil)
                case .rejected(let rejection): record.rejections.append(rejection)
                }
            }
        }
        record.frames = try place.finish()
        record.measures = try measured?.finish()
        return (record, try table.finish())
    }

    private func measuresTable(_ index: Int, of input: Manifest.File) throws -> ArrowTableWriter<MeasureRow> {
        try ArrowTableWriter(
            path: try directory.writing(measuresName(index)), table: Tables.measures,
            metadata: directory.tableMetadata(inputs: [input]))
    }

    private func table(of input: Manifest.File, path: String) -> EvidenceTable<RolloutRow> {
        EvidenceTable(path: path, table: Tables.rollouts, evidenceOf: \.evidence) {
            directory.tableMetadata(inputs: [input], evidence: $0.sorted())
        }
    }

    private func duplicate(
        _ id: String, _ number: Int, _ offset: Int, _ where_: String, isQueue: Bool
    ) -> EntryRejection {
        .init(
            frameIndex: number, frameOffset: offset, rolloutID: id,
            reason: isQueue ? .repeatedRow : requests == nil ? .duplicateRolloutID : .duplicateResult,
            detail: "found '\(id)' \(where_)")
    }

    // MARK: all shards

    /// The first shard in order keeps an id; later rows with it move to the rejected, and their table is written again.
    /// (A kill in between is harmless: the changed table no longer matches its marker, so that shard is redone.)
    private func removeDuplicatesAcrossShards(_ records: inout [ShardRecord], _ tables: inout [Manifest.File]) throws {
        var owner: [ByteText: Int] = [:]
        for index in records.indices {
            let ids = records[index].rolloutIDs.map(ByteText.init), doubled = Set(ids.filter { owner[$0] != nil })
            for id in ids where owner[id] == nil { owner[id] = index }
            guard !doubled.isEmpty else { continue }
            let isQueue = records[index].isQueue
            tables[index] = try move(doubled, of: index, to: &records[index]) { id, number, offset in
                duplicate(
                    id.text, number, offset,
                    "again after \(labels.name(owner[id] ?? 0)), expected each id once in the dump", isQueue: isQueue)
            }
        }
    }

    /// The first shard in order that has a group says what its prompt is; rollouts of later ones with another prompt
    /// move.
    private func removeOtherPrompts(_ records: inout [ShardRecord], _ tables: inout [Manifest.File]) throws {
        var first = GroupPrompts()
        for index in records.indices {
            let groups = records[index].prompts.others(than: first)
            if !groups.isEmpty {
                var details: [ByteText: String] = [:]
                try ArrowTableReader(path: directory.file(names[index]), table: Tables.rollouts).forEachRow { row in
                    guard groups.contains(ByteText(row.groupID)), row.jobID == nil else { return }
                    details[ByteText(row.rolloutID)] = first.conflict(row)
                }
                tables[index] = try move(Set(details.keys), of: index, to: &records[index]) {
                    GroupPrompts.rejection($0.text, $1, $2, details[$0] ?? "")
                }
            }
            first.merge(records[index].prompts)
        }
    }

    /// Rows of a finished table to the rejected; the table as it is then.
    private func move(
        _ moved: Set<ByteText>, of index: Int, to record: inout ShardRecord,
        _ rejection: (ByteText, Int, Int) -> EntryRejection
    ) throws -> Manifest.File {
        let path = directory.file(names[index]), ids = record.rolloutIDs.map(ByteText.init)
        for (row, id) in ids.enumerated() where moved.contains(id) {
            record.rejections.append(rejection(id, record.numbers[row], record.offsets[row]))
        }
        record.rejections.sort { $0.frameIndex < $1.frameIndex }
        let written = try table(of: record.input, path: path).rewrite { !moved.contains(ByteText($0.rolloutID)) }
        record.keep(ids.indices.filter { !moved.contains(ids[$0]) })
        record.trainableTokens = 0
        try ArrowTableReader(path: path, table: Tables.rollouts).forEachRow {
            record.trainableTokens += $0.lossMask.count { $0 }
        }
        return Manifest.File(names[index], written)
    }

    private func rejectedRows(_ records: [ShardRecord]) -> [RejectedRow] {
        records.enumerated().flatMap { index, record in
            record.rejections.map {
                RejectedRow(
                    shard: labels.name(index), frameIndex: $0.frameIndex, frameOffset: $0.frameOffset,
                    rolloutID: $0.rolloutID, reason: $0.reason, detail: $0.detail)
            }
        }
    }

    private func checkAmounts(_ records: [ShardRecord], _ rejected: [RejectedRow]) throws {
        let first = rejected.prefix(3).map { "\($0.shard) at byte \($0.frameOffset): \($0.reason): \($0.detail)" }
            .joined(separator: "; ")
        guard records.contains(where: { !$0.rolloutIDs.isEmpty }) else {
            throw StageError(
                .invalidInput,
                "\(fewPaths(shards)): found no valid rollout\(rejected.isEmpty ? "" : " (\(rejected.count) rejected: \(first))"), expected at least one"
            )
        }
        if let limit = context.options.maxRejected, rejected.count > limit {
            throw StageError(
                .invalidInput,
                "found \(rejected.count) rejected rollouts, expected at most --max-rejected \(limit). First: \(first)")
        }
    }

    private func counts(_ records: [ShardRecord], _ rejected: [RejectedRow]) -> [String: Int] {
        var counts = [
            "rollouts": records.reduce(0) { $0 + $1.rolloutIDs.count }, "rejected": rejected.count,
            "trainable_tokens": records.reduce(0) { $0 + $1.trainableTokens },
        ]
        for row in rejected { counts["rejected_\(row.reason)", default: 0] += 1 }
        for record in records {
            counts.merge(record.remarks.map { ("remark_" + $0.key, $0.value) }, uniquingKeysWith: +)
        }
        // What later stages hold a checkpoint against.
        let vocabularies = records.reduce(into: Set<Int>()) { $0.formUnion($1.vocabularies) }
        if let vocabulary = vocabularies.first, vocabularies.count == 1 { counts["vocabulary"] = vocabulary }
        if measures { counts["measured"] = records.reduce(0) { $0 + ($1.measured ?? 0) } }
        return counts
    }

    private func report(_ manifest: Manifest, _ rejected: [RejectedRow]) {
        let counts = manifest.counts
        context.say(
            "\(counts["rollouts"] ?? 0) rollouts, \(counts["trainable_tokens"] ?? 0) trainable tokens from \(shards.count) shards",
            counts.merging(["shards": shards.count]) { $1 })
        reportRemarks(counts, context)
        if let measured = counts["measured"] {
            context.say("\(measured) of them measured for crux-score, which decodes the others itself")
        }
        reportRequests(counts)
        guard !rejected.isEmpty else { return }
        context.warn(
            "\(rejected.count) rejected (see \(directory.file("rejected.arrow"))):", ["rejected": rejected.count])
        for row in rejected.prefix(5) {
            context.warn(
                "  \(row.shard) at byte \(row.frameOffset): \(row.reason): \(row.detail)",
                [
                    "shard": row.shard, "frame_index": Int(row.frameIndex), "frame_offset": Int(row.frameOffset),
                    "reason": row.reason, "detail": row.detail,
                ])
        }
    }

    private func reportRequests(_ counts: [String: Int]) {
        guard let asked = counts["requests"] else { return }
        let missing = counts["missing"] ?? 0, incomplete = counts["incomplete"] ?? 0
        context.say("\(asked - missing) of \(asked) requests have a result")
        if missing > 0 {
            context.warn(
                "\(missing) requests without a usable result: submit \(directory.file(Self.missingName)) and ingest both results"
            )
        }
        if incomplete > 0 { context.warn("\(incomplete) requests have fewer rollouts than they asked for") }
    }

    private func summary(_ manifest: Manifest) -> StageSummary {
        StageSummary(["output": directory.path, "counts": manifest.counts])
    }
}
