import Arrow
import Formats
import Foundation
import TestSupport
import Testing

/// Terms beside an objective, through plan and update on the fixture dump: what a plan lays down for them, what carries
/// over, and what is refused.
@Suite(.serialized) struct TermStageTests {
    private struct Scored {
        let pipeline: Pipeline
        static let shared = Result { try Scored() }

        private init() throws {
            pipeline = try Pipeline()
            try pipeline.ingest()
            try pipeline.score()
        }
    }

    private static let steps = ["schedule.groups_per_step=6", "optimizer.lr=1e-4"]

    private func settings(_ settings: [String]) -> [String] { settings.flatMap { ["--set", $0] } }

    private func plan(_ recipe: String, to name: String, _ more: [String] = []) throws -> Pipeline {
        let pipeline = try Scored.shared.get().pipeline
        try pipeline.plan(repository("recipes/\(recipe).yaml"), to: name, settings(Self.steps + more))
        return pipeline
    }

    private func rows(_ pipeline: Pipeline, _ plan: String) throws -> [PlanRow] {
        try ArrowTableReader(path: pipeline.folder(plan) + "/plan.arrow", table: Tables.plan).rows()
    }

    private func metrics(_ pipeline: Pipeline, _ update: String) throws -> [MetricsRow] {
        try ArrowTableReader(path: pipeline.folder(update) + "/metrics.arrow", table: Tables.metrics).rows()
    }

    /// Per step, Σ of a column's weights over all rows.
    private func sums(_ rows: [PlanRow], _ weights: (PlanRow) -> [Float]?) -> [Double] {
        Dictionary(grouping: rows, by: \.step).sorted { $0.key < $1.key }.map { _, rows in
            rows.reduce(0.0) { sum, row in sum + (weights(row) ?? []).reduce(0.0) { $0 + Double($1) } }
        }
    }

    @Test func aBonusWeighsItsTokensToOne() throws {
        for (name, more, kept) in [
            ("all", "entropy={bonus: {coef: 0.1}}", false),
            ("kept", "entropy={mask: {top: 0.2}, bonus: {coef: 0.1, tokens: kept}}", true),
            ("policy", "entropy={mask: {top: 0.2}, bonus: {coef: 0.1, tokens: kept, weights: policy}}", true),
        ] {
            let pipeline = try plan("grpo", to: "bonus-" + name, [more, "aggregation=token_mean"])
            let rows = try rows(pipeline, "bonus-" + name)
            for sum in sums(rows, \.entropyWeights) { #expect(isClose(sum, 1, absolute: 1e-4), "\(name)") }
            for row in rows {
                let acted = try #require(row.entropyWeights).map { $0 != 0 }
                #expect(acted == (kept ? row.entropyMask : row.lossMask))
            }
        }
    }

    /// A bonus that is on from the second step moves what the policy learns, and says what it did.
    @Test func anAdaptiveBonusGoesOnWhereItStood() throws {
        let bonus = "entropy.bonus={coef: 0.1, adaptive: {target: 5, step: 0.05}}"
        let pipeline = try plan("grpo-entropy-adaptive", to: "twice", [bonus, "schedule.epochs=2"])
        _ = try plan("grpo-entropy-adaptive", to: "once", [bonus])
        try pipeline.update(plan: "twice", to: "both")
        try pipeline.update(plan: "once", to: "first")
        try pipeline.update(plan: "once", to: "second", ["--resume-from", pipeline.folder("first")])
        let whole = try metrics(pipeline, "both"), last = try #require(whole.last)
        let applied = whole.map { $0.entropyCoefApplied ?? -1 }, left = whole.map { $0.entropyCoef ?? -1 }
        #expect(firstDifference(applied, [0] + left.dropLast(), absolute: 1e-12) == nil, "\(applied) \(left)")
        #expect(firstDifference(left, left.indices.map { 0.15 + 0.05 * Double($0) }, absolute: 1e-12) == nil)
        for part in ["step", "optimizer"] {
            let name = "\(part)-" + String(format: "%06d", last.step)
            #expect(
                try contents(of: pipeline.folder("both/" + name)) == contents(of: pipeline.folder("second/" + name)))
        }
        // Its first step is the one without a bonus.
        _ = try plan("grpo", to: "plain", ["aggregation=token_mean"])
        try pipeline.update(plan: "plain", to: "without")
        let without = try metrics(pipeline, "without")
        #expect(without[0].loss == whole[0].loss && without[1].loss != whole[1].loss)
        #expect(without[0].entropyCoef == nil && without[0].staleRows == nil)
    }

    @Test func theMemoryOfABonusIsForeseen() throws {
        let pipeline = try plan("dapo-entropy", to: "foreseen")
        let result = try pipeline.runUpdate(plan: "foreseen", to: "foreseen-update", ["--memory", "256M"])
        #expect(result.status == 0, "\(result.errors)")
    }

    @Test func rightAnswersWeighTheirLikelihoodToOne() throws {
        let pipeline = try plan("grpo-positive-nll", to: "likely"), rows = try rows(pipeline, "likely")
        for sum in sums(rows, \.auxiliaryWeights) { #expect(isClose(sum, 1, absolute: 1e-4)) }
        for row in rows {
            let isRaised = try #require(row.auxiliaryWeights).contains { $0 != 0 }
            #expect(isRaised == (row.reward > 0), "\(row.rolloutID)")
        }
    }

    @Test func staleRowsAreCounted() throws {
        let pipeline = try plan(
            "grpo-drop-stale", to: "stale", ["objective.drop_stale={threshold: 1e-6, against: trainer}"])
        try pipeline.update(plan: "stale", to: "dropped")
        let counts = try metrics(pipeline, "dropped").map { $0.staleRows ?? -1 }
        // Before the first step nothing has moved but by rounding; later wrong answers have.
        #expect(counts.allSatisfy { $0 >= 0 } && counts.dropFirst().contains { $0 > counts[0] }, "\(counts)")
        #expect(try rows(pipeline, "stale").allSatisfy { $0.rolloutLogprobs == nil })
    }

    // MARK: what is missing

    private func shard(_ change: @Sendable (inout TinyRollout) -> Void) throws -> Pipeline {
        let pipeline = try Pipeline(), rollouts = (0..<4).map { TinyRollout(id: "r-\($0)").changed(change) }
        try writeShard(rollouts, to: pipeline.folder("rollouts-00000.rollouts.zst"))
        try pipeline.ingest(pipeline.folder("rollouts-00000.rollouts.zst"))
        try pipeline.score()
        return pipeline
    }

    @Test func aSamplerThatSaidNothingIsNamed() throws {
        let pipeline = try shard {
            $0.frame.rolloutLogprobs = nil
            $0.frame.metadata["reward"] = "1"
        }
        let result = try pipeline.runPlan(repository("recipes/grpo-drop-stale.yaml"))
        #expect(
            result.status == 3 && result.errors.contains("found no rollout_logprobs")
                && result.errors.contains("objective.drop_stale"), "\(result.errors)")
    }

    @Test func aBonusUnderTruncatedSamplingIsRefused() throws {
        let pipeline = try shard {
            $0.frame.metadata["top_p"] = "0.9"
            $0.frame.metadata["reward"] = "1"
        }
        let result = try pipeline.runPlan(repository("recipes/dapo-entropy.yaml"))
        #expect(result.status == 3 && result.errors.contains("entropy.bonus"), "\(result.errors)")
    }

    @Test func aTeacherOfAnotherVocabularyIsRefused() throws {
        let pipeline = try plan("distill", to: "teach"), other = pipeline.folder("other")
        let none = try pipeline.runUpdate(plan: "teach", to: "none")
        #expect(none.status == 2 && none.errors.contains("--reference DIR"), "\(none.errors)")
        let wrong = try pipeline.runUpdate(plan: "teach", to: "wrong", ["--reference", fixture("families/qwen2-tied")])
        #expect(wrong.status == 3 && wrong.errors.contains("vocabulary"), "\(wrong.errors)")
        try FileManager.default.copyItem(atPath: fixture("policy"), toPath: other)
        let tokenizer = other + "/tokenizer.json"
        try (String(contentsOfFile: tokenizer, encoding: .utf8) + "\n").write(
            toFile: tokenizer, atomically: true, encoding: .utf8)
        let unlike = try pipeline.runUpdate(plan: "teach", to: "unlike", ["--reference", other])
        #expect(unlike.status == 3 && unlike.errors.contains("tokenizer.json"), "\(unlike.errors)")
        try FileManager.default.removeItem(atPath: tokenizer)
        let unknown = try Executable("crux-update").run(
            pipeline.updateArguments(plan: "teach", to: "unknown").filter { $0 != "--quiet" } + ["--reference", other])
        #expect(unknown.status == 0 && unknown.errors.contains("has no tokenizer.json"), "\(unknown.errors)")
    }

    /// A policy that is its own teacher has nothing to learn.
    @Test func theTeacherItselfTeachesNothing() throws {
        let pipeline = try plan("distill", to: "own", ["optimizer.weight_decay=0"])
        try pipeline.update(plan: "own", to: "own-update", ["--reference", fixture("policy")])
        let first = try #require(try metrics(pipeline, "own-update").first)
        #expect(abs(first.loss) < 1e-5 && first.gradNorm < 1e-3 && (first.targetDivergence ?? 1) < 1e-5, "\(first)")
    }
}
