import Arrow
import Files
import Formats
import Foundation
import StageSupport
import TestSupport
import Testing

/// Tables between stages that aren't what a stage wrote: damaged, changed by others, or made to harm.
@Suite struct HostileTableTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    /// A case's ingest directory, with the dump of this repository in place of the one that it was made from.
    private func ingest(of name: String, rewriting: Bool) throws -> String {
        let input = folder("ingest")
        try FileManager.default.copyItem(atPath: fixture("cases/faults/\(name)/d"), toPath: input)
        if rewriting {
            for index in 0..<3 {
                try point(
                    input + "/rollouts-0000\(index).arrow", at: fixture("dump/rollouts-0000\(index).rollouts.zst"))
            }
        }
        try describeAnew(input)
        return input
    }

    /// Makes a manifest say what its tables are now, so that nothing but their rows is wrong.
    private func describeAnew(_ input: String) throws {
        var manifest = try #require(try Manifest.read(input))
        manifest.outputs = try manifest.outputs.map { try Manifest.describe($0.path, in: input, rows: $0.rows) }
        try manifest.write(to: input)
    }

    private func point(_ path: String, at shard: String) throws {
        let rows = try ArrowTableReader(path: path, table: Tables.rollouts).rows()
        try write(
            rows.map {
                var row = $0
                row.logitsPath = shard
                return row
            }, Tables.rollouts, to: path)
    }

    private func write<Row>(_ rows: [Row], _ table: Table<Row>, to path: String) throws {
        var writer = try ArrowTableWriter(path: path, table: table, metadata: [:])
        for row in rows { try writer.append(row) }
        try writer.finish()
    }

    private func score(_ input: String, _ more: [String] = []) throws -> Executable.Result {
        try Executable("crux-score").run(
            ["--quiet", "--input", input, "--output", folder("score"), "--threads", "2"] + more)
    }

    /// One bad table costs itself: the others are scored, and the run says which failed.
    private func expectRefused(_ result: Executable.Result, _ words: [String]) {
        #expect(result.status == 1, "\(result.errors)")
        for word in ["rollouts-00000"] + words {
            #expect(result.errors.contains(word), "no '\(word)' in \(result.errors)")
        }
        #expect(
            FileManager.default.fileExists(atPath: folder("score/scores-00001.arrow"))
                && !FileManager.default.fileExists(atPath: folder("score/manifest.json")))
    }

    // MARK: cases

    @Test func aTokenBeyondTheLogitsIsNotLookedUp() throws {
        let input = try ingest(of: "score-token-id-oob-1000000", rewriting: true)
        expectRefused(try score(input), ["token id 1000000", "ids below 32"])
    }

    @Test func logitsOfAnotherRolloutAreRefused() throws {
        let input = try ingest(of: "score-logits-of-another", rewriting: true)
        expectRefused(try score(input), ["rows of logits there for", "ingest it again"])
    }

    @Test(arguments: [
        ("score-mask-shorter", ["column 'loss_mask'", "one per token"]),
        ("arrow-compressed-claim", ["compressed buffer", "claims"]),
        ("arrow-schema-dag", ["footer", "stand for many others"]),
    ]) func tablesThatCannotBeAreRefusedAtOnce(_ name: String, _ words: [String]) throws {
        let input = try ingest(of: name, rewriting: false), start = Date()
        for index in 1...2 {
            try point(input + "/rollouts-0000\(index).arrow", at: fixture("dump/rollouts-0000\(index).rollouts.zst"))
        }
        try describeAnew(input)
        expectRefused(try score(input), words)
        // Seconds of a loaded machine; the schema took forever.
        #expect(Date().timeIntervalSince(start) < 60)
    }

    /// Neither by its absolute path nor by way of the folders above does a table lead to what ingest hasn't read.
    @Test(arguments: [false, true]) func aTableLeadsToNoOtherFile(_ isRelative: Bool) throws {
        let run = try Pipeline(), input = run.folder("ingest")
        try run.ingest()
        let stranger = folder("stranger.rollouts.zst")
        try FileManager.default.copyItem(atPath: fixture("dump/rollouts-00000.rollouts.zst"), toPath: stranger)
        let up = String(repeating: "../", count: 40)
        try point(input + "/rollouts-00000.arrow", at: isRelative ? up + stranger.dropFirst() : stranger)
        try describeAnew(input)
        let result = try score(input)
        #expect(result.status == 1, "\(result.errors)")
        for words in ["stranger.rollouts.zst: found a file of", "none of those which", "run crux-ingest again"] {
            #expect(result.errors.contains(words), "no '\(words)' in \(result.errors)")
        }
    }

    /// What its manifest calls right is refused as well, and what differs from the manifest before anything is read of
    /// it.
    @Test func aChangedTableIsRefusedByItsDigest() throws {
        let run = try Pipeline(), path = run.folder("ingest/rollouts-00000.arrow")
        try run.ingest()
        var bytes = try readBytes(path)
        let place = try #require(bytes.firstRange(of: Array("stop".utf8)))
        bytes.replaceSubrange(place, with: Array("stoq".utf8))
        try writeBytes(bytes, to: path)
        let refused = try Executable("crux-score").run([
            "--quiet", "--input", run.folder("ingest"), "--output", folder("score"),
        ])
        expectRefused(refused, ["SHA-256", "manifest.json", "crux-ingest"])
        let believed = try Executable("crux-score").run([
            "--quiet", "--input", run.folder("ingest"), "--output", folder("believed"), "--no-verify",
        ])
        #expect(believed.status == 0, "\(believed.errors)")
        try writeBytes(bytes.dropLast(), to: path)
        let short = try Executable("crux-score").run([
            "--quiet", "--input", run.folder("ingest"), "--output", folder("short"), "--no-verify",
        ])
        #expect(short.status == 1 && short.errors.contains("\(bytes.count - 1) bytes"), "\(short.errors)")
    }

    /// Every table that a stage opens: the next one refuses it by name where one byte of it has changed.
    @Test func everyStageComparesWhatItOpens() throws {
        let run = try Pipeline(), recipe = repository("recipes/grpo.yaml")
        try run.ingest()
        try run.score()
        try run.plan(recipe)
        func refuses(_ table: String, _ command: String, _ arguments: [String]) throws {
            let path = run.folder(table), whole = try readBytes(path)
            var changed = whole
            changed[changed.count / 2] ^= 1
            try writeBytes(changed, to: path)
            defer { try? writeBytes(whole, to: path) }
            let refused = try Executable(command).run(["--quiet", "--output", folder(UUID().uuidString)] + arguments)
            #expect(
                refused.status == 3 && refused.errors.contains(table) && refused.errors.contains("SHA-256"),
                "\(command), \(table): \(refused.errors)")
        }
        let sources = ["--input", run.folder("ingest"), "--scores", run.folder("score")]
        try refuses("ingest/rollouts-00001.arrow", "crux-plan", sources + ["--recipe", recipe])
        try refuses("score/scores-00002.arrow", "crux-plan", sources + ["--recipe", recipe])
        try refuses("score/scores-00002.arrow", "crux-plan", sources + ["--recipe", recipe, "--report-only"])
        try refuses(
            "plan/plan.arrow", "crux-update", ["--plan", run.folder("plan"), "--checkpoint", fixture("policy")])
        try refuses(
            "plan/recipe.resolved.json", "crux-update",
            ["--plan", run.folder("plan"), "--checkpoint", fixture("policy")])
        try refuses("score/scores-00001.arrow", "crux-report", sources)
        try run.plan(repository("recipes/fr3e.yaml"), to: "expansion", ["--tokenizer", fixture("policy")])
        let jobs = run.folder("expansion/jobs")
        try refuses(
            "expansion/jobs/jobs-00000.jsonl", "crux-rollout", ["--checkpoint", fixture("policy"), "--jobs", jobs])
        try refuses("expansion/jobs/bases.arrow", "crux-ingest", ["--input", fixture("dump"), "--jobs", jobs])
        try refuses(
            "expansion/jobs/jobs.arrow", "crux-plan",
            sources + ["--recipe", repository("recipes/fr3e.yaml"), "--jobs", jobs])
    }

    // MARK: rows

    /// Changes that no stage makes, each with the column that is to be named.
    struct Change: Sendable, CustomTestStringConvertible {
        let column: String
        let change: @Sendable (inout RolloutRow) -> Void
        var testDescription: String { column }
    }

    static let changes = [
        Change(column: "token_ids") { ($0.tokenIDs, $0.lossMask, $0.rolloutLogprobs) = ([], [], []) },
        Change(column: "token_ids") { $0.tokenIDs[1] = -5 },
        Change(column: "loss_mask") { $0.lossMask.removeLast() }, Change(column: "loss_mask") { $0.lossMask[0] = true },
        Change(column: "loss_mask") { $0.lossMask = $0.lossMask.map { _ in false } },
        Change(column: "rollout_logprobs") { $0.rolloutLogprobs?.append(0) },
        Change(column: "rollout_logprobs") { $0.rolloutLogprobs?[3] = .nan },
        Change(column: "temperature") { $0.temperature = 0 },
        Change(column: "temperature") { $0.temperature = .nan },
        Change(column: "temperature") { $0.temperature = -.infinity }, Change(column: "top_p") { $0.topP = 1.5 },
        Change(column: "evidence") { $0.evidence = "logit" }, Change(column: "logits_offset") { $0.logitsOffset = -1 },
        Change(column: "given_reward") { $0.givenReward = .infinity },
        Change(column: "rollout_id") { $0.rolloutID = "" }, Change(column: "group_id") { $0.groupID = "" },
    ]

    @Test(arguments: changes) func aRowThatBreaksARuleIsNamed(_ change: Change) throws {
        let run = try Pipeline(), path = run.folder("ingest/rollouts-00000.arrow")
        try run.ingest()
        var rows = try ArrowTableReader(path: path, table: Tables.rollouts).rows()
        change.change(&rows[5])
        try write(rows, Tables.rollouts, to: path)
        try describeAnew(run.folder("ingest"))
        let refused = try Executable("crux-score").run([
            "--quiet", "--input", run.folder("ingest"), "--output", folder("score"),
        ])
        expectRefused(refused, ["row 5", "column '\(change.column)'"])
        let error = #expect(throws: FormatError.self) {
            _ = try ArrowTableReader(path: path, table: Tables.rollouts).rows()
        }
        #expect(
            error?.place.contains("row 5") == true && error?.place.contains("column '\(change.column)'") == true,
            "\(String(describing: error))")
    }

    static let planChanges: [(String, @Sendable (inout PlanRow) -> Void)] = [
        ("step", { $0.step = -1 }), ("temperature", { $0.temperature = 0 }),
        ("advantages", { $0.advantages[2] = .nan }),
        ("entropy_mask", { $0.entropyMask.append(true) }),
        ("old_logprobs", { $0.oldLogprobs.removeLast() }), ("kl_weights", { $0.klWeights = [1] }),
        ("returns", { $0.returns = [] }), ("reward", { $0.reward = .nan }),
        (
            "token_ids",
            {
                $0 = PlanRow(); $0.rolloutID = "x"
            }
        ), ("loss_mask", { $0.lossMask[0] = true }), ("evidence", { $0.evidence = "" }),
        ("token_weights", { $0.tokenWeights[0] = .infinity }), ("pair", { $0.pair = -1 }),
        ("values", { $0.values = $0.advantages.map { _ in .nan } }),
    ]

    @Test func rowsOfPlansAreHeldToTheirRules() throws {
        var whole = PlanRow()
        (whole.rolloutID, whole.tokenIDs, whole.lossMask) = ("r", [1, 2, 3], [false, true, true])
        (whole.advantages, whole.entropyMask, whole.tokenWeights, whole.oldLogprobs) = (
            [0, 1, 1], [false, true, true], [0, 1, 1], [0, -1, -1]
        )
        let unchanged: (String, @Sendable (inout PlanRow) -> Void) = ("", { _ in })
        for (column, change) in [unchanged] + Self.planChanges {
            var row = whole
            change(&row)
            try write([whole, row], Tables.plan, to: folder("plan.arrow"))
            let reader = try ArrowTableReader(path: folder("plan.arrow"), table: Tables.plan)
            guard !column.isEmpty else { #expect(try reader.rows().count == 2); continue }
            let error = #expect(throws: FormatError.self, "\(column)") { _ = try reader.rows() }
            #expect(
                error?.place.contains("row 1") == true && error?.place.contains("'\(column)'") == true,
                "\(column): \(String(describing: error))")
            // Rules of columns that are not read are not held.
            #expect(try reader.reading(["rollout_id", "group_id"]).rows().count == 2)
        }
    }

    /// A plan's jobs whose prefixes reach beyond their bases.
    @Test func jobsAreHeldAgainstTheirBases() throws {
        var base = BaseRow(), job = JobRow()
        (base.rollout.rolloutID, base.rollout.groupID, base.rollout.tokenIDs, base.rollout.lossMask) = (
            "b", "g", [1, 2, 3], [false, true, true]
        )
        base.statePositions = [1, 2]
        (
            job.jobID, job.customID, job.baseRolloutID, job.stateIndex, job.anchorPosition, job.prefixLength,
            job.maxTokens
        ) = ("j", "c", "b", 1, 2, 2, 5)
        func contents(_ jobs: [JobRow], _ bases: [BaseRow]) throws {
            try write(jobs, Tables.jobs, to: folder("jobs.arrow"))
            try write(bases, Tables.bases, to: folder("bases.arrow"))
            _ = try JobIndex(JobDirectory(folder.path))
        }
        try contents([job], [base])
        let changes: [(String, (inout JobRow, inout BaseRow) -> Void)] = [
            ("no base 'x'", { job, _ in job.baseRolloutID = "x" }),
            ("anchor_position 3", { job, _ in job.anchorPosition = 3 }),
            ("state_index 2", { job, _ in job.stateIndex = 2 }),
            ("prefix_length 7", { job, _ in job.prefixLength = 7 }),
            ("-2147483648", { job, _ in job.anchorPosition = .min }),
            ("position 9", { _, base in base.statePositions = [1, 9] }),
            ("thought_end", { _, base in base.thoughtEnd = 3 }), ("one per token", { _, base in base.entropy = [0] }),
        ]
        for (words, change) in changes {
            var otherJob = job, otherBase = base
            change(&otherJob, &otherBase)
            let error = #expect(throws: FormatError.self, "\(words)") { try contents([otherJob], [otherBase]) }
            #expect("\(error.map { "\($0)" } ?? "")".contains(words), "\(words): \(String(describing: error))")
        }
        #expect(throws: FormatError.self) { try contents([job], [base, base]) }
        var again = job
        again.customID = "d"
        #expect(throws: FormatError.self) { try contents([job, again], [base]) }
        (again.jobID, again.customID) = ("k", "c")
        #expect(throws: FormatError.self) { try contents([job, again], [base]) }
    }

    // MARK: manifests

    @Test(arguments: [
        "", "{", "[]", "null", #"{"stage":"ingest"}"#, String(repeating: "[", count: 200_000),
        #"{"stage":"ingest","version":"0","configuration":{},"inputs":[],"counts":{"a":1e400},"outputs":[]}"#,
        #"{"stage":"ingest","version":"0","configuration":{},"inputs":[],"counts":{},"outputs":[{"path":"../../etc/passwd"}]}"#,
        #"{"stage":"ingest","version":"0","configuration":{},"inputs":[],"counts":{},"outputs":[{"path":"/etc/passwd"}]}"#,
        #"{"stage":"ingest","version":"0","configuration":{},"inputs":[],"counts":{},"outputs":[{"path":"rollouts-00000.arrow","bytes":-1}]}"#,
    ]) func aManifestThatCannotBeIsRefused(_ text: String) throws {
        let input = try folder.folder("ingest")
        try text.write(toFile: input + "/manifest.json", atomically: true, encoding: .utf8)
        let refused = try score(input)
        #expect(refused.status == 3 && refused.errors.contains("manifest.json"), "\(refused.errors)")
        #expect(!FileManager.default.fileExists(atPath: folder("score")))
    }

    // MARK: shards

    @Test func aShardWhoseSizesAddUpBeyondNumbersIsRejected() throws {
        let refused = try Executable("crux-ingest").run([
            "--quiet", "--input", fixture("cases/faults/shard-size-overflow/d"), "--output", folder("ingest"),
        ])
        #expect(
            refused.status == 3 && refused.errors.contains("invalid_safetensors")
                && refused.errors.contains("a.rollouts.zst"), "\(refused.errors)")
    }
}
