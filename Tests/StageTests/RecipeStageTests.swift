import Arrow
import Credit
import Formats
import Foundation
import Recipes
import TestSupport
import Testing

/// Every recipe of `recipes/` that needs no second round of sampling, through plan and update on the fixture dump.
@Suite(.serialized) struct RecipeStageTests {
    /// A dump scored with everything that any recipe reads, twice: in its order, and with its shards the other way
    /// round. The models beside are the policy some steps on, so that nothing is 0 by chance.
    private struct Scored {
        let pipeline: Pipeline
        let beside: String
        let critic: String

        static let shared = Result { try Scored() }

        private init() throws {
            pipeline = try Pipeline()
            try pipeline.ingest()
            try pipeline.score()
            try pipeline.plan(repository("recipes/grpo.yaml"), to: "plan-beside", ["--set", "optimizer.lr=3e-4"])
            try pipeline.update(plan: "plan-beside", to: "beside")
            beside = try pipeline.lastStep("beside")
            try Self.score(pipeline, "", beside: beside, critic: fixture("policy"))
            // A critic that has learned a little, from the values 0 of one that has not.
            try pipeline.plan(
                repository("recipes/ppo-critic.yaml"), to: "plan-critic", ["--set", "optimizer.lr=1e-3"],
                scores: "score-all")
            try pipeline.update(plan: "plan-critic", to: "critic")
            critic = try pipeline.lastStep("critic")
            try FileManager.default.removeItem(atPath: pipeline.folder("score-all"))
            try Self.score(pipeline, "", beside: beside, critic: critic)
            let shards = (0..<3).reversed().map { fixture("dump/rollouts-0000\($0).rollouts.zst") }
            try pipeline.ingest(shards, to: "ingest-turned")
            try Self.score(pipeline, "-turned", beside: beside, critic: critic)
        }

        private static func score(_ pipeline: Pipeline, _ turn: String, beside: String, critic: String) throws {
            try pipeline.score(
                [
                    "--checkpoint", fixture("policy"), "--reference", beside, "--critic", critic, "--process-reward",
                    beside, "--process-reference", fixture("policy"),
                    "--q-network", beside, "--sum-p-squared",
                ], from: "ingest" + turn, to: "score-all" + turn)
        }
    }

    static let recipes: [String] = {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: repository("recipes"))) ?? []
        return names.sorted().filter { name in
            guard let recipe = try? Recipe.load(path: repository("recipes/" + name)) else { return true }
            // The fixture has no greedy rollouts, no advantages, and nobody's tokens but the policy's; tests of their own
            // have.
            return recipe.credit.expansion == nil && !recipe.credit.readsGreedy
                && !(recipe.credit.advantage is GivenAdvantage)
                && recipe.loss.auxiliary?.type != .environmentNLL
        }
    }()

    /// All groups in one step, so that dumps in another order make the same step.
    private static let settings = ["--set", "schedule.groups_per_step=null", "--set", "reward.overlong=null"]

    private func update(
        _ name: String, _ recipe: Recipe, _ scored: Scored, _ plan: String, to output: String, _ more: [String] = []
    ) throws {
        let checkpoint = recipe.objective.output == .value ? scored.critic : fixture("policy")
        let reference = ["--reference", scored.beside], teaches = recipe.objective.distillation != nil
        let target =
            teaches
            ? reference : recipe.objective.boltzmann.map { _ in reference + ["--q-network", scored.beside] } ?? []
        let result = try scored.pipeline.runUpdate(plan: plan, to: output, checkpoint: checkpoint, target + more)
        try #require(result.status == 0, "\(name): \(result.errors)")
    }

    @Test(arguments: recipes) func aRecipeTrainsAndItsStepIsTheSameHoweverItIsCut(_ name: String) throws {
        let scored = try Scored.shared.get(), path = repository("recipes/" + name), recipe = try Recipe.load(path: path)
        let run = { (part: String) in "\(part)-\(name)" }
        try scored.pipeline.plan(path, to: run("plan"), Self.settings, scores: "score-all")
        try update(name, recipe, scored, run("plan"), to: run("whole"))
        try update(name, recipe, scored, run("plan"), to: run("split"), ["--micro-batch-tokens", "1500"])
        let whole = try outcome(scored, run("whole")), split = try outcome(scored, run("split"))
        #expect(whole.metrics.loss.isFinite && whole.metrics.gradNorm > 0)
        // The same sum in another order, in float32.
        #expect(relativeDistance(split.moments, whole.moments) < 2e-5)
        #expect(isClose(split.metrics.loss, whole.metrics.loss, absolute: 1e-6, relative: 1e-5))
    }

    @Test(arguments: recipes) func thePlanIsTheSameInWhateverOrderRolloutsStand(_ name: String) throws {
        let scored = try Scored.shared.get(), path = repository("recipes/" + name), recipe = try Recipe.load(path: path)
        // A random mask is another one where tokens stand elsewhere.
        guard recipe.credit.mask?.random == nil else { return }
        try scored.pipeline.plan(path, to: "given-" + name, Self.settings, scores: "score-all")
        try scored.pipeline.plan(
            path, to: "turned-" + name, Self.settings, scores: "score-all-turned", input: "ingest-turned")
        let given = try rows(scored, "given-" + name), turned = try rows(scored, "turned-" + name)
        #expect(given.map(\.rolloutID) != turned.map(\.rolloutID) && given.count == turned.count)
        let found = Dictionary(turned.map { ($0.rolloutID, $0) }, uniquingKeysWith: { first, _ in first })
        for row in given {
            let other = try #require(found[row.rolloutID])
            #expect(other.entropyMask == row.entropyMask && other.step == row.step)
            // Sums in another order, in Double.
            for path in [\PlanRow.advantages, \PlanRow.tokenWeights] as [KeyPath<PlanRow, [Float]>] {
                #expect(
                    firstDifference(
                        other[keyPath: path].map { Double($0) }, row[keyPath: path].map { Double($0) }, absolute: 1e-6)
                        == nil, "\(row.rolloutID)")
            }
        }
    }

    private func rows(_ scored: Scored, _ plan: String) throws -> [PlanRow] {
        try ArrowTableReader(path: scored.pipeline.folder(plan) + "/plan.arrow", table: Tables.plan).rows()
    }

    /// The step's metrics, and its first moments, which are a tenth of the gradient.
    private func outcome(_ scored: Scored, _ name: String) throws -> (metrics: MetricsRow, moments: [Float]) {
        let rows = try ArrowTableReader(path: scored.pipeline.folder(name) + "/metrics.arrow", table: Tables.metrics)
            .rows()
        let file = try scored.pipeline.lastState(name)
        let moments = try file.header.tensors.filter { $0.name.hasPrefix("exp_avg.") }.sorted { $0.name < $1.name }
            .flatMap { info in
                let tensor = try file.tensor(info.name)
                return withExtendedLifetime(file) { Array(file.bytes(of: tensor).bindMemory(to: Float.self)) }
            }
        return (try #require(rows.last), moments)
    }

    @Test func whatARecipeLacksIsNamedWithTheFlagThatSuppliesIt() throws {
        let pipeline = try Scored.shared.get().pipeline
        let expected = [
            "ppo.yaml": ["values", "--critic"], "grpo-kl.yaml": ["reference_logprobs", "--reference"],
            "prime.yaml": ["process_rewards", "--process-reward"],
            "etpo-mc.yaml": ["reference_kl", "--checkpoint"], "etpo-q.yaml": ["expected_q", "--q-network"],
            "dpo.yaml": ["reference_logprobs", "--reference"],
            "prime-reward-model.yaml": ["process_reference_logprobs", "--process-reference"],
        ]
        for (name, words) in expected {
            // The plain scores, with neither critic nor reference.
            let result = try pipeline.runPlan(repository("recipes/" + name), to: "lacking-" + name)
            #expect(result.status == 3, "\(name)")
            for word in words { #expect(result.errors.contains(word), "\(name): \(result.errors)") }
        }
        #expect(
            try pipeline.runUpdate(plan: "plan-beside", to: "refused", ["--q-network", fixture("policy")]).status == 2)
    }

    @Test func aSecondCheckpointOfAnotherVocabularyIsRefused() throws {
        let scored = try Scored.shared.get()
        let result = try Executable("crux-score").run(
            [
                "--quiet", "--input", scored.pipeline.folder("ingest"), "--output",
                scored.pipeline.folder("score-other"), "--checkpoint", fixture("policy"),
                "--reference",
                fixture("families/qwen2-tied"),
            ])
        #expect(result.status == 3 && result.errors.contains("vocabulary"), "\(result.errors)")
        let critic = try Executable("crux-score").run(
            [
                "--quiet", "--input", scored.pipeline.folder("ingest"), "--output",
                scored.pipeline.folder("score-critic"), "--checkpoint", scored.critic,
            ])
        #expect(critic.status == 3 && critic.errors.contains("value head"), "\(critic.errors)")
    }

    @Test func promptsThatFallShortCanBeSampledAgain() throws {
        let pipeline = try Scored.shared.get().pipeline
        try pipeline.plan(repository("recipes/dapo.yaml"), to: "plan-short")
        let lines = try String(contentsOfFile: pipeline.folder("plan-short/resample.jsonl"), encoding: .utf8).split(
            separator: "\n")
        let dropped = try ArrowTableReader(path: pipeline.folder("plan-short/dropped.arrow"), table: Tables.dropped)
            .rows()
        #expect(
            !lines.isEmpty
                && lines.count == Set(dropped.filter { $0.reason == "degenerate_group" }.map(\.groupID)).count)
        let result = try Executable("crux-rollout").run(
            [
                "--quiet", "--checkpoint", fixture("policy"), "--prompts", pipeline.folder("plan-short/resample.jsonl"),
                "--group-size", "2", "--max-tokens", "4",
                "--output",
                pipeline.folder("again"),
            ])
        #expect(
            result.status == 0 && (result.summary["counts"] as? [String: Int])?["rollouts"] == 2 * lines.count,
            "\(result.errors)")
    }

    @Test func correctionsAreRefusedForTruncatedSampling() throws {
        let folder = try TemporaryDirectory()
        let nucleus = (0..<2).map { number in
            TinyRollout(id: "r\(number)").changed {
                $0.frame.metadata.merge(["top_p": "0.9", "reward": "\(number)", "sample_index": "\(number)"]) { $1 }
            }
        }
        try writeShard(nucleus, to: folder("a.rollouts.zst"))
        for (stage, arguments) in [
            ("crux-ingest", ["--input", folder("a.rollouts.zst"), "--output", folder("ingest")]),
            ("crux-score", ["--input", folder("ingest"), "--output", folder("score")]),
        ] { #expect(try Executable(stage).run(["--quiet"] + arguments).status == 0) }
        let plan = [
            "--quiet", "--input", folder("ingest"), "--scores", folder("score"), "--recipe",
            repository("recipes/dapo-tis.yaml"),
        ]
        let refused = try Executable("crux-plan").run(plan + ["--output", folder("plan")])
        #expect(
            refused.status == 3 && refused.errors.contains("top_p 0.9")
                && refused.errors.contains("allow_truncated_sampling"), "\(refused.errors)")
        #expect(
            try Executable("crux-plan").run(
                plan + ["--output", folder("allowed"), "--set", "correction.allow_truncated_sampling=true"]
            ).status == 0)
    }

    @Test func entropiesAreReportedAndCompared() throws {
        let pipeline = try Scored.shared.get().pipeline
        try pipeline.score(["--checkpoint", Scored.shared.get().beside], to: "score-beside")
        let result = try Executable("crux-report").run(
            [
                "--quiet", "--input", pipeline.folder("ingest"), "--scores", pipeline.folder("score"), "--against",
                pipeline.folder("score-beside"), "--tokenizer",
                fixture("policy"),
                "--minimum-count", "10", "--output", pipeline.folder("entropy"),
            ])
        #expect(result.status == 0, "\(result.errors)")
        let json = try #require(
            try JSONSerialization.jsonObject(
                with: Data(contentsOf: URL(fileURLWithPath: pipeline.folder("entropy.json")))) as? [String: Any])
        let rows = try ArrowTableReader(path: pipeline.folder("score/scores-00000.arrow"), table: Tables.scores).rows()
        #expect(
            (json["statistics"] as? [String: Any])?["tokens"] as? Int ?? 0 > rows.count && json["comparison"] != nil)
        #expect(
            try String(contentsOfFile: pipeline.folder("entropy.md"), encoding: .utf8).contains(
                "## Highest mean entropy"))
    }

    @Test func anExternalJudgeDecidesWhatOursLeavesOpen() throws {
        let pipeline = try Scored.shared.get().pipeline
        let judge =
            #"while read -r line; do echo "$line" | sed 's/.*"id":"\([^"]*\)".*/{"id":"\1","score":0.5}/'; done"#
        try pipeline.score(["--reward-command", judge, "--reward-workers", "3"], to: "score-judged")
        let rows = try ArrowTableReader(path: pipeline.folder("score-judged/scores-00000.arrow"), table: Tables.scores)
            .rows()
        #expect(rows.allSatisfy { $0.reward == 0.5 && $0.correct == nil && $0.verdict == "external" })
        // With a reward of ours only what it leaves undecided goes out: nothing here.
        try pipeline.score(["--reward", "numeric", "--reward-command", judge], to: "score-both")
        #expect(
            try ArrowTableReader(path: pipeline.folder("score-both/scores-00000.arrow"), table: Tables.scores).rows()
                .allSatisfy { $0.verdict != "external" })
        let broken = try Executable("crux-score").run(
            [
                "--quiet", "--input", pipeline.folder("ingest"), "--output", pipeline.folder("score-broken"),
                "--reward-command", "exit 1",
            ])
        #expect(broken.status != 0 && broken.errors.contains("exit 1"), "\(broken.errors)")
    }

    @Test func targetNetworksFollowSlowly() throws {
        let scored = try Scored.shared.get(), pipeline = scored.pipeline
        try pipeline.plan(
            repository("recipes/etpo-q.yaml"), to: "plan-q",
            ["--set", "optimizer.lr=1e-3", "--set", "objective.polyak=0.75"] + Self.settings, scores: "score-all")
        try pipeline.update(plan: "plan-q", to: "q")
        let start = try parameters(fixture("policy")), trained = try masters(pipeline.lastState("q"), "master."),
            target = try masters(pipeline.lastState("q"), "target.")
        for index in stride(from: 0, to: start.count, by: 997) {
            #expect(
                isClose(
                    Double(target[index]), 0.75 * Double(start[index]) + 0.25 * Double(trained[index]), absolute: 1e-6))
        }
        let plain = try FileManager.default.contentsOfDirectory(atPath: fixture("policy")).sorted()
        #expect(try FileManager.default.contentsOfDirectory(atPath: pipeline.folder("q/target")).sorted() == plain)
        // A second update goes on with the target of the first.
        try pipeline.update(plan: "plan-q", to: "q2", ["--resume-from", pipeline.folder("q")])
        let moved = try masters(pipeline.lastState("q2"), "target."),
            further = try masters(pipeline.lastState("q2"), "master.")
        #expect(isClose(Double(moved[7]), 0.75 * Double(target[7]) + 0.25 * Double(further[7]), absolute: 1e-6))
    }

    private func parameters(_ directory: String) throws -> [Float] {
        let file = try SafetensorsFile(path: directory + "/model.safetensors")
        return try file.header.tensors.map(\.name).sorted().flatMap { name in
            let tensor = try file.tensor(name)
            return withExtendedLifetime(file) {
                file.bytes(of: tensor).bindMemory(to: UInt16.self).map { Float(bitPattern: UInt32($0) << 16) }
            }
        }
    }

    private func masters(_ file: SafetensorsFile, _ prefix: String) throws -> [Float] {
        try file.header.tensors.map(\.name).filter { $0.hasPrefix(prefix) }.sorted().flatMap { name in
            let tensor = try file.tensor(name)
            return withExtendedLifetime(file) { Array(file.bytes(of: tensor).bindMemory(to: Float.self)) }
        }
    }
}
