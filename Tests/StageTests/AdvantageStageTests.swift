import Arrow
import Formats
import Foundation
import TestSupport
import Testing
import Tokenizer

/// Metadata and columns that methods of 2026 read, from a shard to the plan.
@Suite struct AdvantageStageTests {
    private func rollouts(_ edit: (Int, inout TinyRollout) -> Void) -> [TinyRollout] {
        (0..<4).map { index in
            var rollout = TinyRollout(id: "r-\(index)", group: "g-0")
            rollout.removeLogits()
            rollout.frame.metadata["sample_index"] = "\(index)"
            rollout.frame.metadata["reward"] = "\(index % 2)"
            edit(index, &rollout)
            return rollout
        }
    }

    private func scored(_ rollouts: [TinyRollout], _ more: [String] = []) throws -> Pipeline {
        let pipeline = try Pipeline(), shard = pipeline.folder("dump.rollouts.zst")
        try writeShard(rollouts, to: shard)
        try pipeline.ingest(shard)
        try pipeline.score(["--reward", "given"] + more)
        return pipeline
    }

    private func plan(_ pipeline: Pipeline, _ recipe: String) throws -> (rows: [PlanRow], result: Executable.Result) {
        let path = pipeline.folder("recipe.yaml")
        try recipe.write(toFile: path, atomically: true, encoding: .utf8)
        let name = "plan-\(UUID().uuidString.prefix(8))", result = try pipeline.runPlan(path, to: name)
        guard result.status == 0 else { return ([], result) }
        return (
            try ArrowTableReader(path: pipeline.folder(name) + "/plan.arrow", table: Tables.plan).rows(), result
        )
    }

    @Test func remaxComparesWithTheGreedyRollout() throws {
        let pipeline = try scored(rollouts { if $0 == 3 { $1.frame.metadata["greedy"] = "true" } })
        let (rows, _) = try plan(pipeline, "advantage: remax")
        #expect(rows.map(\.rolloutID) == ["r-0", "r-1", "r-2"])
        #expect(rows.map { $0.advantages[4] } == [-1, 0, -1])
        let refused = try plan(try scored(rollouts { _, _ in }), "advantage: remax").result
        #expect(refused.status == 3 && refused.errors.contains("group 'g-0': found no greedy rollout"))
    }

    @Test func severalRewardsComeFromMetadata() throws {
        let pipeline = try scored(
            rollouts { $1.frame.metadata["rewards"] = "{\"format\": \($0 < 2 ? 1 : 0), \"length\": null}" })
        let recipe = "reward: {components: {correct: 1, format: 2}}\nadvantage: {type: gdpo, whiten: none}"
        let (rows, result) = try plan(pipeline, recipe)
        try #require(result.status == 0, "\(result.errors)")
        // Rewards 0, 1, 0, 1 and 1, 1, 0, 0: each deviates by ±.5 of a deviation of .57735.
        let step = 0.5 / (0.577350 + 1e-6)
        #expect(
            firstDifference(rows.map { Double($0.advantages[4]) }, [1, 3, -3, -1].map { $0 * step }, absolute: 1e-5)
                == nil)
        #expect(rows.map(\.reward) == [2, 3, 0, 1])
        let missing = try plan(pipeline, recipe.replacingOccurrences(of: "format", with: "tone")).result
        #expect(missing.status == 3 && missing.errors.contains("found no reward 'tone'"))
    }

    @Test func rewardsThatAreNoneAreRejected() throws {
        let pipeline = try Pipeline(), shard = pipeline.folder("dump.rollouts.zst")
        try writeShard(rollouts { if $0 == 1 { $1.frame.metadata["rewards"] = "[1]" } }, to: shard)
        try pipeline.ingest(shard)
        let rejected = try ArrowTableReader(
            path: pipeline.folder("ingest") + "/rejected.arrow", table: Tables.rejected
        ).rows()
        #expect(rejected.map(\.rolloutID) == ["r-1"] && rejected.first?.detail.contains("rewards") == true)
    }

    @Test func judgesNameRewardsOfTheirOwn() throws {
        let judge = """
            while read line; do id=$(printf '%s' "$line" | sed 's/.*"id":"\\([0-9]*\\)".*/\\1/'); \
            echo "{\\"id\\": \\"$id\\", \\"score\\": 0.5}"; done
            """
        let pipeline = try scored(rollouts { _, _ in }, ["--judge", "tone=" + judge])
        let scores = try ArrowTableReader(
            path: pipeline.folder("score") + "/scores-00000.arrow", table: Tables.scores
        ).rows()
        #expect(scores.map(\.rewards) == [String?](repeating: "{\"tone\":0.5}", count: 4))
        let bad = try Executable("crux-score").run(
            ["--input", pipeline.folder("ingest"), "--output", pipeline.folder("bad"), "--judge", "tone"])
        #expect(bad.status == 2 && bad.errors.contains("NAME=COMMAND"))
    }

    @Test func aTeachersColumnWinsOverTheReference() throws {
        let pipeline = try scored(
            rollouts { index, rollout in
                rollout.frame.referenceLogprobs = rollout.frame.lossMask.map { $0 ? -1 : 0 }
                guard index < 2 else { return }
                rollout.frame.teacherLogprobs = rollout.frame.lossMask.map {
                    $0 ? (index == 0 ? -0.25 : -.infinity) : 0
                }
            })
        let (rows, result) = try plan(pipeline, "advantage: {type: none, teacher: {coef: 2}}")
        try #require(result.status == 0, "\(result.errors)")
        // Sampled at -.5.
        #expect(rows.map { $0.advantages[4] } == [0.5, -59, -1, -1])
        #expect(rows.allSatisfy { $0.advantages[0] == 0 })
        let without = try plan(try scored(rollouts { _, _ in }), "advantage: {type: none, teacher: {}}").result
        #expect(without.status == 3 && without.errors.contains("teacher_logprobs"))
    }

    /// The policy as its own teacher, with and without another prompt.
    @Test func aTeacherReadsItsOwnPrompt() throws {
        let policy = fixture("policy")
        func scores(_ edit: (Int, inout TinyRollout) -> Void) throws -> [ScoreRow] {
            let pipeline = try scored(rollouts(edit), ["--checkpoint", policy, "--teacher", policy])
            return try ArrowTableReader(
                path: pipeline.folder("score") + "/scores-00000.arrow", table: Tables.scores
            ).rows()
        }
        let other: [Int32] = [5, 7, 1]
        let plain = try scores { _, _ in }, taught = try scores { $1.frame.teacherPromptIDs = $0 == 0 ? other : nil }
        // The rollout that was sampled behind that prompt.
        let behind = try scores { index, rollout in
            rollout.frame.tokenIDs = other + rollout.frame.tokenIDs[2...]
            rollout.frame.lossMask = [false, false, false, true, true, true]
            rollout.frame.rolloutLogprobs = rollout.frame.lossMask.map { $0 ? -0.5 : 0 }
        }
        #expect(plain.map(\.teacherLogprobs) == plain.map(\.oldLogprobs))
        // Sums in another order, where rows share other prefixes.
        func isSame(_ a: [Float]?, _ b: [Float]?) -> Bool {
            firstDifference((a ?? []).map { Double($0) }, (b ?? [1]).map { Double($0) }, absolute: 1e-5) == nil
        }
        #expect(isSame(taught[1].teacherLogprobs, plain[1].teacherLogprobs))
        #expect(isSame(taught[0].oldLogprobs, plain[0].oldLogprobs))
        let found = try #require(taught[0].teacherLogprobs), expected = try #require(behind[0].oldLogprobs)
        #expect(found.count == 5 && found.prefix(2).allSatisfy { $0 == 0 })
        #expect(
            firstDifference(found.suffix(3).map { Double($0) }, expected.suffix(3).map { Double($0) }, absolute: 1e-5)
                == nil)
        #expect(found != plain[0].teacherLogprobs)
    }

    private func scores(_ pipeline: Pipeline, _ name: String = "score") throws -> [ScoreRow] {
        try ArrowTableReader(path: pipeline.folder(name) + "/scores-00000.arrow", table: Tables.scores).rows()
    }

    private func isSame(_ a: [Float]?, _ b: [Float]?) -> Bool {
        firstDifference((a ?? []).map { Double($0) }, (b ?? [1]).map { Double($0) }, absolute: 1e-5) == nil
    }

    /// By the teacher's tokenizer: the same as the ids that it makes of the text.
    @Test func aTeachersPromptMayBeText() throws {
        let policy = fixture("policy"), text = "1 + 1 = "
        let ids = try Tokenizer(path: policy).encode(text, specialTokens: .auto)
        let models = ["--checkpoint", policy, "--teacher", policy]
        let byText = try scores(try scored(rollouts { $1.frame.metadata["teacher_prompt"] = text }, models))
        let byIDs = try scores(try scored(rollouts { $1.frame.teacherPromptIDs = ids }, models))
        #expect(byText.map(\.teacherPrompt) == [String?](repeating: "text", count: 4))
        #expect(byIDs.map(\.teacherPrompt) == [String?](repeating: "ids", count: 4))
        for (a, b) in zip(byText, byIDs) { #expect(isSame(a.teacherLogprobs, b.teacherLogprobs)) }
        #expect(!isSame(byText[0].teacherLogprobs, byText[0].oldLogprobs))
    }

    /// Rewards 0, 1, 0, 1: all are shown r-1, which is shown r-3. In a group of one right rollout that one sees nothing.
    @Test func thePolicyIsShownARightRolloutOfTheGroup() throws {
        let policy = fixture("policy"), tokenizer = try Tokenizer(path: policy)
        func text(_ index: Int) -> String { "\(index) + \(index) = \(2 * index)" }
        let all = rollouts { index, rollout in
            rollout.frame.metadata["completion"] = text(index)
            rollout.frame.metadata["reference_answer"] = "\(index)"
            if index > 1 { rollout.frame.metadata["group_id"] = "g-1" }
        }
        let pipeline = try scored(all)
        let models = ["--reward", "given", "--checkpoint", policy, "--teacher", policy]
        func run(_ name: String, _ more: [String]) throws -> Executable.Result {
            try Executable("crux-score").run(
                ["--quiet", "--input", pipeline.folder("ingest"), "--output", pipeline.folder(name)] + models + more)
        }
        let template = ["--privileged-template", "{demonstration} so "]
        let said = try run("shown", ["--privileged", "demonstration"] + template)
        try #require(said.status == 0, "\(said.errors)")
        let shown = try scores(pipeline, "shown")
        #expect(shown.map(\.teacherPrompt) == ["demonstration", "own", "demonstration", "own"])
        #expect(isSame(shown[1].teacherLogprobs, shown[1].oldLogprobs))
        // What it read, as a dump's own prompt.
        for (index, demonstration) in [(0, 1), (2, 3)] {
            let told = tokenizer.encode(text(demonstration) + " so ", addingSpecialTokens: false)
            let byIDs = try scores(
                try scored(
                    rollouts { $1.frame.teacherPromptIDs = told + $1.frame.tokenIDs.prefix(2) },
                    ["--checkpoint", policy, "--teacher", policy]))
            #expect(isSame(shown[index].teacherLogprobs, byIDs[index].teacherLogprobs))
        }
        let answered = try run("answered", ["--privileged", "answer"])
        try #require(answered.status == 0, "\(answered.errors)")
        #expect(try scores(pipeline, "answered").allSatisfy { $0.teacherPrompt == "answer" })

        let recipe = "advantage: {type: none, teacher: {policy: current, unprivileged: drop}}\nobjective: {type: cispo}"
        let path = pipeline.folder("recipe.yaml")
        try recipe.write(toFile: path, atomically: true, encoding: .utf8)
        let planned = try Executable("crux-plan").run(
            [
                "--quiet", "--input", pipeline.folder("ingest"), "--scores", pipeline.folder("shown"), "--recipe", path,
                "--output", pipeline.folder("plan"),
            ])
        try #require(planned.status == 0, "\(planned.errors)")
        let rows = try ArrowTableReader(path: pipeline.folder("plan/plan.arrow"), table: Tables.plan).rows()
        #expect(rows.map(\.rolloutID) == ["r-0", "r-2"])
        #expect(rows.allSatisfy { $0.teacherLogprobs != nil })
        for (bad, words) in [
            (["--privileged", "demonstration", "--privileged-template", "no place"], "{demonstration}"),
            (["--privileged", "demonstration", "--reward-command", "cat"], "--reward-command"),
            (["--privileged-template", "x"], "--privileged"),
        ] {
            let refused = try run("bad", bad)
            #expect(refused.status == 2 && refused.errors.contains(words), "\(refused.errors)")
        }
    }

    /// Byte by byte: a vocabulary of the same size may be another.
    @Test func aTeacherOfAnotherTokenizerIsRefused() throws {
        let other = try TemporaryDirectory()
        let folder = other.path + "/teacher"
        try FileManager.default.copyItem(atPath: fixture("policy"), toPath: folder)
        let file = folder + "/tokenizer.json", text = try String(contentsOfFile: file, encoding: .utf8)
        try FileManager.default.removeItem(atPath: file)
        try (text + "\n").write(toFile: file, atomically: true, encoding: .utf8)
        let pipeline = try scored(rollouts { _, _ in })
        let said = try Executable("crux-score").run(
            [
                "--input", pipeline.folder("ingest"), "--output", pipeline.folder("x"), "--checkpoint",
                fixture("policy"), "--teacher", folder,
            ])
        #expect(said.status == 3 && said.errors.contains("another vocabulary"), "\(said.errors)")
    }

    @Test func aTeachersPromptThatIsNoneIsRejected() throws {
        let pipeline = try Pipeline(), shard = pipeline.folder("dump.rollouts.zst")
        try writeShard(rollouts { if $0 < 2 { $1.frame.teacherPromptIDs = $0 == 0 ? [] : [-1] } }, to: shard)
        try pipeline.ingest(shard)
        let rejected = try ArrowTableReader(
            path: pipeline.folder("ingest") + "/rejected.arrow", table: Tables.rejected
        ).rows()
        #expect(rejected.map(\.rolloutID) == ["r-0", "r-1"])
        #expect(rejected.allSatisfy { $0.detail.contains("teacher_prompt_ids") })
    }

    /// The fixture's policy ends its rollouts with token 0.
    @Test func tokensThatEndASequenceMayBeLeftOut() throws {
        let pipeline = try Pipeline()
        try pipeline.ingest()
        try pipeline.score()
        let recipe = repository("recipes/dapo-top20.yaml"), exclude = ["--set", "entropy.exclude_eos=true"]
        let unknown = try pipeline.runPlan(recipe, to: "unknown", exclude)
        #expect(unknown.status == 2 && unknown.errors.contains("--tokenizer DIR"))
        try pipeline.plan(recipe, to: "with")
        try pipeline.plan(recipe, to: "without", exclude + ["--tokenizer", fixture("policy")])
        func rows(_ name: String) throws -> [PlanRow] {
            try ArrowTableReader(path: pipeline.folder(name) + "/plan.arrow", table: Tables.plan).rows()
        }
        let with = try rows("with"), without = try rows("without")
        #expect(with.map(\.rolloutID) == without.map(\.rolloutID))
        var left = 0
        for (row, shorter) in zip(with, without) {
            let expected = zip(row.lossMask, row.tokenIDs).map { $0 && $1 != 0 }
            #expect(shorter.lossMask == expected)
            #expect(zip(shorter.tokenWeights, expected).allSatisfy { $1 || $0 == 0 })
            left += row.lossMask.count { $0 } - expected.count { $0 }
        }
        #expect(left > 0)
        let kept = without.reduce(0) { $0 + $1.entropyMask.count { $0 } },
            trainable = without.reduce(0) { $0 + $1.lossMask.count { $0 } }
        #expect(abs(Double(kept) / Double(trainable) - 0.2) < 0.02)
    }

    @Test func theSamplersLogprobsAreWhereTheRatioStarts() throws {
        let pipeline = try scored(rollouts { _, _ in })
        let (rows, result) = try plan(pipeline, "correction: {behavior: sampler}")
        try #require(result.status == 0, "\(result.errors)")
        #expect(rows.allSatisfy { $0.oldLogprobs == [0, 0, -0.5, -0.5, -0.5] })
    }
}
