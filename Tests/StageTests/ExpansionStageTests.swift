import Arrow
import Files
import Formats
import Foundation
import TestSupport
import Testing
import Tokenizer

/// The way round: plan → jobs → rollout → ingest → score → plan → update, on the fixture dump.
struct JobChain {
    let run: Pipeline
    let recipe: String
    let set: [String]

    static let fr3e = ["expansion.anchors=2", "expansion.replicates=3"]
    static let vineppo = [
        "expansion.step_separators=['. ']", "expansion.minimum_step_characters=1", "expansion.replicates=2",
    ]
    static let serial = ["expansion.inducer='#### '", "expansion.thought_end='####'", "expansion.exits=2"]

    /// Flags of both scorings: of the dump and of the jobs' results.
    let scoring: [String]

    init(_ recipe: String, _ set: [String], scoring: [String] = []) throws {
        run = try Pipeline()
        (self.recipe, self.set, self.scoring) = (repositoryRoot + "/recipes/\(recipe).yaml", set, scoring)
        try run.ingest()
        try run.score(scoring)
    }

    func folder(_ name: String) -> String { run.folder(name) }

    var settings: [String] { ["--recipe", recipe] + set.flatMap { ["--set", $0] } }

    func planJobs(to name: String = "expansion", _ more: [String] = []) throws {
        try require(
            "crux-plan",
            [
                "--input", folder("ingest"), "--scores", folder("score"), "--output", folder(name), "--tokenizer",
                fixture("policy"),
            ] + settings + more)
    }

    func rollout(_ more: [String] = []) throws {
        try require(
            "crux-rollout",
            [
                "--checkpoint", fixture("policy"), "--jobs", folder("expansion/jobs"), "--output", folder("results"),
                "--batch", "256", "--logits",
            ] + more)
    }

    func join(_ input: [String]? = nil, to name: String = "joined", _ more: [String] = []) throws -> Executable.Result {
        try Executable("crux-ingest").run(
            ["--quiet", "--input"] + (input ?? [folder("results")]) + [
                "--jobs", folder("expansion/jobs"), "--output", folder(name),
            ] + more)
    }

    func score(_ name: String = "joined", to output: String = "scored") throws {
        try require("crux-score", ["--input", folder(name), "--output", folder(output)] + scoring)
    }

    func planResults(
        _ name: String = "joined", _ scores: String = "scored", to output: String = "plan", _ more: [String] = []
    ) throws -> Executable.Result {
        try Executable("crux-plan").run(
            [
                "--quiet", "--input", folder(name), "--scores", folder(scores), "--jobs", folder("expansion/jobs"),
                "--output", folder(output),
            ] + settings + more)
    }

    func require(_ name: String, _ arguments: [String]) throws {
        let result = try Executable(name).run(["--quiet"] + arguments)
        try #require(result.status == 0, "\(name): \(result.errors)")
    }

    func wholeWay() throws {
        try planJobs()
        try rollout()
        let joined = try join()
        try #require(joined.status == 0, "\(joined.errors)")
        try score()
        let planned = try planResults()
        try #require(planned.status == 0, "\(planned.errors)")
    }

    var jobs: [JobRow] { get throws { try JobDirectory(folder("expansion/jobs")).jobs() } }
    var bases: [BaseRow] { get throws { try JobDirectory(folder("expansion/jobs")).bases() } }
    var joined: [RolloutRow] {
        get throws { try ArrowTableReader(path: folder("joined/rollouts-00000.arrow"), table: Tables.rollouts).rows() }
    }
    var scored: [ScoreRow] {
        get throws { try ArrowTableReader(path: folder("scored/scores-00000.arrow"), table: Tables.scores).rows() }
    }
    var planned: [PlanRow] {
        get throws { try ArrowTableReader(path: folder("plan/plan.arrow"), table: Tables.plan).rows() }
    }
}

@Suite struct ExpansionStageTests {
    @Test func fr3eFromBasesToTrainedContinuations() throws {
        let chain = try JobChain("fr3e", JobChain.fr3e)
        try chain.wholeWay()
        let jobs = try chain.jobs,
            bases = Dictionary(uniqueKeysWithValues: try chain.bases.map { ($0.rollout.rolloutID, $0) })
        #expect(
            Set(jobs.map(\.customID)).count == jobs.count && Set(jobs.map(\.jobID)).count == jobs.count
                && Set(jobs.map(\.seed)).count > jobs.count / 2)
        #expect(
            jobs.allSatisfy {
                $0.customID.count <= 64
                    && $0.customID.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "._-".contains($0)) }
            })
        try checkAnchors(jobs, bases)
        try checkRows(chain, jobs, bases)
        try checkAdvantages(chain, jobs)
        try chain.run.update()
        #expect(FileManager.default.fileExists(atPath: chain.folder("update/manifest.json")))
    }

    /// The anchors are what sorting by entropy gives, computed here in one line.
    private func checkAnchors(_ jobs: [JobRow], _ bases: [String: BaseRow]) throws {
        for job in jobs {
            let base = try #require(bases[job.baseRolloutID]), entropy = try #require(base.entropy)
            #expect(
                Array(base.rollout.tokenIDs.prefix(Int(job.prefixLength))).withUnsafeBytes { SHA256Digest.of($0) }
                    == job.prefixSHA256)
            let start = try #require(base.rollout.lossMask.firstIndex(of: true)), position = Int(job.anchorPosition)
            #expect(
                job.prefixLength == job.anchorPosition && base.statePositions[Int(job.stateIndex)] == job.anchorPosition
            )
            guard job.stateIndex > 0 else {
                #expect(position == start && job.anchorEntropy == nil)
                continue
            }
            #expect(job.anchorEntropy == entropy[position])
            let chosen = Set(base.statePositions.dropFirst().map { Int($0) }), text = base.rollout.completion
            // Tokens are single characters here: the answer's own lie behind the last "#### ".
            let answer =
                text.range(of: "#### ", options: .backwards).map {
                    start + text.distance(from: text.startIndex, to: $0.upperBound)
                } ?? Int.max
            for t in start + 1..<base.rollout.tokenIDs.count - 1 where t < answer && !chosen.contains(t) {
                #expect(entropy[t] <= entropy[position])
            }
        }
    }

    private func checkRows(_ chain: JobChain, _ jobs: [JobRow], _ bases: [String: BaseRow]) throws {
        let rows = try chain.joined, tokenizer = try Tokenizer(path: fixture("policy"))
        #expect(rows.map { $0.jobID } == jobs.map { $0.jobID })
        for (row, job) in zip(rows, jobs) {
            let base = try #require(bases[job.baseRolloutID]), length = Int(job.prefixLength)
            #expect(Array(row.tokenIDs.prefix(length)) == Array(base.rollout.tokenIDs.prefix(length)))
            #expect(row.lossMask == row.tokenIDs.indices.map { $0 >= length })
            #expect(
                row.groupID == base.rollout.groupID && row.referenceAnswer == base.rollout.referenceAnswer
                    && row.prompt == base.rollout.prompt)
            // The reward sees the whole response, prefix included.
            #expect(
                row.completion == tokenizer.decode(row.tokenIDs[(base.rollout.lossMask.firstIndex(of: true) ?? 0)...]))
        }
    }

    /// V, ΔV, factor and advantage by their definitions.
    private func checkAdvantages(_ chain: JobChain, _ jobs: [JobRow]) throws {
        let scores = Dictionary(uniqueKeysWithValues: try chain.scored.map { ($0.rolloutID, Double($0.reward ?? -1)) }),
            jobByID = Dictionary(uniqueKeysWithValues: jobs.map { ($0.customID, $0) })
        var rewards: [String: [Int32: [Double]]] = [:]
        for job in jobs {
            rewards[job.baseRolloutID, default: [:]][job.stateIndex, default: []].append(
                try #require(scores[job.customID]))
        }
        let rows = try chain.planned
        #expect(!rows.isEmpty)
        for row in rows {
            let job = try #require(jobByID[row.rolloutID]), states = try #require(rewards[job.baseRolloutID])
            func value(_ state: Int32) -> Double { states[state]!.reduce(0, +) / Double(states[state]!.count) }
            let delta = job.stateIndex == 0 ? 1 - value(0) : value(job.stateIndex) - value(job.stateIndex - 1)
            let expected = exp(-delta) * (scores[job.customID]! - value(job.stateIndex))
            #expect(row.groupID == "\(job.baseRolloutID)/\(job.stateIndex)")
            for t in row.tokenIDs.indices {
                #expect(isClose(Double(row.advantages[t]), t >= Int(job.prefixLength) ? expected : 0, absolute: 1e-6))
            }
        }
        let kept = Set(rows.map(\.rolloutID))
        for job in jobs where Set(rewards[job.baseRolloutID]![job.stateIndex]!).count > 1 {
            #expect(kept.contains(job.customID))
        }
        #expect(
            rows.allSatisfy { row in
                Set(rewards[jobByID[row.rolloutID]!.baseRolloutID]![jobByID[row.rolloutID]!.stateIndex]!).count > 1
            })
    }

    @Test func vineppoTrainsTheBasesByTheValuesOfTheirSteps() throws {
        // Without whitening the checksum shows: a rollout's step advantages sum to R - V(S_0).
        let chain = try JobChain("vineppo", JobChain.vineppo + ["expansion.whiten=false"])
        try chain.wholeWay()
        let jobs = try chain.jobs, bases = try chain.bases,
            rows = Dictionary(uniqueKeysWithValues: try chain.planned.map { ($0.rolloutID, $0) })
        #expect(rows.count == bases.count)
        let scores = Dictionary(uniqueKeysWithValues: try chain.scored.map { ($0.rolloutID, Double($0.reward ?? -1)) })
        var values: [String: [Double]] = [:]
        for job in jobs { values[job.prefixSHA256, default: []].append(try #require(scores[job.customID])) }
        // Identical prefixes are sampled once.
        #expect(values.values.allSatisfy { $0.count == 2 })
        for base in bases {
            let row = try #require(rows[base.rollout.rolloutID])
            let v = base.statePositions.map { position in
                mean(values[prefixDigest(base.rollout.tokenIDs[..<Int(position)])] ?? [])
            }
            let steps = base.statePositions.map { Double(row.advantages[Int($0)]) }
            #expect(isClose(steps.reduce(0, +), Double(base.reward ?? -1) - v[0], absolute: 1e-5))
            #expect(row.lossMask == base.rollout.lossMask && row.advantages.last.map { Double($0) } == steps.last)
        }
        let whitened = try JobChain("vineppo", JobChain.vineppo)
        try whitened.wholeWay()
        let advantages = try whitened.planned.flatMap { row in
            row.lossMask.indices.filter { row.lossMask[$0] }.map { Double(row.advantages[$0]) }
        }
        #expect(abs(mean(advantages)) < 1e-6 && isClose(mean(advantages.map { $0 * $0 }), 1, absolute: 1e-3))
    }

    private func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }

    @Test func serialExitsTrainThinkingAndAnswersButNotTheInducer() throws {
        let chain = try JobChain("s-grpo", JobChain.serial, scoring: ["--checkpoint", fixture("policy")])
        try chain.wholeWay()
        // Thought tokens are compared with what their own sampler said of them; they were once held against the
        // results' log-probabilities, 7.4 apart. Trainer and samplers are one policy, in float32 and float64.
        let again = try chain.planResults(to: "again"), summary = again.summary["summary"] as? [String: Any]
        let staleness = try #require(summary?["staleness_max"] as? Double, "\(again.output)")
        #expect(staleness < 1e-4)
        let jobs = Dictionary(uniqueKeysWithValues: try chain.jobs.map { ($0.customID, $0) })
        let bases = Dictionary(uniqueKeysWithValues: try chain.bases.map { ($0.rollout.rolloutID, $0) })
        let rows = try chain.planned, inducer = try Tokenizer(path: fixture("policy")).encode("#### ")
        #expect(rows.count == jobs.count + bases.count)
        for row in rows {
            guard let job = jobs[row.rolloutID] else { continue }
            let base = try #require(bases[job.baseRolloutID]), cut = Int(job.anchorPosition),
                end = Int(job.prefixLength)
            #expect(Array(row.tokenIDs[cut..<end]) == inducer && job.injectedTokenIDs == inducer)
            let start = try #require(base.rollout.lossMask.firstIndex(of: true))
            #expect(row.lossMask == row.tokenIDs.indices.map { $0 >= start && !(cut..<end).contains($0) })
            // Log-probabilities of the thinking come from the base, those of the answer from the job.
            #expect(Array(row.oldLogprobs[start..<cut]) == Array(try #require(base.oldLogprobs)[start..<cut]))
            #expect(row.groupID == base.rollout.rolloutID)
        }
        let groups = Dictionary(grouping: rows, by: \.groupID)
        #expect(groups.count == bases.count)
        for group in groups.values {
            let advantages = group.map { row in
                row.lossMask.firstIndex(of: true).map { Double(row.advantages[$0]) } ?? 0
            }
            #expect(isClose(advantages.reduce(0, +), 0, absolute: 1e-6))
        }
    }

    /// Nothing is said of how far the trainer is from the sampler where nobody has the trainer's log-probabilities.
    @Test func withoutACheckpointNoStalenessIsSaid() throws {
        let chain = try JobChain("s-grpo", JobChain.serial)
        try chain.wholeWay()
        let again = try chain.planResults(to: "again"),
            summary = try #require(again.summary["summary"] as? [String: Any])
        #expect(summary["staleness_max"] as? Double == nil, "\(again.output)")
    }

    /// Jobs of a round out and home again, into folders of its name.
    private func sampleRound(_ name: String, _ chain: JobChain) throws {
        let jobs = ["--jobs", chain.folder(name + "/jobs")]
        try chain.require(
            "crux-rollout",
            [
                "--checkpoint", fixture("policy"), "--output", chain.folder(name + "-results"), "--batch", "256",
                "--logits",
            ]
                + jobs)
        try chain.require(
            "crux-ingest",
            ["--input", chain.folder(name + "-results"), "--output", chain.folder(name + "-joined")] + jobs)
        try chain.require(
            "crux-score",
            ["--input", chain.folder(name + "-joined"), "--output", chain.folder(name + "-scored")])
    }

    private func planRound(_ name: String, to output: String, _ chain: JobChain, _ more: [String] = []) throws
        -> Executable.Result
    {
        try Executable("crux-plan").run(
            [
                "--quiet", "--input", chain.folder(name + "-joined"), "--scores", chain.folder(name + "-scored"),
                "--jobs", chain.folder(name + "/jobs"), "--output", chain.folder(output),
            ] + chain.settings + more)
    }

    /// A tree of two rounds: rollouts, what was sampled from them, and what was sampled from either.
    @Test func aSecondRoundGoesBackIntoWhatTheFirstSampled() throws {
        let chain = try JobChain("tree", ["expansion.rounds=2", "expansion.anchors=1", "expansion.replicates=1"])
        try chain.planJobs(to: "one")
        try sampleRound("one", chain)
        let planned = try planRound("one", to: "two", chain, ["--tokenizer", fixture("policy")])
        try #require(planned.status == 0, "\(planned.errors)")
        let first = try JobDirectory(chain.folder("one/jobs")), second = try JobDirectory(chain.folder("two/jobs"))
        #expect(try first.round() == 1 && second.round() == 2)
        let bases = try second.bases(), jobs = try second.jobs(), known = try first.bases()
        #expect(bases.count == known.count + (try first.jobs().count))
        let byID = Dictionary(uniqueKeysWithValues: bases.map { ($0.rollout.rolloutID, $0) })
        let branched = bases.filter { $0.parentRolloutID != nil }
        for base in branched {
            let parent = try #require(byID[base.parentRolloutID ?? ""]), cut = Int(base.branchPosition ?? -1)
            #expect(base.rollout.tokenIDs[..<cut] == parent.rollout.tokenIDs[..<cut])
            #expect(base.rollout.lossMask[..<cut] == parent.rollout.lossMask[..<cut])
            #expect(base.statePositions.allSatisfy { $0 > cut })
            #expect(base.oldLogprobs?[..<cut] == parent.oldLogprobs?[..<cut])
        }
        #expect(jobs.contains { byID[$0.baseRolloutID]?.parentRolloutID != nil }, "no branch of a branch")
        // One anchor for each tree.
        #expect(jobs.count <= known.count && Set(jobs.map(\.customID)).isDisjoint(with: byID.keys))

        try sampleRound("two", chain)
        let last = try planRound("two", to: "plan", chain)
        try #require(last.status == 0, "\(last.errors)")
        let rows = try chain.planned
        #expect(Set(rows.map(\.rolloutID)).isSubset(of: Set(byID.keys).union(jobs.map(\.customID))))
        #expect(
            rows.contains { byID[$0.rolloutID] == nil } && rows.contains { byID[$0.rolloutID]?.parentRolloutID != nil })
        // What rows have in common gets the same in each: it leads to the same nodes.
        let planned2 = Dictionary(uniqueKeysWithValues: rows.map { ($0.rolloutID, $0) })
        for job in jobs {
            guard let row = planned2[job.customID], let base = planned2[job.baseRolloutID] else { continue }
            let cut = Int(job.anchorPosition)
            #expect(row.advantages[..<cut] == base.advantages[..<cut] && row.lossMask[..<cut] == base.lossMask[..<cut])
            #expect(row.oldLogprobs[..<cut] == base.oldLogprobs[..<cut])
        }
        // Without the second round there are fewer rows.
        let early = try planRound("one", to: "early", chain, ["--last-round"])
        #expect(early.status == 0, "\(early.errors)")
        let kept = try ArrowTableReader(path: chain.folder("early/plan.arrow"), table: Tables.plan).rows()
        #expect(kept.allSatisfy { byID[$0.rolloutID] != nil })
        let alone = try Executable("crux-plan").run(
            ["--input", chain.folder("ingest"), "--scores", chain.folder("score"), "--output", chain.folder("x")]
                + chain.settings + ["--last-round"])
        #expect(alone.status == 2 && alone.errors.contains("--jobs"))
    }

    /// Budgets end: a round with nothing to sample is no success, and the results so far make a plan.
    @Test func aTreeOfAFixedWidthIsSampledUntilItsBudgetIsSpent() throws {
        let chain = try JobChain("treepo", ["expansion.rounds=3", "expansion.width=10", "expansion.segment=4"])
        try chain.planJobs(to: "one")
        try sampleRound("one", chain)
        let jobs = try JobDirectory(chain.folder("one/jobs")).jobs().count
        let second = try planRound("one", to: "two", chain, ["--tokenizer", fixture("policy")])
        let groups = Set(try JobDirectory(chain.folder("one/jobs")).bases().map(\.rollout.groupID)).count
        #expect(jobs == 2 * groups)
        #expect(second.status == 6, "\(second.errors)")
        let plan = try planRound("one", to: "plan", chain, ["--last-round"])
        #expect(plan.status == 0, "\(plan.errors)")
        for group in Dictionary(grouping: try chain.planned, by: \.groupID).values { #expect(group.count == 10) }
    }

    /// Both plans of each method: rows are read on several threads, and written in their order.
    @Test(arguments: [
        ("fr3e", JobChain.fr3e), ("vineppo", JobChain.vineppo), ("s-grpo", JobChain.serial),
        ("tree", ["expansion.replicates=1"]),
    ]) func plansOfAnExpansionHaveTheSameBytesForAnyThreads(_ recipe: String, _ set: [String]) throws {
        let chain = try JobChain(recipe, set)
        try chain.wholeWay()
        try chain.planJobs(to: "jobs-again", ["--threads", "1"])
        for name in ["jobs/jobs.arrow", "jobs/bases.arrow", "jobs/jobs-00000.jsonl", "dropped.arrow"] {
            #expect(try readBytes(chain.folder("jobs-again/" + name)) == readBytes(chain.folder("expansion/" + name)))
        }
        for threads in ["1", "3"] {
            let planned = try chain.planResults(to: "plan-" + threads, ["--threads", threads])
            try #require(planned.status == 0, "\(planned.errors)")
            for name in ["plan.arrow", "dropped.arrow"] {
                #expect(
                    try readBytes(chain.folder("plan-\(threads)/\(name)")) == readBytes(chain.folder("plan/\(name)")),
                    "\(name) with \(threads) threads")
            }
        }
    }

    @Test func plansOfAnExpansionSurviveAKill() throws {
        let chain = try JobChain("fr3e", JobChain.fr3e)
        try chain.wholeWay()
        let whole = try contents(of: chain.folder("expansion")), plan = try contents(of: chain.folder("plan"))
        let settings = ["--recipe", chain.recipe] + chain.set.flatMap { ["--set", $0] }, sweep = try KillSweep()
        try sweep.expectSameBytes(
            "crux-plan",
            {
                [
                    "--input", chain.folder("ingest"), "--scores", chain.folder("score"), "--output", $0,
                    "--tokenizer", fixture("policy"),
                ] + settings
            }, in: try TemporaryDirectory(), whole)
        try sweep.expectSameBytes(
            "crux-plan",
            {
                [
                    "--input", chain.folder("joined"), "--scores", chain.folder("scored"), "--jobs",
                    chain.folder("expansion/jobs"), "--output", $0,
                ] + settings
            }, in: try TemporaryDirectory(), plan)
    }

    @Test func whatIsMissingIsNamedWithTheFlagThatSuppliesIt() throws {
        let chain = try JobChain("vineppo", [])
        let arguments = [
            "--input", chain.folder("ingest"), "--scores", chain.folder("score"), "--output", chain.folder("out"),
            "--recipe",
        ]
        let noTokenizer = try Executable("crux-plan").run(arguments + [chain.recipe])
        #expect(noTokenizer.status == 2 && noTokenizer.errors.contains("--tokenizer"))
        let noExpansion = try Executable("crux-plan").run(
            arguments + [repositoryRoot + "/recipes/grpo.yaml", "--jobs", chain.folder("ingest")])
        #expect(noExpansion.status == 2 && noExpansion.errors.contains("expansion"))
        let noJobs = try Executable("crux-plan").run(arguments + [chain.recipe, "--jobs", chain.folder("ingest")])
        #expect(noJobs.status != 0 && noJobs.errors.contains("jobs.arrow"), "\(noJobs.errors)")
        let chat = try Executable("crux-plan").run(
            arguments + [repositoryRoot + "/recipes/fr3e.yaml", "--engine", "chat"])
        #expect(chat.status == 2 && chat.errors.contains("--tokenizer"))
        let paragraphs = try Executable("crux-plan").run(
            arguments + [repositoryRoot + "/recipes/fr3e.yaml", "--set", "expansion.anchor_score=blank_lines"])
        #expect(paragraphs.status == 2 && paragraphs.errors.contains("--tokenizer"))
        let lines = try Executable("crux-ingest").run([
            "--input", fixture("prompts-heldout.jsonl"), "--output", chain.folder("lines"),
        ])
        #expect(lines.status == 3 && lines.errors.contains("unknown_dialect"))
    }
}
