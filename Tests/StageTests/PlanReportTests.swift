import Foundation
import TestSupport
import Testing

/// Reports that say no more than is known.
@Suite struct PlanReportTests {
    private let run: Pipeline

    init() throws { run = try Pipeline() }

    private struct Said {
        let report: [String: Any]
        let counts: [String: Any]
        let text: String
        let measures: [String: Any]
    }

    private func stage(_ name: String, _ arguments: [String], to output: String, part: String) throws -> Said {
        let result = try Executable(name).run(arguments + ["--output", run.folder(output)])
        try #require(result.status == 0, "\(result.errors)")
        let manifest =
            try JSONSerialization.jsonObject(
                with: Data(contentsOf: URL(fileURLWithPath: run.folder(output + "/manifest.json")))) as? [String: Any]
        return Said(
            report: try #require(result.summary[part] as? [String: Any]),
            counts: result.summary["counts"] as? [String: Any] ?? [:], text: result.errors,
            measures: manifest?["measures"] as? [String: Any] ?? [:])
    }

    private func score(_ dump: String, _ more: [String] = [], to name: String = "score") throws -> Said {
        if !FileManager.default.fileExists(atPath: run.folder("ingest")) { try run.ingest([dump], to: "ingest") }
        return try stage(
            "crux-score", ["--reward", "given", "--input", run.folder("ingest")] + more, to: name, part: "report")
    }

    private func plan(_ recipe: String, scores: String = "score", to name: String = "plan") throws -> Said {
        try stage(
            "crux-plan", ["--input", run.folder("ingest"), "--scores", run.folder(scores), "--recipe", recipe],
            to: name, part: "summary")
    }

    // MARK: trainer against sampler

    /// Nobody has asked the trainer: the sampler's log-probabilities, held against themselves, would differ by 0.
    @Test func withoutACheckpointTheTrainerIsNotKnown() throws {
        let folder = fixture("cases/F12-first-ratio-not-1")
        let scored = try score(folder + "/dump")
        #expect(scored.text.contains("4 rollouts were sampled at another temperature than 1"), "\(scored.text)")
        let planned = try plan(folder + "/r.yaml")
        #expect(
            planned.text.contains("trainer against sampler: not known") && !planned.text.contains("effective share"),
            "\(planned.text)")
        for key in ["staleness_mean", "staleness_kl", "staleness_max", "effective_share"] {
            #expect(planned.report[key] is NSNull && planned.measures[key] == nil, "\(key)")
        }
        // With the policy at hand it is, and it isn't 0.
        _ = try score(folder + "/dump", ["--checkpoint", fixture("policy")], to: "exact")
        let known = try plan(folder + "/r.yaml", scores: "exact", to: "known")
        #expect(
            known.text.contains("trainer against sampler: log-probabilities differ by")
                && !known.text.contains("not known"), "\(known.text)")
        #expect(
            (known.report["staleness_mean"] as? Double ?? 0) > 0.01
                && known.measures["staleness_mean"] as? Double == known.report["staleness_mean"] as? Double)
    }

    // MARK: rewards without verdicts

    @Test func continuousRewardsAreNotWrongAnswers() throws {
        let folder = fixture("cases/F13-continuous-rewards-reported-wrong")
        let scored = try score(folder + "/dump")
        #expect(
            scored.report["accuracy"] is NSNull && scored.counts["rewards_without_verdict"] as? Int == 5
                && scored.counts["judged"] as? Int == 0)
        #expect(
            !scored.text.contains("accuracy") && scored.text.contains("5 rewards without a verdict")
                && scored.text.contains("mean reward 0.56"), "\(scored.text)")
        #expect(isClose(scored.measures["reward_mean"] as? Double ?? 0, 0.56, absolute: 1e-6))
        let planned = try plan(folder + "/r.yaml")
        #expect(
            planned.text.contains("groups: 3 not judged throughout (1 with different rewards)")
                && !planned.text.contains("all wrong"), "\(planned.text)")
        #expect(planned.report["groups_unjudged"] as? Int == 3 && planned.report["groups_wrong"] as? Int == 0)
        #expect(planned.report["groups_unjudged_with_contrast"] as? Int == 1)
    }

    /// 0 and 1 are verdicts, and one open answer leaves open only what it decides.
    @Test func verdictsCountWhereTheyAre() throws {
        let rewards: [(String, [String?])] = [
            ("mixed", ["1", "0", "0.5"]), ("right", ["1", "1"]), ("wrong", ["0", "0"]), ("open", ["1", "0.5"]),
            ("none", ["1", nil]),
        ]
        let rollouts = rewards.flatMap { group, rewards in
            rewards.enumerated().map { index, reward in
                TinyRollout(id: "\(group)-\(index)", group: group).changed {
                    $0.removeLogits()
                    $0.frame.metadata["reward"] = reward
                }
            }
        }
        try writeShard(rollouts, to: try run.folder.folder("dump") + "/a.rollouts.zst")
        let scored = try score(run.folder("dump"))
        #expect(scored.text.contains("accuracy 0.625 of 8 judged; 2 rewards without a verdict"), "\(scored.text)")
        let recipe = run.folder("r.yaml")
        try "name: r\nadvantage: grpo\n".write(toFile: recipe, atomically: true, encoding: .utf8)
        // The rollout without a reward is dropped, which leaves its group with one right answer.
        #expect(
            try plan(recipe).text.contains(
                "groups: 1 mixed, 2 all correct, 1 all wrong, 1 not judged throughout (1 with different rewards)"))
    }

    @Test func nothingRewardedHasNoMean() throws {
        try writeShard(
            [TinyRollout().changed { $0.removeLogits() }], to: try run.folder.folder("dump") + "/a.rollouts.zst")
        let scored = try score(run.folder("dump"))
        #expect(
            scored.text.contains("none judged right or wrong; no rewards") && scored.measures["reward_mean"] == nil,
            "\(scored.text)")
        #expect(
            scored.report["reward_mean"] is NSNull && scored.report["accuracy"] is NSNull
                && scored.report["share_below_0.01"] is NSNull)
        #expect(scored.text.contains("return_tokens_as_token_ids"))
    }

    // MARK: masks over intervals

    /// 40 rollouts whose tokens are all undecided between two sharp thresholds, with 2 or 3 best log-probabilities.
    @Test func aRefusedMaskSaysWhatItWouldChoose() throws {
        var generator = SplitMix(seed: 3)
        let rollouts = (0..<40).map { index in
            TinyRollout(id: "r-\(index)", group: "g-\(index / 8)", prompt: 2, completion: 10).changed { rollout in
                rollout.removeLogits()
                rollout.frame.metadata["vocab_size"] = "1000"
                rollout.frame.metadata["reward"] = "\(index % 2)"
                rollout.frame.rolloutLogprobs = rollout.frame.lossMask.map { $0 ? -7 : 0 }
                rollout.frame.topk = 2 + index % 2
                let best = (0..<10).map { _ -> [Float] in
                    let first = 0.3 + 0.5 * Double(generator.next() >> 11) / Double(1 << 53)
                    return [first, 0.6 * (1 - first), 0.2 * (1 - first)].prefix(rollout.frame.topk).map {
                        Float(log($0))
                    }
                }
                rollout.frame.topkLogprobs = best.flatMap { $0 }
                rollout.frame.topkTokenIDs = best.flatMap { $0.indices.map { 100 + Int32($0) } }
            }
        }
        try writeShard(rollouts, to: try run.folder.folder("dump") + "/a.rollouts.zst")
        let scored = try score(run.folder("dump"))
        #expect(scored.counts["evidence_topk_2"] as? Int == 20 && scored.counts["evidence_topk_3"] as? Int == 20)
        let recipe = run.folder("r.yaml")
        try "name: r\nadvantage: grpo\nentropy: {mask: {top: 0.2, scope: plan}}\n".write(
            toFile: recipe, atomically: true, encoding: .utf8)
        let refused = try run.runPlan(recipe), text = refused.errors
        #expect(
            refused.status == 3 && text.contains("of 400 tokens")
                && text.contains("of 200 with the 2 best log-probabilities"), "\(text)")
        #expect(
            text.contains("of 200 with the 3 best log-probabilities")
                && text.contains("80 tokens kept (20.00 %), threshold "), "\(text)")
        // The key that it names is enough, and the plan then keeps what the refusal said.
        let key = try #require(
            text.range(of: "entropy.mask.max_undecided=[0-9.]+", options: .regularExpression).map { String(text[$0]) })
        let accepted = try Executable("crux-plan").run(
            [
                "--input", run.folder("ingest"), "--scores", run.folder("score"), "--recipe", recipe, "--output",
                run.folder("plan"), "--set", String(key),
            ])
        #expect(
            accepted.status == 0 && (accepted.summary["counts"] as? [String: Any])?["kept_tokens"] as? Int == 80,
            "\(accepted.errors)")
    }
}
