import Formats
import Foundation
import StageSupport

/// Results of jobs, in whatever disorder → rollouts in the jobs' order, what was refused, and what to submit again.
struct JoinRun {
    let directory: StageDirectory
    let files: [String]
    let jobs: JobDirectory
    let index: JobIndex
    let logits: LogitsMode
    let memory: PlaneMemory
    let tokenizer: TextTokens?
    /// Dialects that JSON lines may be in.
    let dialects: [any EngineDialect.Type]
    let context: StageContext

    private static let rowsPerTable = 8192
    private static let missingName = "missing.jsonl"

    private struct Join {
        /// Per job, its first good result.
        var rows: [RolloutRow?]
        var rejected: [RejectedRow] = []
        var results = 0
        var ids = Set<String>()
        var vocabularies: Set<Int> = []
        /// Copies of shards.
        var frames: [Manifest.File] = []
    }

    func run() throws -> StageSummary {
        let join = ResultJoin(index: index, tokenizer: tokenizer)
        var found = Join(rows: [RolloutRow?](repeating: nil, count: index.jobs.count))
        for (number, file) in files.enumerated() {
            try context.checkInterruption()
            if isLines(file) { try readLines(file, join, &found) } else { try readShard(file, number, join, &found) }
        }
        let rows = found.rows.compactMap { $0 }
        try checkAmounts(rows, found)
        let missing = index.jobs.indices.filter { found.rows[$0] == nil }.map { index.jobs[$0] }
        let outputs = try write(rows, found, missing: missing)
        let manifest = try directory.finish(outputs: outputs, counts: counts(rows, found, jobs: index.jobs.count))
        report(manifest, found.rejected, missing: missing.count)
        return StageSummary(["output": directory.path, "counts": manifest.counts])
    }

    // MARK: reading

    private func readLines(_ file: String, _ join: ResultJoin, _ found: inout Join) throws {
        let lines = try LineFile(path: file)
        var last: Int?
        for (index, (number, _)) in lines.lines.enumerated() {
            let line = lines.data(index)
            found.results += 1
            last = nil
            guard let result = EngineDialects.decodeResult(line, as: dialects) else {
                last = found.rejected.count
                found.rejected.append(
                    rejectedRow(file, number, nil, "damaged_line", "found '\(String(decoding: line.prefix(60), as: UTF8.self))', expected a result with its custom_id"))
                continue
            }
            do { try take(try join.join(result), file, number, &found) } catch let error as Rejection {
                found.rejected.append(rejectedRow(file, number, error.rolloutID, error.reason, error.detail))
            }
        }
        if let last, !lines.endsWhole {
            found.rejected[last].reason = "cut_off_line"
            found.rejected[last].detail = "found a last line without its end, expected a whole result"
        }
    }

    private func readShard(_ file: String, _ number: Int, _ join: ResultJoin, _ found: inout Join) throws {
        let shard = try RolloutShard(path: file)
        let examiner = FrameExaminer(logits: logits, folder: directory.workPath, memory: memory, context: context)
        try FrameExaminer.requireFrames(shard)
        var place = try FramePlace(shard, try directory.writing(copyName(number)), copies: logits == .copy)
        try parallelInOrder(shard.entries.count, threads: context.threads, produce: { try examiner.examine(shard, entry: $0) }) { entry, outcome in
            found.results += 1
            switch outcome {
            case .rejected(let bad):
                found.rejected.append(rejectedRow(file, entry, bad.rolloutID, bad.reason, bad.detail, offset: bad.frameOffset))
            case .accepted(var row, let vocabulary, let frame):
                if let vocabulary { found.vocabularies.insert(vocabulary) }
                do {
                    try place.fill(&row, frame: frame)
                    try take(try join.join(row), file, entry, &found)
                } catch let error as Rejection {
                    found.rejected.append(rejectedRow(file, entry, error.rolloutID, error.reason, error.detail, offset: shard.entries[entry].span.offset))
                }
            }
        }
        if let frames = try place.finish() { found.frames.append(Manifest.File(copyName(number), frames)) }
    }

    private func copyName(_ index: Int) -> String { String(format: "logits-%05d.rollouts.zst", index) }

    /// The first good result of a job counts, later ones are duplicates.
    private func take(_ result: JoinedResult, _ file: String, _ entry: Int, _ found: inout Join) throws {
        guard found.rows[result.job] == nil else {
            return found.rejected.append(
                rejectedRow(file, entry, result.row.rolloutID, "duplicate_result", "found another result of this job, expected one; the first is kept"))
        }
        guard found.ids.insert(result.row.rolloutID).inserted else {
            return found.rejected.append(
                rejectedRow(file, entry, result.row.rolloutID, "duplicate_rollout_id", "found '\(result.row.rolloutID)' for another job too, expected each id once"))
        }
        found.rows[result.job] = result.row
    }

    private func rejectedRow(_ file: String, _ entry: Int, _ id: String?, _ reason: String, _ detail: String, offset: Int = 0) -> RejectedRow {
        var row = RejectedRow()
        row.shard = (file as NSString).lastPathComponent
        (row.frameIndex, row.frameOffset) = (Int64(entry), Int64(offset))
        (row.rolloutID, row.reason, row.detail) = (id, reason, detail)
        return row
    }

    // MARK: writing

    private func write(_ rows: [RolloutRow], _ found: Join, missing: [JobRow]) throws -> [Manifest.File] {
        var outputs: [Manifest.File] = []
        for (number, start) in stride(from: 0, to: rows.count, by: Self.rowsPerTable).enumerated() {
            let part = rows[start..<min(rows.count, start + Self.rowsPerTable)], name = String(format: "rollouts-%05d.arrow", number)
            let metadata = directory.tableMetadata(evidence: Set(part.map(\.evidence)).sorted())
            var table = try ArrowTableWriter(path: try directory.writing(name), table: Tables.rollouts, metadata: metadata)
            for row in part { try table.append(row) }
            outputs.append(Manifest.File(name, try table.finish()))
        }
        let name = "rejected.arrow"
        var table = try ArrowTableWriter(path: try directory.writing(name), table: Tables.rejected, metadata: directory.tableMetadata())
        for row in found.rejected { try table.append(row) }
        return outputs + found.frames + [Manifest.File(name, try table.finish()), Manifest.File(Self.missingName, try writeMissing(missing))]
    }

    /// The jobs' own lines, byte for byte.
    private func writeMissing(_ missing: [JobRow]) throws -> WrittenFile {
        let wanted = Set(missing.map(\.customID)), file = try AtomicFile(try directory.writing(Self.missingName), digests: true)
        if !wanted.isEmpty {
            for path in try jobs.lineFiles() {
                try forEachLine(of: path) { _, line in
                    let object = try JSONSerialization.jsonObject(with: line) as? [String: Any]
                    guard let id = object?["custom_id"] as? String ?? object?["rid"] as? String, wanted.contains(id) else { return }
                    try file.write(Array(line) + [0x0a])
                }
            }
        }
        return try file.finish(rows: missing.count)
    }

    private func checkAmounts(_ rows: [RolloutRow], _ found: Join) throws {
        let first = found.rejected.prefix(3).map { "\($0.shard) line \($0.frameIndex + 1): \($0.reason): \($0.detail)" }.joined(separator: "; ")
        guard !rows.isEmpty else {
            throw StageError(.invalidInput, "\(files.joined(separator: ", ")): found no usable result of the jobs in \(jobs.path) (\(first)), expected at least one")
        }
        if let limit = context.options.maxRejected, found.rejected.count > limit {
            throw StageError(.invalidInput, "found \(found.rejected.count) rejected results, expected at most --max-rejected \(limit). First: \(first)")
        }
    }

    private func counts(_ rows: [RolloutRow], _ found: Join, jobs: Int) -> [String: Int] {
        var counts = [
            "jobs": jobs, "results": found.results, "rollouts": rows.count, "missing": jobs - rows.count, "rejected": found.rejected.count,
            "trainable_tokens": rows.reduce(0) { $0 + $1.lossMask.count { $0 } },
        ]
        for row in found.rejected { counts["rejected_\(row.reason)", default: 0] += 1 }
        if let vocabulary = found.vocabularies.first, found.vocabularies.count == 1 { counts["vocabulary"] = vocabulary }
        return counts
    }

    private func report(_ manifest: Manifest, _ rejected: [RejectedRow], missing: Int) {
        let counts = manifest.counts
        context.say("\(counts["rollouts"] ?? 0) of \(counts["jobs"] ?? 0) jobs have a result", counts)
        if missing > 0 { context.warn("\(missing) jobs without a usable result: submit \(directory.file(Self.missingName)) and join again with both results") }
        let reasons = counts.filter { $0.key.hasPrefix("rejected_") }.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key.dropFirst(9))" }
        if !reasons.isEmpty { context.warn("refused: \(reasons.joined(separator: ", ")) (see \(directory.file("rejected.arrow")))") }
    }
}
