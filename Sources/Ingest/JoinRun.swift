import Arrow
import Files
import Formats
import Foundation
import Scratch
import StageSupport

/// Results of jobs, in whatever disorder → rollouts in the jobs' order, what was refused, and what to submit again.
struct JoinRun {
    let directory: StageDirectory
    let files: [String]
    let jobs: JobDirectory
    let index: JobIndex
    let logits: LogitsMode
    let memory: PlaneMemory
    let reading: LineReading
    let context: StageContext

    private static let rowsPerTable = 8192
    private static let missingName = "missing.jsonl"

    private struct Join {
        /// Per job, its first good result.
        var rows: [RolloutRow?]
        var rejected: [RejectedRow] = []
        var results = 0
        var ids = Set<ByteText>()
        var vocabularies: Set<Int> = []
        /// Copies of shards.
        var frames: [Manifest.File] = []
        var remarks: [String: Int] = [:]
    }

    private var labels: InputLabels { InputLabels(files) }

    func run() throws -> StageSummary {
        let join = ResultJoin(index: index, reading: reading)
        var found = Join(rows: [RolloutRow?](repeating: nil, count: index.jobs.count))
        for (number, file) in files.enumerated() {
            try context.checkInterruption()
            if isLines(file) {
                try readLines(file, number, join, &found)
            } else {
                try readShard(file, number, join, &found)
            }
        }
        let rows = found.rows.compactMap { $0 }
        try checkAmounts(rows, found)
        let missing = try index.jobs.indices.filter { found.rows[$0] == nil }.map { try index.job($0).customID }
        let outputs = try write(rows, found, missing: missing)
        let manifest = try directory.finish(outputs: outputs, counts: counts(rows, found, jobs: index.jobs.count))
        report(manifest, found.rejected, missing: missing.count)
        return StageSummary(["output": directory.path, "counts": manifest.counts])
    }

    // MARK: reading

    private func readLines(_ file: String, _ number: Int, _ join: ResultJoin, _ found: inout Join) throws {
        let lines = try LineFile(path: file), name = labels.name(number)
        let place = FramePlace(framesAt: try directory.writing(copyName(number)))
        var reader = (place: place, found: found)
        if lines.lines.isEmpty { reader.found.rejected.append(Self.empty(name, bytes: lines.file.bytes.count)) }
        let dialects = join.reading.dialects
        // A job that can't be read shows when its result is joined.
        let asked = LineContext { [index = join.index] in (try? NamedJob($0, in: index))?.request }
        try parallelInOrder(
            lines.lines.count, threads: context.threads,
            produce: { line in
                try context.checkInterruption()
                return Self.results(lines, line, dialects, asked).map { read in
                    read.flatMap { result in Result { () throws(Rejection) in try Self.joined(result, join) } }
                }
            },
            consume: { line, results in
                let at = lines.lines[line]
                for result in results {
                    reader.found.results += 1
                    do {
                        var joined = try result.get()
                        let remarks = joined.remarks
                        guard accepts(joined, name, at.number, &reader.found) else { continue }
                        try reader.place.fill(&joined.row, frame: joined.frame)
                        reader.found.rows[joined.job] = joined.row
                        for remark in remarks { reader.found.remarks[remark.rawValue, default: 0] += 1 }
                    } catch let error as Rejection {
                        reader.found.rejected.append(
                            rejectedRow(
                                name, at.number, error.rolloutID, error.reason, error.detail,
                                offset: at.bytes.lowerBound))
                    }
                }
            })
        found = reader.found
        if let frames = try reader.place.finish() { found.frames.append(Manifest.File(copyName(number), frames)) }
    }

    /// The results of a line, or why it has none.
    private static func results(
        _ lines: LineFile, _ line: Int, _ dialects: [any DumpDialect.Type], _ context: LineContext
    ) -> [Result<DumpedRollout, Rejection>] {
        switch DumpDialects.decode(lines.data(line), as: dialects, in: context) {
        case .rollouts(let results): return results.map { .success($0) }
        case .damaged(let id, let expected):
            let damage = lines.damage(line, expected: expected)
            return [.failure(Rejection(id, damage.reason, detail: damage.detail))]
        case .unknown(let id):
            let words = String(decoding: lines.data(line).prefix(60), as: UTF8.self)
            return [
                .failure(Rejection(id, .damagedLine, found: "'\(words)'", expected: "a result with its custom_id"))
            ]
        }
    }

    private static func joined(_ result: DumpedRollout, _ join: ResultJoin) throws(Rejection) -> JoinedResult {
        do { return try join.join(result) } catch let error as Rejection { throw error } catch {
            throw Rejection(result.request, .damagedLine, detail: "\(error)")
        }
    }

    private func readShard(_ file: String, _ number: Int, _ join: ResultJoin, _ found: inout Join) throws {
        let shard = try RolloutShard(path: file), name = labels.name(number)
        let examiner = FrameExaminer(
            logits: logits, invalidLogprobs: join.reading.invalidLogprobs, folder: directory.workPath, memory: memory,
            context: context)
        if let fault = FrameExaminer.lackOfFrames(shard) {
            found.rejected.append(rejectedRow(name, 0, nil, fault.reason, fault.detail))
            return
        }
        if shard.entries.isEmpty { found.rejected.append(Self.empty(name, bytes: shard.file.bytes.count)) }
        var place = try FramePlace(shard, try directory.writing(copyName(number)), copies: logits == .copy)
        try parallelInOrder(
            shard.entries.count, threads: context.threads, produce: { try examiner.examine(shard, entry: $0) }
        ) { entry, outcome in
            found.results += 1
            switch outcome {
            case .rejected(let bad):
                found.rejected.append(
                    rejectedRow(name, entry, bad.rolloutID, bad.reason, bad.detail, offset: bad.frameOffset))
            case .accepted(var accepted):
                if let vocabulary = accepted.vocabulary { found.vocabularies.insert(vocabulary) }
                do {
                    try place.fill(&accepted.row, frame: accepted.frame)
                    let joined = try join.join(accepted.row)
                    guard accepts(joined, name, entry, &found) else { return }
                    found.rows[joined.job] = joined.row
                    for remark in accepted.remarks { found.remarks[remark.rawValue, default: 0] += 1 }
                } catch let error as Rejection {
                    found.rejected.append(
                        rejectedRow(
                            name, entry, error.rolloutID, error.reason, error.detail,
                            offset: shard.entries[entry].span.offset))
                }
            }
        }
        if let frames = try place.finish() { found.frames.append(Manifest.File(copyName(number), frames)) }
    }

    private static func empty(_ name: String, bytes: Int) -> RejectedRow {
        RejectedRow(
            shard: name, reason: .emptyShard,
            detail: "found no result in a file of \(bytes) bytes, expected at least one")
    }

    private func copyName(_ index: Int) -> String { String(format: "logits-%05d.rollouts.zst", index) }

    /// The first good result of a job counts, later ones are duplicates.
    private func accepts(_ result: JoinedResult, _ name: String, _ entry: Int, _ found: inout Join) -> Bool {
        guard found.rows[result.job] == nil else {
            found.rejected.append(
                rejectedRow(
                    name, entry, result.row.rolloutID, .duplicateResult,
                    "found another result of this job, expected one; the first is kept"))
            return false
        }
        guard found.ids.insert(ByteText(result.row.rolloutID)).inserted else {
            found.rejected.append(
                rejectedRow(
                    name, entry, result.row.rolloutID, .duplicateRolloutID,
                    "found '\(result.row.rolloutID)' for another job too, expected each id once"))
            return false
        }
        return true
    }

    private func rejectedRow(
        _ name: String, _ entry: Int, _ id: String?, _ reason: RejectReason, _ detail: String, offset: Int = 0
    ) -> RejectedRow {
        RejectedRow(
            shard: name, frameIndex: entry, frameOffset: offset, rolloutID: id, reason: reason, detail: detail)
    }

    // MARK: writing

    private func write(_ rows: [RolloutRow], _ found: Join, missing: [String]) throws -> [Manifest.File] {
        var outputs: [Manifest.File] = []
        for (number, start) in stride(from: 0, to: rows.count, by: Self.rowsPerTable).enumerated() {
            let part = rows[start..<min(rows.count, start + Self.rowsPerTable)],
                name = String(format: "rollouts-%05d.arrow", number)
            let metadata = directory.tableMetadata(evidence: Set(part.map(\.evidence)).sorted())
            var table = try ArrowTableWriter(
                path: try directory.writing(name), table: Tables.rollouts, metadata: metadata)
            for row in part { try table.append(row) }
            outputs.append(Manifest.File(name, try table.finish()))
        }
        let name = "rejected.arrow"
        var table = try ArrowTableWriter(
            path: try directory.writing(name), table: Tables.rejected, metadata: directory.tableMetadata())
        for row in found.rejected { try table.append(row) }
        return outputs + found.frames + [
            Manifest.File(name, try table.finish()), Manifest.File(Self.missingName, try writeMissing(missing)),
        ]
    }

    /// The jobs' own lines, byte for byte.
    private func writeMissing(_ missing: [String]) throws -> WrittenFile {
        let wanted = Set(missing.map { ByteText($0) }),
            file = try AtomicFile(try directory.writing(Self.missingName), digests: true)
        if !wanted.isEmpty {
            for path in try jobs.lineFiles() {
                try forEachLine(of: path) { _, line in
                    let object = JSONLine(line).object
                    guard let id = object?["custom_id"]?.string ?? object?["rid"]?.string, wanted.contains(ByteText(id))
                    else { return }
                    try file.write(Array(line) + [0x0a])
                }
            }
        }
        return try file.finish(rows: missing.count)
    }

    private func checkAmounts(_ rows: [RolloutRow], _ found: Join) throws {
        let first = found.rejected.prefix(3).map { "\($0.shard) line \($0.frameIndex + 1): \($0.reason): \($0.detail)" }
            .joined(separator: "; ")
        guard !rows.isEmpty else {
            throw StageError(
                .invalidInput,
                "\(fewPaths(files)): found no usable result of the jobs in \(jobs.path) (\(first)), expected at least one"
            )
        }
        if let limit = context.options.maxRejected, found.rejected.count > limit {
            throw StageError(
                .invalidInput,
                "found \(found.rejected.count) rejected results, expected at most --max-rejected \(limit). First: \(first)"
            )
        }
    }

    private func counts(_ rows: [RolloutRow], _ found: Join, jobs: Int) -> [String: Int] {
        var counts = [
            "jobs": jobs, "results": found.results, "rollouts": rows.count, "missing": jobs - rows.count,
            "rejected": found.rejected.count,
            "trainable_tokens": rows.reduce(0) { $0 + $1.lossMask.count { $0 } },
        ]
        for row in found.rejected { counts["rejected_\(row.reason)", default: 0] += 1 }
        for (remark, count) in found.remarks { counts["remark_" + remark] = count }
        if let vocabulary = found.vocabularies.first, found.vocabularies.count == 1 {
            counts["vocabulary"] = vocabulary
        }
        return counts
    }

    private func report(_ manifest: Manifest, _ rejected: [RejectedRow], missing: Int) {
        let counts = manifest.counts
        context.say("\(counts["rollouts"] ?? 0) of \(counts["jobs"] ?? 0) jobs have a result", counts)
        reportRemarks(counts, context)
        if missing > 0 {
            context.warn(
                "\(missing) jobs without a usable result: submit \(directory.file(Self.missingName)) and join again with both results"
            )
        }
        let reasons = counts.filter { $0.key.hasPrefix("rejected_") }.sorted { $0.key < $1.key }.map {
            "\($0.value) \($0.key.dropFirst(9))"
        }
        if !reasons.isEmpty {
            context.warn("refused: \(reasons.joined(separator: ", ")) (see \(directory.file("rejected.arrow")))")
        }
    }
}
