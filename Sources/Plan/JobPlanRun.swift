import Arrow
import Credit
import Files
import Formats
import Foundation
import Scratch
import StageSupport
import Tokenizer

extension BaseRollout {
    /// `text`: with a tokenizer, the response token by token.
    init(_ row: ScoredRollout, reward: Double, tokenizer: Tokenizer?) {
        self.init()
        id = row.rollout.rolloutID
        groupID = row.rollout.groupID
        tokenIDs = row.rollout.tokenIDs
        mask = row.rollout.lossMask
        entropy = row.score.entropy ?? []
        logprobs = row.score.oldLogprobs ?? []
        self.reward = reward
        correct = row.score.correct
        isTruncated = FinishReason.isTruncated(row.rollout.finishReason)
        answer = row.score.extracted
        text = tokenizer.map { tokenizer in
            ResponseText(tokens: tokenIDs[responseStart...].map { tokenizer.decodedBytes([$0]) })
        }
    }

    /// A base of an earlier plan, which knows what its text says.
    init(_ row: ScoredRollout, reward: Double, correct: Bool?, thoughtEnd: Int32) {
        self.init(row, reward: reward, tokenizer: nil)
        self.correct = correct
        self.thoughtEnd = thoughtEnd < 0 ? nil : Int(thoughtEnd)
    }
}

/// The first plan of an expansion: rollouts → states to go back to → jobs for an engine, and the tables that join their
/// results.
struct JobPlanRun {
    let expansion: any Expansion
    let rollouts: ScoredRollouts
    let tokenizer: Tokenizer?
    let stopTokens: [Int32]
    /// Stop strings that every job gets, beside those that its base was sampled with.
    let stop: [String]
    /// Asked for of every token, as evidence of its entropy.
    let topLogprobs: Int
    let dialect: any EngineDialect.Type
    let model: String
    let writer: PlanWriter

    /// A base with its states.
    private struct BaseStates {
        let row: ScoredRollout
        let base: BaseRollout
        let states: [ExpansionState]
    }

    func run() throws -> StageSummary {
        let all = try rollouts.rows(), rows = all.filter { $0.dropReason == nil }
        let expanded = try open(rows), longest = rows.map { $0.rollout.lossMask.count { $0 } }.max() ?? 1
        try requireFew(expanded)
        let limit = expansion.maxTokens ?? writer.recipe.credit.reward.overlong?.maxLength ?? longest
        let (jobs, skipped) = try self.jobs(expanded, maxTokens: limit)
        if expanded.isEmpty {
            writer.context.warn(
                "none of \(rows.count) rollouts is one that \(type(of: expansion).name) goes back into: no jobs")
        }
        if tokenizer == nil {
            writer.context.warn(
                "no --tokenizer: the jobs don't carry the text of their prefixes, so a reward may see continuations alone, and no answer's tokens are spared"
            )
        }
        if skipped > 0 {
            writer.context.warn(
                "\(skipped) states left out: no room for a token, or a prefix that is no whole text for --engine \(dialect.name)"
            )
        }
        let files = try write(jobs, expanded), states = expanded.reduce(0) { $0 + $1.states.count }
        return try writer.writeJobs(
            dropped: all.compactMap { row in row.dropReason.map { DroppedRow(row.rollout, $0) } }, files: files,
            counts: ["rollouts": all.count, "bases": expanded.count, "states": states, "jobs": jobs.count],
            lines: [
                "\(type(of: expansion).name): \(expanded.count) bases, \(states) states, \(jobs.count) jobs in \(writer.directory.file("jobs"))",
                "run them with crux-rollout --jobs or an engine, join with crux-ingest --jobs, score, then plan again with --jobs",
            ])
    }

    /// Jobs are made in memory.
    private static let mostJobs = 10_000_000

    private func requireFew(_ expanded: [BaseStates]) throws {
        let count = expanded.reduce(0) { $0 + $1.states.count } * expansion.replicates
        guard count > Self.mostJobs else { return }
        throw StageError(
            .invalidInput,
            "\(rollouts.directory): found \(expanded.count) rollouts to go back into, which is up to \(count) jobs, expected at most "
                + "\(Self.mostJobs). Lower expansion.replicates or the number of states, or plan parts of the dump.")
    }

    // MARK: states

    private func open(_ rows: [ScoredRollout]) throws -> [BaseStates] {
        let needs = RowRequirements(recipe: writer.recipe, directory: rollouts.directory)
        var order: [ByteText] = [], groups: [ByteText: [ScoredRollout]] = [:]
        for row in rows {
            if expansion.readsEntropy { try needs.require(.entropy, row, for: "expansion \(type(of: expansion).name)") }
            if expansion.readsLogprobs {
                try needs.require(.oldLogprobs, row, for: "expansion \(type(of: expansion).name)")
            }
            let group = ByteText(row.rollout.groupID)
            if groups[group] == nil { order.append(group) }
            groups[group, default: []].append(row)
        }
        return order.flatMap { open(group: groups[$0] ?? []) }
    }

    private func open(group rows: [ScoredRollout]) -> [BaseStates] {
        let bases = rows.map { BaseRollout($0, reward: Double($0.score.reward ?? 0), tokenizer: tokenizer) }
        return expansion.bases(among: bases).map { index in
            let seed =
                UInt64(SHA256Digest.of("\(writer.context.options.seed)/\(bases[index].id)").prefix(16), radix: 16) ?? 0
            let states = expansion.states(of: bases[index], seed: seed) {
                tokenizer?.encode($0, addingSpecialTokens: false) ?? []
            }
            return BaseStates(row: rows[index], base: bases[index], states: states)
        }
    }

    // MARK: jobs

    private func jobs(
        _ expanded: [BaseStates], maxTokens: Int
    ) throws -> (jobs: [(row: JobRow, request: EngineRequest)], skipped: Int) {
        var jobs: [(row: JobRow, request: EngineRequest)] = [], seen = Set<String>(), skipped = 0
        for base in expanded {
            for (index, state) in base.states.enumerated() where index < expansion.sampledStates ?? Int.max {
                let prefix = Array(base.base.tokenIDs[..<state.position]) + state.injected,
                    digest = prefixDigest(prefix)
                if expansion.sharesPrefixes, !seen.insert(digest).inserted { continue }
                let room = maxTokens - (prefix.count - base.base.responseStart)
                guard room > 0, let text = self.text(prefix, base.base) else {
                    skipped += 1
                    continue
                }
                for replicate in 0..<expansion.replicates {
                    var row = JobRow()
                    (row.stateIndex, row.prefixLength, row.prefixSHA256) = (Int32(index), Int32(prefix.count), digest)
                    (row.replicate, row.maxTokens, row.completionPrefix) = (
                        Int32(replicate), Int32(room), text.isEmpty && tokenizer == nil ? nil : text
                    )
                    jobs.append(try job(row, base, state, prefix))
                }
            }
        }
        return (jobs, skipped)
    }

    /// The response as far as the prefix goes; nil where a dialect that sends text can't send it.
    private func text(_ prefix: [Int32], _ base: BaseRollout) -> String? {
        guard let tokenizer else { return "" }
        let bytes = tokenizer.decodedBytes(prefix[base.responseStart...])
        guard dialect.sendsText else { return String(decoding: bytes, as: UTF8.self) }
        return String(validating: bytes, as: UTF8.self)
    }

    private func job(
        _ start: JobRow, _ expanded: BaseStates, _ state: ExpansionState, _ prefix: [Int32]
    ) throws -> (JobRow, EngineRequest) {
        var row = start
        row.jobID = "\(expanded.base.id)/s\(row.stateIndex)/r\(row.replicate)"
        row.baseRolloutID = expanded.base.id
        row.groupID = expanded.base.groupID
        row.anchorPosition = Int32(state.position)
        row.anchorEntropy = state.anchorEntropy
        row.injectedTokenIDs = state.injected
        let digest = SHA256Digest.of(
            "\(SHA256Digest.of(writer.resolved))/\(writer.context.options.seed)/\(row.jobID)/\(row.prefixSHA256)")
        row.customID = "\(type(of: expansion).name)-\(digest.prefix(20))-s\(row.stateIndex)-r\(row.replicate)"
        // 31 bits: what every engine takes as a seed.
        row.seed = Int64(digest.suffix(8), radix: 16).map { $0 & 0x7fff_ffff } ?? 0
        return (row, try request(row, expanded.row.rollout, prefix))
    }

    private func request(_ row: JobRow, _ rollout: RolloutRow, _ prefix: [Int32]) throws -> EngineRequest {
        var request = EngineRequest()
        request.customID = row.customID
        request.prefix = prefix
        request.maxTokens = Int(row.maxTokens)
        request.seed = row.seed
        request.temperature = rollout.temperature
        request.topP = rollout.topP
        let asked = try stopsAsked(rollout)
        request.stop = StopFields.union(stop, asked.texts)
        request.stopTokenIDs = Set(stopTokens + asked.tokens).sorted()
        request.topLogprobs = topLogprobs
        request.model = model
        request.prompt = rollout.prompt
        request.responsePrefix = row.completionPrefix ?? ""
        return request
    }

    /// A continuation must stop where its base would have.
    private func stopsAsked(_ rollout: RolloutRow) throws -> (texts: [String], tokens: [Int32]) {
        do { return try StopFields.asked(inExtras: rollout.extras) } catch {
            throw FormatError(
                file: rollouts.directory, place: "rollout '\(rollout.rolloutID)'", found: "metadata whose \(error)",
                expected: "what the rollout was told to stop at")
        }
    }

    // MARK: files

    private func write(_ jobs: [(row: JobRow, request: EngineRequest)], _ expanded: [BaseStates]) throws -> [Manifest
        .File]
    {
        let folder = writer.directory.file("jobs")
        try Folder.create(folder)
        let directory = writer.directory, jobsName = "jobs/" + JobDirectory.jobsName,
            basesName = "jobs/" + JobDirectory.basesName
        let metadata = directory.tableMetadata(recipeDigest: SHA256Digest.of(writer.resolved))
        var bases = try ArrowTableWriter(
            path: try directory.writing(basesName), table: Tables.bases, metadata: metadata)
        for base in expanded { try bases.append(baseRow(base)) }
        let written = try bases.finish(), lineage = metadata.merging([JobDirectory.basesKey: written.sha256]) { $1 }
        var table = try ArrowTableWriter(path: try directory.writing(jobsName), table: Tables.jobs, metadata: lineage)
        for job in jobs { try table.append(job.row) }
        let tables = [Manifest.File(jobsName, try table.finish()), Manifest.File(basesName, written)]
        return try writeLines(jobs.map(\.request)) + tables
    }

    private func baseRow(_ expanded: BaseStates) -> BaseRow {
        var row = BaseRow()
        row.rollout = expanded.row.rollout
        (row.reward, row.correct) = (expanded.row.score.reward, expanded.row.score.correct)
        (row.entropy, row.oldLogprobs, row.referenceLogprobs) = (
            expanded.row.score.entropy, expanded.row.score.oldLogprobs, expanded.row.score.referenceLogprobs
        )
        row.statePositions = expanded.states.map { Int32($0.position) }
        row.thoughtEnd = expansion.thoughtEnd(of: expanded.base).map(Int32.init) ?? -1
        return row
    }

    /// At least one file, none beyond the limits of the batch format.
    private func writeLines(_ requests: [EngineRequest]) throws -> [Manifest.File] {
        var files: [Manifest.File] = [], lines = 0
        func name() -> String { "jobs/" + JobDirectory.linesName(files.count) }
        func open() throws -> AtomicFile { try AtomicFile(try writer.directory.writing(name()), digests: true) }
        var file = try open()
        for request in requests {
            let line = try EngineDialects.encode(request, as: dialect)
            if lines == JobDirectory.linesPerFile
                || lines > 0 && file.position + line.utf8.count > JobDirectory.bytesPerFile
            {
                files.append(Manifest.File(name(), try file.finish(rows: lines)))
                (file, lines) = (try open(), 0)
            }
            try file.write(line)
            lines += 1
        }
        return files + [Manifest.File(name(), try file.finish(rows: lines))]
    }
}
