import Arrow
import Credit
import Files
import Formats
import Foundation
import TestSupport
import Testing

/// Small inputs that made earlier versions lie about numbers, or die of a recipe.
@Suite(.serialized) struct NumbersTests {
    /// One of the cases with its dump ingested and scored.
    private struct Case {
        let run: Pipeline
        let folder: String

        init(_ name: String, _ score: [String] = []) throws {
            run = try Pipeline()
            folder = fixture("cases/" + name)
            try run.ingest(folder + "/dump")
            try run.score(["--reward", "given"] + score)
        }

        func plan(to name: String = "plan", _ more: [String] = []) throws -> Executable.Result {
            try run.runPlan(folder + "/r.yaml", to: name, more)
        }

        /// Under a recipe of one's own.
        func plan(yaml: String, to name: String, _ more: [String] = []) throws -> Executable.Result {
            try yaml.write(toFile: run.folder("r.yaml"), atomically: true, encoding: .utf8)
            return try run.runPlan(run.folder("r.yaml"), to: name, more)
        }

        func rows(_ name: String = "plan") throws -> [PlanRow] {
            try ArrowTableReader(path: run.folder(name) + "/plan.arrow", table: Tables.plan).rows()
        }

        func dropped(_ name: String = "plan") throws -> [String: String] {
            let rows = try ArrowTableReader(path: run.folder(name) + "/dropped.arrow", table: Tables.dropped).rows()
            return Dictionary(rows.map { ($0.rolloutID, $0.reason) }) { first, _ in first }
        }
    }

    // MARK: exact shares

    @Test func topKeepsTheShareThatWasWritten() throws {
        let found = try Case("F08-threshold-of-top-0.7")
        try #require(found.plan().status == 0)
        #expect(try found.rows()[0].entropyMask.count { $0 } == 8)
        for (number, tenths) in (0...10).enumerated() {
            for (key, other) in [("top", "bottom"), ("bottom", "top")] {
                let share = tenths == 10 ? "1" : "0.\(tenths)", name = "\(key)-\(number)"
                let result = try found.plan(
                    to: name, ["--set", "entropy.mask.\(other)=null", "--set", "entropy.mask.\(key)=\(share)"])
                try #require(result.status == 0, "\(result.errors)")
                #expect(try found.rows(name)[0].entropyMask.count { $0 } == 1 + tenths, "\(key) \(share)")
            }
        }
    }

    // MARK: nothing that is not finite

    @Test func equalRewardsWithoutEpsilonGiveZeros() throws {
        let found = try Case("F09-nan-advantages")
        for normalize in ["batch", "std", "none"] {
            let epsilon = normalize == "none" ? "" : ", epsilon: 0"
            let result = try found.plan(
                yaml: "advantage: {type: grpo, normalize: \(normalize)\(epsilon)}", to: normalize)
            #expect(result.status == 0, "\(result.errors)")
            #expect(try found.rows(normalize).allSatisfy { $0.advantages.allSatisfy { $0 == 0 } })
        }
        let loud = try Executable("crux-plan").run(
            [
                "--input", found.run.folder("ingest"), "--scores", found.run.folder("score"), "--recipe",
                found.folder + "/r.yaml", "--output",
            ]
                + [found.run.folder("loud")])
        #expect(loud.errors.contains("every advantage is 0"), "\(loud.errors)")
    }

    /// Whatever float32 can't hold, under every estimator: the rollout is named and the others go on, or the recipe is
    /// refused.
    @Test(arguments: AdvantageRegistry.all.map { $0.name }) func hugeRewardsLeaveNoPlan(_ name: String) throws {
        let folder = try TemporaryDirectory(), run = try Pipeline()
        let rewards = ["3e38", "-3e38", "3e38", "-3e38", "1", "0"]
        let rollouts = rewards.enumerated().map { index, reward in
            TinyRollout(id: "r\(index)", group: "g\(index / 4)").changed {
                $0.frame.metadata["reward"] = reward
                // What remax compares with.
                if name == "remax", index == 3 || index == 5 { $0.frame.metadata["greedy"] = "true" }
            }
        }
        try writeShard(rollouts, to: folder("a.rollouts.zst"))
        try run.ingest([folder("a.rollouts.zst")], to: "ingest")
        try run.score(["--reward", "given"])
        try addColumns(run)
        let settings =
            name == "grpo"
            ? ", normalize: none"
            : ["gae", "reinforce_pp", "reinforce_pp_baseline", "prime"].contains(name) ? ", whiten: false" : ""
        try "advantage: {type: \(name)\(settings)}".write(toFile: folder("r.yaml"), atomically: true, encoding: .utf8)
        let result = try run.runPlan(folder("r.yaml"))
        guard result.status == 0 else {
            #expect(result.status == 3 && result.errors.contains("'r"), "\(result.errors)")
            return
        }
        let rows = try ArrowTableReader(path: run.folder("plan/plan.arrow"), table: Tables.plan).rows()
        #expect(
            rows.contains { $0.rolloutID == "r4" }
                && rows.allSatisfy { $0.advantages.allSatisfy(\.isFinite) && ($0.returns ?? []).allSatisfy(\.isFinite) }
        )
    }

    /// A number that is none in what an estimator reads costs its own rollout alone.
    @Test(
        arguments: ["gae": "values", "prime": "process_rewards", "etpo_mc": "reference_kl", "etpo_q": "expected_q"].map
        { ($0, $1) })
    func oneBadNumberCostsItsOwnRollout(_ name: String, _ column: String) throws {
        for bad in [Float.nan, .infinity, -.infinity] {
            let folder = try TemporaryDirectory(), run = try Pipeline()
            let rollouts = (0..<4).map { index in
                TinyRollout(id: "r\(index)").changed { $0.frame.metadata["reward"] = "\(index % 2)" }
            }
            try writeShard(rollouts, to: folder("a.rollouts.zst"))
            try run.ingest([folder("a.rollouts.zst")], to: "ingest")
            try run.score(["--reward", "given"])
            try addColumns(run) { row in
                guard row.rolloutID == "r1" else { return }
                (row.values![3], row.processLogprobs![3], row.referenceKL![3], row.expectedQ![3]) = (bad, bad, bad, bad)
            }
            try "advantage: \(name)".write(toFile: folder("r.yaml"), atomically: true, encoding: .utf8)
            let result = try run.runPlan(folder("r.yaml"))
            try #require(result.status == 0, "\(result.errors)")
            let rows = try ArrowTableReader(path: run.folder("plan/plan.arrow"), table: Tables.plan).rows()
            #expect(
                rows.map(\.rolloutID) == ["r0", "r2", "r3"] && rows.allSatisfy { $0.advantages.allSatisfy(\.isFinite) })
            let dropped = try ArrowTableReader(path: run.folder("plan/dropped.arrow"), table: Tables.dropped).rows()
            #expect(dropped.map(\.reason) == ["not_finite_" + column])
        }
    }

    /// Every column that any estimator reads, as score would have written it.
    private func addColumns(_ run: Pipeline, _ edit: (inout ScoreRow) -> Void = { _ in }) throws {
        let path = run.folder("score/scores-00000.arrow"),
            reader = try ArrowTableReader(path: path, table: Tables.scores)
        let rows = try reader.rows(), metadata = reader.metadata
        var writer = try ArrowTableWriter(path: path, table: Tables.scores, metadata: metadata)
        for var row in rows {
            let length = row.oldLogprobs?.count ?? 5, numbers = (0..<length).map { $0 < 2 ? 0 : Float($0) / 10 }
            (row.values, row.referenceKL, row.expectedQ) = (numbers, numbers, numbers)
            (row.processLogprobs, row.processReferenceLogprobs) = (numbers.map { -$0 }, numbers.map { -2 * $0 })
            row.referenceLogprobs = numbers.map { -$0 }
            edit(&row)
            try writer.append(row)
        }
        try writer.finish()
        try sealAgain(run.folder("score"))
    }

    /// The manifest with the digests of the files as they are now.
    private func sealAgain(_ directory: String) throws {
        let path = directory + "/manifest.json", data = try Data(contentsOf: URL(fileURLWithPath: path))
        var manifest = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        let outputs = try #require(manifest["outputs"] as? [[String: Any]])
        manifest["outputs"] = try outputs.map { output in
            var output = output
            let file = directory + "/" + (output["path"] as? String ?? "")
            if output["sha256"] != nil { output["sha256"] = try SHA256Digest.ofFile(file) }
            if output["bytes"] != nil { output["bytes"] = try readBytes(file).count }
            return output
        }
        try JSONSerialization.data(withJSONObject: manifest).write(to: URL(fileURLWithPath: path))
    }

    @Test(arguments: [[], ["--checkpoint", fixture("policy")]]) func aTokenThatCannotHaveBeenSampledCostsItsRollout(
        _ more: [String]
    ) throws {
        let found = try Case("F10-sampled-token-impossible", more)
        let scores = try ArrowTableReader(path: found.run.folder("score/scores-00000.arrow"), table: Tables.scores)
            .rows()
        #expect(scores.map(\.verdict) == ["invalid_sampled_token", "given"] && scores[0].oldLogprobs == nil)
        try #require(found.plan().status == 0)
        #expect(try found.rows().map(\.rolloutID) == ["b"] && found.dropped() == ["a": "invalid_sampled_token"])
        #expect(try found.run.runUpdate().status == 0)
    }

    /// In every form that logits may have, and also where the sampler claims a log-probability.
    @Test(arguments: [DType.f32, .bf16, .f16]) func impossibleTokensAreFoundInEveryForm(_ dtype: DType) throws {
        let folder = try TemporaryDirectory(), run = try Pipeline()
        let rollouts = (0..<3).map { index in
            TinyRollout(id: "r\(index)").changed { rollout in
                // The second trainable token of the second rollout.
                if index == 1 { rollout.logits[TinyRollout.vocabulary + Int(rollout.frame.tokenIDs[3])] = -.infinity }
                rollout.frame.metadata["reward"] = "\(index % 2)"
                rollout.frame.metadata["temperature"] = "0.7"
            }
        }
        let blobs = try rollouts.map { rollout in
            var frame = rollout.frame
            frame.logits = LogitsInfo(dtype: dtype, rows: 3, vocabulary: TinyRollout.vocabulary)
            return try RolloutShardWriter.blob(frame, logits: rollout.logits.flatMap { bytes($0, dtype) })
        }
        try writeShard(blobs: blobs, to: folder("a.rollouts.zst"))
        for mode in ["reference", "copy"] {
            try run.ingest([folder("a.rollouts.zst")], to: "ingest-" + mode, ["--logits", mode])
            try run.score(["--reward", "given"], from: "ingest-" + mode, to: "score-" + mode)
            let scores = try ArrowTableReader(
                path: run.folder("score-\(mode)/scores-00000.arrow"), table: Tables.scores
            ).rows()
            #expect(scores.map(\.verdict) == ["given", "invalid_sampled_token", "given"])
        }
    }

    private func bytes(_ value: Float, _ dtype: DType) -> [UInt8] {
        switch dtype {
        case .bf16: withUnsafeBytes(of: UInt16(value.bitPattern >> 16)) { Array($0) }
        case .f16: withUnsafeBytes(of: halfBits(value)) { Array($0) }
        default: withUnsafeBytes(of: value) { Array($0) }
        }
    }

    /// Of the few small whole numbers that tiny rollouts have, and of -inf.
    private func halfBits(_ value: Float) -> UInt16 {
        if value == 0 { return 0 }
        let sign = UInt16(value < 0 ? 0x8000 : 0), size = abs(value)
        if size.isInfinite { return sign | 0x7c00 }
        return sign | UInt16(Int(size.exponent) + 15) << 10 | UInt16(size.significandBitPattern >> 13)
    }

    // MARK: corrections

    @Test func aRolloutThatACorrectionLeavesOutHasNoPartInThePlan() throws {
        let found = try Case("F11-rejected-row-in-baseline", ["--checkpoint", fixture("policy")])
        try #require(found.plan().status == 0)
        let rows = try found.rows()
        #expect(try found.dropped() == ["train-00000-01": "correction"])
        #expect(rows.count == 3 && rows.allSatisfy { $0.advantages.allSatisfy { $0 == 0 } })
        #expect(isClose(rows.reduce(0) { $0 + $1.tokenWeights.reduce(0) { $0 + Double($1) } }, 1, absolute: 1e-6))
        for (name, more) in [
            ("keep", ["--set", "correction.rejected=keep"]), ("verl", ["--set", "preset=verl"]),
            ("trl", ["--set", "preset=trl"]),
        ] {
            let result = try found.plan(to: name, more)
            try #require(result.status == 0, "\(result.errors)")
            let kept = try found.rows(name)
            #expect(
                kept.count == 4 && kept[1].tokenWeights.allSatisfy { $0 == 0 }
                    && kept[0].advantages.contains { $0 > 0.4 })
            #expect(kept.reduce(0) { $0 + $1.tokenWeights.reduce(0) { $0 + Double($1) } } < 0.8)
        }
    }

    // MARK: what a dump must not say

    /// Words and numbers that score acts upon: a misspelt one is no default. (What best log-probabilities contradict
    /// costs single tokens their interval: see the tests of evidence.)
    @Test func misspeltMetadataIsNamed() throws {
        let folder = try TemporaryDirectory(), run = try Pipeline()
        let cases = [
            ("good", ["logits_kind": "processed", "top_k": "-1", "vocab_size": "8"]),
            ("kind", ["logits_kind": "procesed"]),
            ("top", ["top_k": "fifty"]), ("below", ["top_k": "-2"]), ("vocabulary", ["vocab_size": "abc"]),
            ("none", ["vocab_size": "0"]),
        ]
        try writeShard(
            cases.map { id, metadata in TinyRollout(id: id).changed { $0.frame.metadata.merge(metadata) { $1 } } },
            to: folder("a.rollouts.zst"))
        try run.ingest([folder("a.rollouts.zst")], to: "ingest")
        let rejected = try ArrowTableReader(path: run.folder("ingest/rejected.arrow"), table: Tables.rejected).rows()
        #expect(
            rejected.map(\.rolloutID) == cases.dropFirst().map { $0.0 }
                && rejected.allSatisfy { $0.reason == "invalid_value" })
        for (row, (_, metadata)) in zip(rejected, cases.dropFirst()) {
            for (key, value) in metadata { #expect(row.detail.contains("\(key) '\(value)'"), "\(row.detail)") }
        }
        try run.ingest([fixture("cases/F16-topk-contradictions/dump")], to: "case")
        let own = try ArrowTableReader(path: run.folder("case/rejected.arrow"), table: Tables.rejected).rows()
        #expect(own.map(\.rolloutID) == ["vocab"] && own[0].detail.contains("vocab_size 'abc'"))
    }

    /// Within a shard and across shards: the first rollout says what its group's prompt is.
    @Test func oneGroupHasOnePrompt() throws {
        let folder = try TemporaryDirectory(), run = try Pipeline()
        func rollout(_ id: String, _ first: Int32, _ group: String = "g", job: Bool = false) -> TinyRollout {
            TinyRollout(id: id, group: group).changed {
                $0.frame.tokenIDs[0] = first
                if job { $0.frame.metadata["job_id"] = id }
            }
        }
        try writeShard(
            [rollout("a", 1), rollout("b", 2), rollout("c", 1), rollout("d", 2, "h")], to: folder("a.rollouts.zst"))
        try writeShard(
            [rollout("e", 2), rollout("f", 1, "h"), rollout("i", 3, "i"), rollout("j", 4, job: true)],
            to: folder("b.rollouts.zst"))
        try run.ingest([folder("a.rollouts.zst"), folder("b.rollouts.zst")], to: "ingest")
        let taken = try (0..<2).flatMap {
            try ArrowTableReader(path: run.folder("ingest/rollouts-0000\($0).arrow"), table: Tables.rollouts).rows()
                .map(\.rolloutID)
        }
        #expect(taken == ["a", "c", "d", "i", "j"])
        let rejected = try ArrowTableReader(path: run.folder("ingest/rejected.arrow"), table: Tables.rejected).rows()
        #expect(
            rejected.map(\.rolloutID) == ["b", "e", "f"]
                && rejected.allSatisfy { $0.reason == "other_prompt" && $0.detail.contains("another group_id") })
        #expect(rejected[0].detail.contains("'a'") && rejected[2].detail.contains("'d'"))
    }

    // MARK: reports

    @Test func policyVersionsAreOrderedAsNumbers() throws {
        let found = try Case("F17-policy-versions-order")
        let result = try Executable("crux-plan").run(
            [
                "--input", found.run.folder("ingest"), "--scores", found.run.folder("score"), "--recipe",
                found.folder + "/r.yaml",
            ]
                + ["--output", found.run.folder("plan")])
        #expect(result.errors.contains("policy versions: 3, from 9 to 11"), "\(result.errors)")
        let folder = try TemporaryDirectory(), run = try Pipeline()
        for (names, expected) in [
            (["step-100", "step-20", "step-3"], "from step-3 to step-100"), (["1.5", "1.25", "-2"], "from -2 to 1.5"),
            (["b9", "a10", "a9"], "from a9 to b9"),
            (["10", "9", "x"], "from 9 to x"),
            (["18446744073709551617", "18446744073709551616"], "from 18446744073709551616 to 18446744073709551617"),
        ] {
            let rollouts = names.enumerated().map { index, name in
                TinyRollout(id: "r\(index)").changed {
                    $0.frame.metadata.merge(["policy_version": name, "reward": "\(index)"]) { $1 }
                }
            }
            try writeShard(rollouts, to: folder("\(names[0]).rollouts.zst"))
            try run.ingest([folder("\(names[0]).rollouts.zst")], to: "ingest-" + names[0])
            try run.score(["--reward", "given"], from: "ingest-" + names[0], to: "score-" + names[0])
            let report = try Executable("crux-plan").run(
                [
                    "--input", run.folder("ingest-" + names[0]), "--scores", run.folder("score-" + names[0]),
                    "--recipe", found.folder + "/r.yaml",
                ]
                    + ["--output", run.folder("plan-" + names[0])])
            #expect(report.errors.contains(expected), "\(report.errors)")
        }
    }

    // MARK: nothing to learn from

    @Test func anEmptyPlanIsNoSuccess() throws {
        let found = try Case("F20-dpo-continuous")
        for again in [false, true] {
            let result = try found.plan()
            #expect(
                result.status == 6 && result.errors.contains("2 no_verdict")
                    && result.errors.contains("nothing to learn from"), "\(result.errors)")
            #expect(
                result.summary["status"] as? Int == 6 && (result.summary["already_done"] as? Bool ?? false) == again)
        }
        #expect(try found.dropped().values.allSatisfy { $0 == "no_verdict" })
        #expect(try found.plan(to: "report", ["--report-only"]).status == 6)
        let update = try found.run.runUpdate()
        #expect(update.status == 6 && update.errors.contains("nothing to learn from"), "\(update.errors)")
        #expect(!FileManager.default.fileExists(atPath: found.run.folder("update")))
    }

    @Test func aFilterThatLeavesNobodySaysWhy() throws {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        let result = try run.runPlan(
            repository("recipes/grpo.yaml"), to: "plan",
            ["--set", "filter.min_accuracy=1", "--set", "filter.degenerate_groups=drop"])
        #expect(result.status == 6 && result.errors.contains("degenerate_group"), "\(result.errors)")
    }

    // MARK: recipes

    @Test func eachLineOfTheListIsNamed() throws {
        let found = try Case("F17-policy-versions-order")
        let lines = try String(contentsOfFile: fixture("cases/F19-recipe-words/recipes.txt"), encoding: .utf8).split(
            separator: "\n")
        let expected = [
            "advantage.ddof is 1.5", "schedule.groups_per_step is 1.5",
            "reward.overlong.max_length is 9223372036854775808", "kl.coef is .nan", nil,
            "filter.min_accuracy is 0.8", "advantage.ddof is 100", "reward.overlong.factor is -1",
            "reward.correct is -1",
        ]
        try #require(lines.count == expected.count)
        for (index, line) in lines.enumerated() {
            let yaml = line.components(separatedBy: "->")[0], result = try found.plan(yaml: yaml, to: "plan-\(index)")
            #expect(
                result.status == (expected[index] == nil ? 0 : 3)
                    && (expected[index].map { result.errors.contains($0) } ?? true), "\(line): \(result.errors)")
            #expect(
                expected[index] == nil || result.errors.contains("(line 1)") && result.errors.contains("r.yaml"),
                "\(result.errors)")
        }
    }

    @Test func hostileRecipesEndAtOnce() throws {
        let found = try Case("F17-policy-versions-order"), start = ContinuousClock.now
        for (name, word) in [
            ("faults/yaml-billion-laughs/r.yaml", "aliases"), ("faults/yaml-map-key/r.yaml", "line 1, column 2"),
            ("faults/yaml-map-key/r2.yaml", "line 2, column 18"),
            ("faults/yaml-replicates/r.yaml", "expansion.replicates"),
            ("faults/update-epochs/r.yaml", "schedule.epochs"),
            ("F15-lora-rank-overflow/r.yaml", "trainable.rank"),
        ] {
            let result = try found.run.runPlan(fixture("cases/" + name), to: "hostile")
            #expect(
                result.status == 3 && result.errors.contains(word) && result.errors.contains(name),
                "\(result.errors.prefix(500))")
        }
        // Half a million unknown keys.
        let many = try found.plan(yaml: (0..<500_000).map { "k\($0): 1" }.joined(separator: "\n"), to: "many")
        #expect(many.status == 3 && many.errors.utf8.count < 1000)
        #expect(ContinuousClock.now - start < .seconds(60))
    }

    /// What a plan resolved may be changed by hand before the update reads it.
    @Test(arguments: [
        ("\"epochs\" : 1", "\"epochs\" : 1000000000000"), ("\"rank\" : 2", "\"rank\" : 9223372036854775807"),
        ("\"lr\" : 1e-06", "\"lr\" : NaN"),
    ])
    func anUpdateReadsRecipesAsStrictly(_ old: String, _ new: String) throws {
        let found = try Case("F15-lora-rank-overflow")
        let planned = try found.plan(to: "plan", ["--set", "trainable.rank=2"])
        try #require(planned.status == 0, "\(planned.errors)")
        let path = found.run.folder("plan/recipe.resolved.json"),
            text = try String(contentsOfFile: path, encoding: .utf8)
        try #require(text.contains(old), "\(text)")
        try text.replacingOccurrences(of: old, with: new).write(toFile: path, atomically: true, encoding: .utf8)
        try sealAgain(found.run.folder("plan"))
        let result = try found.run.runUpdate()
        #expect(result.status == 3 && result.errors.contains("(line "), "\(result.errors)")
    }
}
