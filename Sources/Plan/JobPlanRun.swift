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
        branch = row.branch
        roles = (row.rollout.tokenRoles ?? []).map {
            switch TokenRole(rawValue: $0) {
            case .policy: .policy
            case .tool: .tool
            default: .other
            }
        }
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

/// The first plan of an expansion, and each further round's: rollouts → states to go back to → jobs for an engine, and the
/// tables that join their results.
struct JobPlanRun {
    let expansion: any Expansion
    let source: any BaseSource
    let tokenizer: Tokenizer?
    let stopTokens: [Int32]
    /// Stop strings that every job gets, beside those that its base was sampled with.
    let stop: [String]
    /// Asked for of every token, as evidence of its entropy.
    let topLogprobs: Int
    let dialect: any EngineDialect.Type
    let model: String
    let writer: PlanWriter
    private let recipeDigest: String

    init(
        expansion: any Expansion, source: any BaseSource, tokenizer: Tokenizer?, stopTokens: [Int32], stop: [String],
        topLogprobs: Int, dialect: any EngineDialect.Type, model: String, writer: PlanWriter
    ) {
        (self.expansion, self.source, self.tokenizer, self.writer) = (expansion, source, tokenizer, writer)
        (self.stopTokens, self.stop, self.topLogprobs) = (stopTokens, stop, topLogprobs)
        (self.dialect, self.model, recipeDigest) = (dialect, model, SHA256Digest.of(writer.resolved))
    }

    /// A rollout that is gone back into, by its row in the dump, and its states.
    private struct ExpandedRollout {
        let row: Int
        let states: [ExpansionState]
        let thoughtEnd: Int?
    }

    /// The same with what is known of it, for as long as its jobs are made.
    private struct OpenRollout {
        let row: ScoredRollout
        let base: BaseRollout
        let states: [ExpansionState]
    }

    /// Rollouts are read twice, a group at a time to find states, then one by one to write what becomes of them: no
    /// more than the states' places are held between.
    func run() throws -> StageSummary {
        try requireVocabulary()
        var tally = BudgetTally()
        let expanded = try expand(&tally)
        let (files, jobs, skipped) = try write(expanded, maxTokens: maxTokens)
        warn(expanded: expanded.count, skipped: skipped, tally)
        let states = expanded.reduce(0) { $0 + $1.states.count }, bases = expanded.count
        let further = expansion.rounds > 1 ? ["round": source.round] : [:]
        return try writer.writeJobs(
            dropped: source.dropped, files: files,
            counts: ["rollouts": source.rowCount, "bases": bases, "states": states, "jobs": jobs].merging(further) {
                $1
            }.merging(tally.counts) { $1 },
            lines: [
                "\(name): \(bases) bases, \(states) states, \(jobs) jobs in \(writer.directory.file("jobs"))",
                "run them with crux-rollout --jobs or an engine, join with crux-ingest --jobs, score, then plan again with --jobs",
            ])
    }

    /// The method, and which of its rounds this is where it has several.
    private var name: String {
        let name = type(of: expansion).name
        return expansion.rounds == 1 ? name : "\(name), round \(source.round) of \(expansion.rounds)"
    }

    /// What budgets of single prompts came to.
    private struct BudgetTally {
        private var unpaid = 0
        private var fresh = 0
        private(set) var unspent = 0

        mutating func add(_ plan: BranchPlan) {
            (unpaid, fresh, unspent) = (unpaid + plan.unpaid, fresh + plan.fresh, unspent + plan.unspent)
        }

        var counts: [String: Int] {
            ["unpaid_branches": unpaid, "fresh_rollouts": fresh, "unspent_rollouts": unspent].filter { $1 > 0 }
        }
    }

    /// Most tokens of a response: the recipe's, else the longest of the dump.
    private var maxTokens: Int {
        let facts = source.facts
        var longest: Int32 = 0
        facts.space.forEach(facts.rows.indices) { longest = max(longest, facts.rows[$0].trainable) }
        return expansion.maxTokens ?? writer.recipe.credit.reward.overlong?.maxLength
            ?? (facts.rows.isEmpty ? 1 : Int(longest))
    }

    private func warn(expanded: Int, skipped: Int, _ tally: BudgetTally) {
        if expanded == 0 {
            writer.context.warn(
                "none of \(source.usable) rollouts is one that \(type(of: expansion).name) goes back into: no jobs")
        }
        if tokenizer == nil {
            writer.context.warn(
                "no --tokenizer: the jobs don't carry the text of their prefixes, so a reward may see continuations alone, and no answer's tokens are spared"
            )
        }
        if !tally.counts.isEmpty {
            let said = tally.counts.sorted { $0.key < $1.key }.map {
                "\($0.value) \($0.key.replacingOccurrences(of: "_", with: " "))"
            }
            writer.context.say("budgets of prompts: " + said.joined(separator: ", "))
        }
        if tally.unspent > 0, source.round == expansion.rounds {
            writer.context.warn(
                "\(tally.unspent) rows that budgets allow are not sampled: no rollout goes on long enough in the last round"
            )
        }
        if skipped > 0 {
            writer.context.warn(
                "\(skipped) states left out: no room for a token, or a prefix that is no whole text for --engine \(dialect.name)"
            )
        }
    }

    // MARK: states

    /// More than anybody runs: a slip of a recipe, that would fill a disk.
    private static let mostJobs = 10_000_000

    private func expand(_ tally: inout BudgetTally) throws -> [ExpandedRollout] {
        var expanded: [ExpandedRollout] = [], continuations = 0
        for group in 0..<source.facts.groups.count {
            try writer.context.checkInterruption()
            let members = source.members(group)
            let rows = try source.read(members)
            for row in rows { try require(row) }
            for one in expand(rows, members, &tally) {
                expanded.append(one)
                try add(one, to: &continuations, bases: expanded.count)
            }
        }
        return expanded
    }

    private func require(_ row: ScoredRollout) throws {
        let needs = source.needs, purpose = "expansion \(type(of: expansion).name)"
        if expansion.readsEntropy { try needs.require(.entropy, row, for: purpose) }
        if expansion.readsLogprobs { try needs.require(.oldLogprobs, row, for: purpose) }
        guard expansion.readsRoles, row.rollout.tokenRoles == nil else { return }
        throw StageError(
            .invalidInput,
            "\(source.directory): rollout '\(row.rollout.rolloutID)': found no token_roles, expected them for \(purpose). "
                + "Write them into the dump: who wrote each token, docs/dump-format.md.")
    }

    private func requireVocabulary() throws {
        guard expansion.readsVocabulary, source.vocabulary == nil else { return }
        throw StageError(
            .invalidInput,
            "\(source.directory): found no logits, which say how large the vocabulary is, expected expansion.vocabulary for "
                + "expansion \(type(of: expansion).name)")
    }

    /// Counts a base's continuations; throws where there are more than anybody runs.
    private func add(_ one: ExpandedRollout, to continuations: inout Int, bases: Int) throws {
        var overflows = false
        for state in one.states {
            let (sum, isTooMuch) = continuations.addingReportingOverflow(state.replicates ?? expansion.replicates)
            (continuations, overflows) = (sum, overflows || isTooMuch)
        }
        guard overflows || continuations > Self.mostJobs else { return }
        throw StageError(
            .invalidInput,
            "\(source.directory): found \(bases) rollouts or more to go back into, which is more than \(overflows ? "any number of" : "\(continuations - 1)") jobs, "
                + "expected at most \(Self.mostJobs). Lower expansion.replicates or the number of states, or plan parts of the dump."
        )
    }

    /// Which of a group's rollouts are gone back into. `numbers`: their rows in the source.
    private func expand(_ rows: [ScoredRollout], _ numbers: [Int], _ tally: inout BudgetTally) -> [ExpandedRollout] {
        let group = rows.map(base), chosen = expansion.bases(among: group), bases = chosen.map { group[$0] }
        let plan = expansion.branches(of: bases, round: source.round, seeds: bases.map { seed(of: $0) }) {
            tokenizer?.encode($0, addingSpecialTokens: false) ?? []
        }
        tally.add(plan)
        return zip(chosen, plan.states).map { index, states in
            ExpandedRollout(
                row: numbers[index], states: states, thoughtEnd: expansion.thoughtEnd(of: group[index]))
        }
    }

    private func seed(of base: BaseRollout) -> UInt64 {
        UInt64(SHA256Digest.of("\(writer.context.options.seed)/\(base.id)").prefix(16), radix: 16) ?? 0
    }

    private func base(_ row: ScoredRollout) -> BaseRollout {
        var base = BaseRollout(row, reward: Double(row.score.reward ?? 0), tokenizer: tokenizer)
        base.vocabulary = source.vocabulary
        return base
    }

    // MARK: jobs

    /// A base's jobs, in order. `seen`: digests of prefixes that have jobs already, where bases share them.
    private func forEachJob(
        _ open: OpenRollout, maxTokens: Int, _ seen: inout Set<String>,
        _ body: (JobRow, EngineRequest) throws -> Void
    ) throws -> (jobs: Int, skipped: Int) {
        var jobs = 0, skipped = 0
        for (index, state) in open.states.enumerated() where index < expansion.sampledStates ?? Int.max {
            let prefix = Array(open.base.tokenIDs[..<state.position]) + state.injected, digest = prefixDigest(prefix)
            if expansion.sharesPrefixes, !seen.insert(digest).inserted { continue }
            let room = maxTokens - (prefix.count - open.base.responseStart)
            guard room > 0, let text = self.text(prefix, open.base) else {
                skipped += 1
                continue
            }
            var row = row(open, index, state), request = try request(open.row.rollout, prefix, room)
            (row.prefixLength, row.prefixSHA256, row.maxTokens) = (Int32(prefix.count), digest, Int32(room))
            row.completionPrefix = tokenizer == nil ? nil : text
            request.responsePrefix = text
            let replicates = state.replicates ?? expansion.replicates
            for replicate in 0..<replicates {
                name(&row, &request, replicate)
                try body(row, request)
            }
            jobs += replicates
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

    /// What all jobs of a state have in common.
    private func row(_ expanded: OpenRollout, _ index: Int, _ state: ExpansionState) -> JobRow {
        var row = JobRow()
        row.baseRolloutID = expanded.base.id
        row.groupID = expanded.base.groupID
        row.stateIndex = Int32(index)
        row.anchorPosition = Int32(state.position)
        row.anchorEntropy = state.anchorEntropy
        row.injectedTokenIDs = state.injected
        return row
    }

    private func request(_ rollout: RolloutRow, _ prefix: [Int32], _ room: Int) throws -> EngineRequest {
        var request = EngineRequest()
        request.prefix = prefix
        request.maxTokens = room
        request.temperature = rollout.temperature
        request.topP = rollout.topP
        let asked = try stopsAsked(rollout)
        request.stop = StopFields.union(stop, asked.texts)
        request.stopTokenIDs = Set(stopTokens + asked.tokens).sorted()
        request.topLogprobs = topLogprobs
        request.model = model
        request.prompt = rollout.prompt
        return request
    }

    /// One continuation among those of its state: its names and its seed.
    private func name(_ row: inout JobRow, _ request: inout EngineRequest, _ replicate: Int) {
        row.replicate = Int32(replicate)
        row.jobID = "\(row.baseRolloutID)/s\(row.stateIndex)/r\(replicate)"
        // Results of one round are bases of the next, so their names must not meet those of its results.
        let round = source.round == 1 ? "" : "\(source.round)/"
        let digest = SHA256Digest.of(
            "\(round)\(recipeDigest)/\(writer.context.options.seed)/\(row.jobID)/\(row.prefixSHA256)")
        row.customID = "\(type(of: expansion).name)-\(digest.prefix(20))-s\(row.stateIndex)-r\(replicate)"
        // 31 bits: what every engine takes as a seed.
        row.seed = Int64(digest.suffix(8), radix: 16).map { $0 & 0x7fff_ffff } ?? 0
        (request.customID, request.seed) = (row.customID, row.seed)
    }

    /// A continuation must stop where its base would have.
    private func stopsAsked(_ rollout: RolloutRow) throws -> (texts: [String], tokens: [Int32]) {
        do { return try StopFields.asked(inExtras: rollout.extras) } catch {
            throw FormatError(
                file: source.directory, place: "rollout '\(rollout.rolloutID)'", found: "metadata whose \(error)",
                expected: "what the rollout was told to stop at")
        }
    }

    // MARK: files

    /// The bases first: the table of jobs names their digest.
    private func write(_ expanded: [ExpandedRollout], maxTokens: Int) throws -> (
        files: [Manifest.File], jobs: Int, skipped: Int
    ) {
        try Folder.create(writer.directory.file("jobs"))
        let directory = writer.directory, jobsName = "jobs/" + JobDirectory.jobsName,
            basesName = "jobs/" + JobDirectory.basesName
        let metadata = directory.tableMetadata(recipeDigest: recipeDigest)
        let bases = try writeBases(expanded, to: try directory.writing(basesName), metadata)
        var table = try ArrowTableWriter(
            path: try directory.writing(jobsName), table: Tables.jobs,
            metadata: metadata.merging([
                JobDirectory.basesKey: bases.sha256, JobDirectory.roundKey: "\(source.round)",
            ]) { $1 })
        var lines = try JobLines(directory, dialect), seen = Set<String>(), jobs = 0, skipped = 0
        for one in expanded {
            try writer.context.checkInterruption()
            let row = try source.read([one.row])[0]
            let made = try forEachJob(
                OpenRollout(row: row, base: base(row), states: one.states), maxTokens: maxTokens, &seen
            ) {
                try table.append($0)
                try lines.append($1)
            }
            (jobs, skipped) = (jobs + made.jobs, skipped + made.skipped)
        }
        let tables = [Manifest.File(jobsName, try table.finish()), Manifest.File(basesName, bases)]
        return (try lines.finish() + tables, jobs, skipped)
    }

    private func writeBases(_ expanded: [ExpandedRollout], to path: String, _ metadata: [String: String]) throws
        -> WrittenFile
    {
        var bases = try ArrowTableWriter(path: path, table: Tables.bases, metadata: metadata)
        for one in expanded { try bases.append(baseRow(try source.read([one.row])[0], one)) }
        return try bases.finish()
    }

    private func baseRow(_ source: ScoredRollout, _ expanded: ExpandedRollout) -> BaseRow {
        var row = BaseRow()
        row.rollout = source.rollout
        (row.reward, row.correct) = (source.score.reward, source.score.correct)
        (row.entropy, row.oldLogprobs, row.referenceLogprobs) = (
            source.score.entropy, source.score.oldLogprobs, source.score.referenceLogprobs
        )
        row.statePositions = expanded.states.map { Int32($0.position) }
        row.thoughtEnd = expanded.thoughtEnd.map(Int32.init) ?? -1
        if let branch = source.branch {
            (row.parentRolloutID, row.branchPosition) = (branch.parent, Int32(branch.position))
        }
        if self.source.round < expansion.rounds { row.extras = source.rollout.extras }
        return row
    }
}

/// Request lines: at least one file, none beyond the limits of the batch format.
private struct JobLines {
    private let directory: StageDirectory
    private let dialect: any EngineDialect.Type
    private var files: [Manifest.File] = []
    private var file: AtomicFile
    private var lines = 0

    init(_ directory: StageDirectory, _ dialect: any EngineDialect.Type) throws {
        (self.directory, self.dialect) = (directory, dialect)
        file = try Self.open(directory, 0)
    }

    private static func name(_ number: Int) -> String { "jobs/" + JobDirectory.linesName(number) }

    private static func open(_ directory: StageDirectory, _ number: Int) throws -> AtomicFile {
        try AtomicFile(try directory.writing(name(number)), digests: true)
    }

    mutating func append(_ request: EngineRequest) throws {
        let line = try EngineDialects.encode(request, as: dialect)
        let isFull = lines > 0 && file.position + line.utf8.count > JobDirectory.bytesPerFile
        if lines == JobDirectory.linesPerFile || isFull {
            try close()
            (file, lines) = (try Self.open(directory, files.count), 0)
        }
        try file.write(line)
        lines += 1
    }

    private mutating func close() throws {
        files.append(Manifest.File(Self.name(files.count), try file.finish(rows: lines)))
    }

    mutating func finish() throws -> [Manifest.File] {
        try close()
        return files
    }
}
