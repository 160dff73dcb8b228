import Arrow
import Credit
import Files
import Formats
import Foundation
import Quantiles
import Recipes
import TestSupport
import Testing

/// Plans that go over a dump in passes: the same however the dump is split, and the same as one in memory.
@Suite(.serialized) struct PlanStreamTests {
    private let rows: [(RolloutRow, ScoreRow)]

    /// Rollouts of 5 to 300 tokens in groups of uneven size whose members stand apart; many entropies are equal.
    private static func rows(_ seed: UInt64, count: Int = 300) -> [(RolloutRow, ScoreRow)] {
        var random = SplitMix(seed: seed)
        return (0..<count).map { index in
            let length = 5 + Int(random.next() % 296)
            var rollout = RolloutRow(), score = ScoreRow()
            rollout.rolloutID = "r\(index)"
            rollout.groupID = "g\(random.next() % 40)"
            rollout.finishReason = random.next() % 9 == 0 ? "length" : "stop"
            rollout.tokenIDs = (0..<length).map { _ in Int32(random.next() % 1000) }
            rollout.lossMask = (0..<length).map { $0 > 1 && random.next() % 10 > 0 }
            rollout.evidence = "logits"
            func column(_ value: () -> Float) -> [Float] { rollout.lossMask.map { $0 ? value() : 0 } }
            rollout.rolloutLogprobs = column { -Float(random.next() % 1000) / 500 }
            score.rolloutID = rollout.rolloutID
            score.setVerdict(.given)
            score.correct = random.next() % 2 == 0
            score.reward = index % 50 == 7 ? nil : score.correct == true ? 1 : 0
            score.entropy = column { Float(random.next() % 64) / 32 }
            score.oldLogprobs = column { -Float(random.next() % 1000) / 500 }
            score.referenceLogprobs = column { -Float(random.next() % 1000) / 500 }
            score.values = column { Float(random.next() % 100) / 100 }
            score.processLogprobs = column { -Float(random.next() % 1000) / 500 }
            score.processReferenceLogprobs = column { -Float(random.next() % 1000) / 500 }
            score.referenceKL = column { Float(random.next() % 100) / 100 }
            score.expectedQ = column { Float(random.next() % 100) / 100 }
            score.evidence = "logits"
            return (rollout, score)
        }
    }

    init() { rows = Self.rows(11) }

    /// The rows as directories of ingest and score: `files` and rows of each batch as they are given.
    private func write(
        _ rows: [(RolloutRow, ScoreRow)], to folder: String, files: Int, batchRows: (Int, Int), zstd: Bool = false
    ) throws {
        for stage in ["ingest", "score"] {
            try FileManager.default.createDirectory(atPath: folder + "/" + stage, withIntermediateDirectories: true)
        }
        let compression: ArrowCompression = zstd ? .zstd(level: 1) : .none
        for file in 0..<files {
            let part = rows[rows.count * file / files..<rows.count * (file + 1) / files],
                name = String(format: "%05d.arrow", file)
            try write(part.map(\.0), Tables.rollouts, folder + "/ingest/rollouts-" + name, batchRows.0, compression)
            try write(part.map(\.1), Tables.scores, folder + "/score/scores-" + name, batchRows.1, compression)
        }
        for (stage, prefix) in [("ingest", "rollouts"), ("score", "scores")] {
            let outputs: [[String: Any]] = (0..<files).map { ["path": String(format: "%@-%05d.arrow", prefix, $0)] }
            let source = folder + "/ingest/manifest.json"
            let inputs =
                stage == "score" ? [["path": "ingest/manifest.json", "sha256": try SHA256Digest.ofFile(source)]] : []
            let manifest: [String: Any] = [
                "stage": stage, "version": "0", "configuration": [:] as [String: String], "inputs": inputs,
                "outputs": outputs,
                "counts": [:] as [String: Int],
            ]
            try JSONSerialization.data(withJSONObject: manifest).write(
                to: URL(fileURLWithPath: folder + "/\(stage)/manifest.json"))
        }
    }

    private func write<Row>(
        _ rows: [Row], _ table: Table<Row>, _ path: String, _ batchRows: Int, _ compression: ArrowCompression
    ) throws {
        var writer = try ArrowTableWriter(path: path, table: table, metadata: [:], compression: compression),
            batch = ArrowBatchBuilder(table)
        for row in rows {
            batch.append(row)
            if batch.rows == batchRows { try writer.append(batch.take(compression)) }
        }
        if batch.rows > 0 { try writer.append(batch.take(compression)) }
        try writer.finish()
    }

    private func plan(_ folder: String, recipe: String, to name: String, _ more: [String] = []) throws
        -> Executable.Result
    {
        let path = folder + "/recipe.yaml"
        try recipe.write(toFile: path, atomically: true, encoding: .utf8)
        return try Executable("crux-plan").run(
            [
                "--quiet", "--input", folder + "/ingest", "--scores", folder + "/score", "--recipe", path, "--output",
                folder + "/" + name, "--overwrite",
            ] + more)
    }

    /// A table's bytes without the digests of what it was made from, which name the files.
    private func bytes(_ path: String) throws -> [UInt8] {
        var bytes = try readBytes(path)
        let inputs = Array((try ArrowTableReader(path: path, table: Tables.plan).metadata["crux.inputs"] ?? "").utf8)
        try #require(!inputs.isEmpty)
        var start = 0
        while let found = bytes[start...].firstRange(of: inputs) {
            for index in found { bytes[index] = 0 }
            start = found.upperBound
        }
        return bytes
    }

    static let recipes = [
        "advantage: grpo\nentropy: {mask: {top: 0.2, scope: plan}}\n",
        "advantage: grpo\nentropy: {mask: {top: 0.2, scope: step}}\nschedule: {groups_per_step: 3}\nfilter: {degenerate_groups: drop, truncated: drop}\n",
        "advantage: rloo\nentropy: {mask: {bottom: 0.3, scope: step, ties: exact_count}}\nschedule: {groups_per_step: 4, order: shuffled}\n",
        "advantage: reinforce_pp_baseline\nentropy: {mask: {random: 0.5, scope: group}}\naggregation: sequence_mean_token_mean\n",
        "advantage: {type: grpo, normalize: batch}\nentropy: {shaping: {alpha: 0.4}, mask: {top: 0.1, scope: rollout}}\n",
        "advantage: gae\ncorrection: {level: token}\n", "advantage: prime\nschedule: {groups_per_step: 5}\n",
        "advantage: etpo_mc\nfilter: {degenerate_groups: zero}\n",
        "advantage: reinforce_pp\nkl: {coef: 0.1, placement: reward}\n",
        "objective: h_dpo\nfilter: {truncated: drop}\n",
    ]

    @Test(arguments: recipes) func aPlanIsTheSameHoweverTheDumpIsSplit(_ text: String) throws {
        let folder = try TemporaryDirectory(), recipe = "name: split\n" + text
        var whole: [UInt8]?
        for (index, (files, batches, zstd)) in [
            (1, (1000, 1000), false), (7, (1000, 13), false), (3, (5, 64), true), (23, (1, 1), false),
        ].enumerated() {
            let part = try folder.folder("\(index)")
            try write(rows, to: part, files: files, batchRows: batches, zstd: zstd)
            for threads in ["1", "3"] {
                let result = try plan(part, recipe: recipe, to: "plan-" + threads, ["--threads", threads])
                try #require(result.status == 0, "\(result.errors)")
                let found = try bytes(part + "/plan-\(threads)/plan.arrow")
                #expect(found == whole ?? found, "\(files) files, \(threads) threads")
                whole = found
            }
        }
    }

    @Test(arguments: recipes) func aPlanIsTheOneInMemory(_ text: String) throws {
        let folder = try TemporaryDirectory(), recipe = try Recipe.load(yaml: "name: memory\n" + text, file: "test")
        try write(rows, to: folder.path, files: 2, batchRows: (9, 20))
        let result = try plan(folder.path, recipe: "name: memory\n" + text, to: "plan")
        try #require(result.status == 0, "\(result.errors)")
        let judged = rows.filter { $0.1.reward != nil },
            expected = recipe.credit.assign(judged.map { input($0, recipe) }, seed: 0)
        let found = try ArrowTableReader(path: folder("plan/plan.arrow"), table: Tables.plan).rows()
        try #require(found.map(\.rolloutID) == expected.kept.map { judged[$0.index].0.rolloutID })
        for (row, credit) in zip(found, expected.kept) {
            #expect(
                row.step == Int32(credit.step) && row.reward == Float(credit.reward) && row.lossMask == credit.mask
                    && row.entropyMask == credit.entropyMask)
            #expect(
                row.advantages == credit.advantages.map { Float($0) }
                    && row.tokenWeights == credit.weights.map { Float($0) })
            #expect(
                row.returns == credit.returns?.map { Float($0) } && row.pair == credit.pair.map { Int32($0) }
                    && row.evidence == "logits")
        }
    }

    private func input(_ row: (RolloutRow, ScoreRow), _ recipe: Recipe) -> CreditInput {
        let (rollout, score) = row
        var input = CreditInput(
            groupID: rollout.groupID, reward: Double(score.reward ?? 0), correct: score.correct,
            isTruncated: rollout.finishReason == "length",
            mask: rollout.lossMask, entropy: score.entropy ?? [])
        input.columns = [
            .oldLogprobs: score.oldLogprobs!, .rolloutLogprobs: rollout.rolloutLogprobs!,
            .referenceLogprobs: score.referenceLogprobs!,
        ]
        input.columns[.values] = score.values
        input.columns[.processRewards] = zip(score.processLogprobs!, score.processReferenceLogprobs!).map { $0 - $1 }
        (input.columns[.referenceKL], input.columns[.expectedQ]) = (score.referenceKL, score.expectedQ)
        if recipe.kl.isInReward {
            input.tokenRewards = recipe.kl.rewards(
                logprobs: score.oldLogprobs!, reference: score.referenceLogprobs!, mask: rollout.lossMask)
        }
        return input
    }

    /// Before anything is written: an hour's work must not end in it.
    @Test func aKeptRowWithoutLogprobsIsRefusedAtOnce() throws {
        let folder = try TemporaryDirectory()
        var broken = rows
        broken[7].1.oldLogprobs = nil
        broken[8].1.oldLogprobs = nil
        try write(broken, to: folder.path, files: 2, batchRows: (50, 50))
        let recipe = "name: lacking\nadvantage: grpo\nfilter: {degenerate_groups: drop}\n",
            refused = try plan(folder.path, recipe: recipe, to: "plan")
        #expect(
            refused.status == 3 && refused.errors.contains("'r8'") && refused.errors.contains("old_logprobs"),
            "\(refused.errors)")
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: folder("plan")).filter {
                $0.hasSuffix(".arrow") || $0.hasSuffix(".jsonl")
            } == [])
        // Without a reward it is not kept.
        broken[8].1.reward = nil
        try write(broken, to: folder.path, files: 2, batchRows: (50, 50))
        #expect(try plan(folder.path, recipe: recipe, to: "plan").status == 0)
    }

    @Test func filesOfOtherDumpsAreRefused() throws {
        let folder = try TemporaryDirectory()
        var broken = rows
        broken[5].1.rolloutID = "other"
        try write(broken, to: folder.path, files: 1, batchRows: (50, 50))
        let refused = try plan(folder.path, recipe: "name: strangers\n" + Self.recipes[0], to: "plan")
        #expect(refused.status == 3 && refused.errors.contains("same order"), "\(refused.errors)")
    }

    @Test func columnsOfAnotherLengthAreRefusedByName() throws {
        let folder = try TemporaryDirectory()
        var broken = rows
        broken[5].1.entropy!.removeLast()
        try write(broken, to: folder.path, files: 1, batchRows: (50, 50))
        let refused = try plan(folder.path, recipe: "name: short\n" + Self.recipes[0], to: "plan")
        #expect(
            refused.status == 3 && refused.errors.contains("'r5'") && refused.errors.contains("entropy"),
            "\(refused.errors)")
    }

    @Test func aReportAloneSaysTheSameAndWritesNothing() throws {
        let folder = try TemporaryDirectory(), recipe = "name: report\n" + Self.recipes[0]
        try write(rows, to: folder.path, files: 2, batchRows: (50, 50))
        let report = try plan(folder.path, recipe: recipe, to: "none", ["--report-only"])
        try #require(report.status == 0, "\(report.errors)")
        #expect(!FileManager.default.fileExists(atPath: folder("none")))
        let written = try plan(folder.path, recipe: recipe, to: "plan")
        let alone = try #require(report.summary["counts"] as? [String: Int]),
            all = try #require(written.summary["counts"] as? [String: Int])
        for (key, count) in alone { #expect(all[key] == count, "\(key)") }
        #expect((alone["kept_tokens"] ?? 0) > 0)
    }

    // MARK: many tokens

    /// So many tokens that a sample tells where to look: thresholds and tokens kept are those of sorting, for any
    /// threads, files and batches.
    @Test(arguments: ["top: 0.2", "top: 0.2, ties: exact_count", "bottom: 0.3", "top: 0.001"])
    func manyTokensAreCutWhereSortingCutsThem(_ mask: String) throws {
        let folder = try TemporaryDirectory(),
            recipe = "name: many\nadvantage: grpo\nentropy: {mask: {\(mask), scope: plan}}\n"
        var many = Self.rows(5, count: 1200), random = SplitMix(seed: 6)
        for index in many.indices {
            many[index].1.entropy = many[index].1.entropy?.map {
                $0 == 0 ? 0 : $0 + Float(random.next() % 1_000_000) / 1_000_000
            }
            many[index].0.policyVersion = index < 900 ? "a" : index % 2 == 0 ? "b" : "c"
        }
        let entropies = many.filter { $0.1.reward != nil }.flatMap { row, score in
            row.lossMask.indices.filter { row.lossMask[$0] }.map { score.entropy![$0] }
        }
        try #require(entropies.count > 1 << 16)
        var outcomes = Set<String>()
        for (files, batches, threads) in [(1, (5000, 5000), 1), (3, (70, 110), 2), (5, (11, 900), 3)] {
            try write(many, to: folder.path, files: files, batchRows: batches)
            let report = try plan(
                folder.path, recipe: recipe, to: "plan", ["--report-only", "--threads", "\(threads)"])
            try #require(report.status == 0, "\(report.errors)")
            outcomes.insert(report.output)
            try check(
                try #require(report.summary["summary"] as? [String: Any]),
                try #require(report.summary["counts"] as? [String: Int]), entropies, mask)
        }
        #expect(outcomes.count == 1)
        let whole = try plan(folder.path, recipe: recipe, to: "whole"),
            found = try ArrowTableReader(path: folder("whole/plan.arrow"), table: Tables.plan).rows()
        #expect(
            found.reduce(0) { $0 + $1.entropyMask.count { $0 } }
                == (whole.summary["counts"] as? [String: Int])?["kept_tokens"])
        #expect((whole.summary["summary"] as? [String: Any])?["policy_versions"] as? Int == 3)
    }

    private func check(_ summary: [String: Any], _ counts: [String: Int], _ entropies: [Float], _ mask: String) throws {
        let threshold = try #require((summary["thresholds"] as? [Double])?.first), sorted = entropies.sorted()
        let share = mask.hasPrefix("bottom") ? 0.3 : mask.contains("0.001") ? 0.001 : 0.2
        if mask.contains("exact") {
            let kept = Int((share * Double(entropies.count) - 1e-9).rounded(.up))
            #expect(counts["kept_tokens"] == kept && abs(threshold - Double(sorted[entropies.count - kept])) < 1e-12)
        } else {
            // The summary's JSON is off by a digit at the very end.
            #expect(abs(threshold - quantile(entropies, mask.hasPrefix("bottom") ? share : 1 - share)!) < 1e-12)
            #expect(
                counts["kept_tokens"]
                    == entropies.count { mask.hasPrefix("bottom") ? Double($0) <= threshold : Double($0) >= threshold })
        }
    }

    @Test func anEntropyThatIsNoNumberIsRefusedByNameAmongMany() throws {
        let folder = try TemporaryDirectory()
        for bad in [Float.infinity, .nan] {
            var broken = Self.rows(5, count: 1200)
            for row in [701, 1100] { broken[row].1.entropy![broken[row].0.lossMask.firstIndex(of: true)!] = bad }
            try write(broken, to: folder.path, files: 2, batchRows: (50, 50))
            // Without tables, whose rows would be looked at again.
            let result = try plan(folder.path, recipe: "name: bad\n" + Self.recipes[0], to: "plan", ["--report-only"])
            #expect(result.status == 3 && result.errors.contains("'r701'"), "\(result.errors)")
        }
    }

    // MARK: intervals

    /// Entropies known within ± `width` for every third rollout.
    private func intervals(_ width: Float) -> [(RolloutRow, ScoreRow)] {
        rows.enumerated().map { index, row in
            guard index % 3 == 0, let entropy = row.1.entropy else { return row }
            var score = row.1
            score.entropyLow = zip(entropy, row.0.lossMask).map { $1 ? max(0, $0 - width) : 0 }
            score.entropyHigh = zip(entropy, row.0.lossMask).map { $1 ? $0 + width : 0 }
            score.evidence = "topk"
            return (row.0, score)
        }
    }

    @Test func undecidedTokensAreCountedAndTooManyRefused() throws {
        let folder = try TemporaryDirectory(), recipe = "name: bounds\n" + Self.recipes[0], wide = intervals(0.2)
        try write(wide, to: folder.path, files: 2, batchRows: (50, 50))
        let refused = try plan(folder.path, recipe: recipe, to: "refused")
        #expect(
            refused.status == 3 && refused.errors.contains("max_undecided")
                && !FileManager.default.fileExists(atPath: folder("refused/plan.arrow")))
        let allowed = try plan(folder.path, recipe: recipe, to: "plan", ["--set", "entropy.mask.max_undecided=1"])
        try #require(allowed.status == 0, "\(allowed.errors)")
        let counts = try #require(allowed.summary["counts"] as? [String: Int]), undecided = undecided(wide)
        #expect(undecided > 0 && counts["undecided_tokens"] == undecided)
        #expect(counts["evidence_topk"] == wide.count { $0.1.evidence == "topk" && $0.1.reward != nil })
        let found = try ArrowTableReader(path: folder("plan/plan.arrow"), table: Tables.plan).rows()
        #expect(found.count { $0.evidence == "topk" } == counts["evidence_topk"])
        try write(intervals(0), to: folder.path, files: 2, batchRows: (50, 50))
        let exact = try plan(folder.path, recipe: recipe, to: "exact")
        #expect(exact.status == 0 && (exact.summary["counts"] as? [String: Int])?["undecided_tokens"] == 0)
    }

    /// By sorting all bounds.
    private func undecided(_ rows: [(RolloutRow, ScoreRow)]) -> Int {
        let bounds = rows.filter { $0.1.reward != nil }.flatMap { rollout, score in
            rollout.lossMask.indices.filter { rollout.lossMask[$0] }.map {
                ((score.entropyLow ?? score.entropy!)[$0], (score.entropyHigh ?? score.entropy!)[$0])
            }
        }
        let low = quantile(bounds.map(\.0), 0.8)!, high = quantile(bounds.map(\.1), 0.8)!
        return bounds.count { !(Double($0.0) >= high || Double($0.1) < low) }
    }

    @Test func anEntropyThatIsNoNumberIsRefusedByName() throws {
        let folder = try TemporaryDirectory()
        for bad in [Float.infinity, -.infinity, .nan] {
            var broken = rows
            let place = broken[5].0.lossMask.firstIndex(of: true)!
            broken[5].1.entropy![place] = bad
            try write(broken, to: folder.path, files: 1, batchRows: (50, 50))
            let result = try plan(folder.path, recipe: "name: bad\n" + Self.recipes[0], to: "plan")
            #expect(
                result.status == 3 && result.errors.contains("'r5'") && result.errors.contains("position \(place)"),
                "\(result.errors)")
        }
    }
}
