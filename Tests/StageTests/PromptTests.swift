import Arrow
import Formats
import Foundation
import TestSupport
import Testing

/// What `crux-report` says at a prompt: show, forks, trace, diff.
@Suite struct PromptTests {
    private let run: Pipeline

    init() throws {
        run = try Pipeline()
        try run.ingest()
        try run.score()
        try run.plan(repositoryRoot + "/recipes/dapo-top20.yaml")
    }

    private var scored: [String] { ["--input", run.folder("ingest"), "--scores", run.folder("score")] }

    private func report(_ arguments: [String], environment: [String: String] = [:]) throws -> Executable.Result {
        try Executable("crux-report").run(arguments + ["--quiet"], environment: environment)
    }

    private func rollouts() throws -> [RolloutRow] {
        try ArrowTableReader(path: run.folder("ingest/rollouts-00000.arrow"), table: Tables.rollouts).rows()
    }

    private func planRows(_ plan: String = "plan") throws -> [PlanRow] {
        try ArrowTableReader(path: run.folder(plan + "/plan.arrow"), table: Tables.plan).rows()
    }

    // MARK: show

    private func show(_ id: String, _ more: [String] = [], environment: [String: String] = [:]) throws -> String {
        let result = try report(["show", id] + scored + more, environment: environment)
        #expect(result.status == 0, "\(result.errors)")
        return result.output
    }

    /// Without colours every kept token stands in brackets with its sign, and the text is the response's.
    @Test func aRolloutIsLegibleWithoutColours() throws {
        let row = try #require(try planRows().first { $0.advantages.contains { $0 > 0 } })
        let rollout = try #require(try rollouts().first { $0.rolloutID == row.rolloutID })
        let text = try show(
            row.rolloutID, ["--plan", run.folder("plan"), "--tokenizer", fixture("policy"), "--color", "never"])
        let kept = row.lossMask.indices.count { row.lossMask[$0] && row.entropyMask[$0] }
        let response = try #require(
            text.components(separatedBy: "response:\n").last?.components(separatedBy: "\n\n").first)
        #expect(kept > 0 && response.components(separatedBy: "]⁺").count - 1 == kept, "\(text)")
        #expect(text.contains("\(kept) of \(row.lossMask.count { $0 }) tokens kept, advantage "))
        #expect(text.contains("verdict ") && text.contains("entropy in nats:") && !text.contains("\u{1b}"))
        // Signs, bars and brackets taken out, what is left is the text.
        let bare = response.filter { !"[]⁺⁻⁰▁▂▃▄▅▆█‹›".contains($0) }.replacingOccurrences(of: "⏎", with: "")
        #expect(bare.hasPrefix(rollout.completion.filter { !"[]".contains($0) }), "\(bare)")
    }

    @Test func coloursAreUsedWhereTheyAreWanted() throws {
        let row = try #require(try planRows().first),
            flags = ["--plan", run.folder("plan"), "--tokenizer", fixture("policy")]
        let always = try show(row.rolloutID, flags + ["--color", "always"])
        let kept = row.lossMask.indices.count { row.lossMask[$0] && row.entropyMask[$0] }
        // A kept token is underlined, and the legend shows one.
        #expect(
            always.components(separatedBy: ";4m").count - 1 + always.components(separatedBy: "[4m").count - 1 > kept)
        #expect(always.contains("48;5;"))
        let true_ = try show(row.rolloutID, flags + ["--color", "always"], environment: ["COLORTERM": "truecolor"])
        #expect(true_.contains("48;2;"))
        // Not a terminal; and where somebody wants none, but says so twice.
        #expect(try !show(row.rolloutID, flags).contains("\u{1b}"))
        #expect(try show(row.rolloutID, flags + ["--color", "always"], environment: ["NO_COLOR": "1"]) == always)
    }

    @Test func figuresComeAsJSONWhereTheyAreWanted() throws {
        let row = try #require(try planRows().first)
        let result = try report(["show", row.rolloutID, "--plan", run.folder("plan"), "--json"] + scored)
        let tokens = try #require(result.summary["tokens"] as? [[String: Any]])
        let kept = row.lossMask.indices.filter { row.lossMask[$0] && row.entropyMask[$0] }
        #expect(tokens.filter { $0["kept"] as? Bool == true }.map { $0["position"] as? Int } == kept)
        #expect(result.output.split(separator: "\n").count == 1 && result.summary["status"] as? Int == 0)
    }

    /// A dump says what it likes; a terminal hears none of it.
    @Test(arguments: ["never", "always"]) func textCannotSteerTheTerminal(_ color: String) throws {
        let hostile = "\\u001b[2J\\u001b]0;title\\u0007\\u202eright to left\\u009b31m\\r<b>"
        let line =
            #"{"custom_id":"evil\u001b[31m","response":{"body":{"choices":[{"index":0,"text":""# + hostile
            + #"","finish_reason":"stop","token_ids":[5,0],"prompt_token_ids":[17,16]}]}},"prompt":""# + hostile
            + #"","group_id":"g\u001b[1m","data_source":""# + hostile + #"","reference_answer":""# + hostile
            + #"","reward":1}"#
        try (line + "\n").write(toFile: run.folder("evil.jsonl"), atomically: true, encoding: .utf8)
        try run.ingest([run.folder("evil.jsonl")], to: "evil")
        try run.score(["--reward", "given"], from: "evil", to: "evil-score")
        let flags = ["--input", run.folder("evil"), "--scores", run.folder("evil-score")]
        let shown = try report(["show", "evil\u{1b}[31m", "--color", color] + flags)
        #expect(shown.status == 0, "\(shown.errors)")
        let traced = try report(["trace", "evil\u{1b}[31m"] + flags)
        for text in [shown.output, traced.output] {
            let without = text.replacing(#/\u{1b}\[[0-9;]*m/#, with: "")
            #expect(
                !without.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" || (0x7f...0x9f).contains($0.value) })
            #expect(!without.contains("\u{202e}") && text.contains("evil␛[31m"), "\(text)")
        }
        #expect(color == "always" || !shown.output.contains("\u{1b}"))
        #expect(shown.output.contains("<b>"))
    }

    @Test func aRolloutThatIsNotThereIsSaidToBe() throws {
        let refused = try report(["show", "nobody"] + scored)
        #expect(refused.status == 3 && refused.errors.contains("found no rollout 'nobody' among its 192"))
    }

    // MARK: forks

    @Test func forksAreTheTokensByMeanEntropy() throws {
        var sums: [Int32: (count: Int, sum: Double)] = [:]
        for file in 0..<3 {
            let rows = try ArrowTableReader(
                path: run.folder("ingest/rollouts-0000\(file).arrow"), table: Tables.rollouts
            ).rows()
            let scores = try ArrowTableReader(
                path: run.folder("score/scores-0000\(file).arrow"), table: Tables.scores
            ).rows()
            for (row, score) in zip(rows, scores) {
                let entropy = try #require(score.entropy)
                for t in row.lossMask.indices where row.lossMask[t] {
                    let old = sums[row.tokenIDs[t]] ?? (0, 0)
                    sums[row.tokenIDs[t]] = (old.count + 1, old.sum + Double(entropy[t]))
                }
            }
        }
        let result = try report(
            ["forks", "--minimum-count", "50", "--rows", "5", "--json", "--output", run.folder("forks")] + scored)
        #expect(result.status == 0, "\(result.errors)")
        let found = try #require(result.summary["tokens"] as? [[String: Any]])
        let wanted = sums.filter { $0.value.count > 50 }.sorted {
            $0.value.sum / Double($0.value.count) > $1.value.sum / Double($1.value.count)
        }
        #expect(found.map { $0["token_id"] as? Int } == wanted.prefix(5).map { Int($0.key) })
        for (one, other) in zip(found, wanted) {
            #expect(one["count"] as? Int == other.value.count)
            let mean = try #require(one["mean_entropy"] as? Double)
            #expect(isClose(mean, other.value.sum / Double(other.value.count), relative: 1e-9))
        }
        let csv = try String(contentsOfFile: run.folder("forks.csv"), encoding: .utf8).split(separator: "\n")
        #expect(csv.count == wanted.count + 1 && csv[0].hasPrefix("token,id,mean entropy (nats),count"))
        // The token stands between what comes before and after it.
        let text = try report(["forks", "--minimum-count", "50", "--tokenizer", fixture("policy")] + scored).output
        #expect(text.contains("⟪") && text.contains("of the highest mean entropy"), "\(text)")
    }

    // MARK: trace

    private func trace(_ id: String, _ more: [String]) throws -> (result: Executable.Result, steps: [[String: Any]]) {
        let result = try report(["trace", id, "--input", run.folder("ingest"), "--json"] + more)
        return (result, result.summary["trace"] as? [[String: Any]] ?? [])
    }

    @Test func aKeptRolloutIsFollowedToTheStepsThatLearnedFromIt() throws {
        try run.update()
        let row = try #require(try planRows().last)
        let (_, steps) = try trace(
            row.rolloutID,
            ["--scores", run.folder("score"), "--plan", run.folder("plan"), "--update", run.folder("update")])
        #expect(steps.map { $0["stage"] as? String } == ["ingest", "score", "plan", "update"])
        let file = try #require(steps[0]["file"] as? String), number = try #require(steps[0]["row"] as? Int)
        let rows = try ArrowTableReader(path: run.folder("ingest/" + file), table: Tables.rollouts).rows()
        #expect(rows[number].rolloutID == row.rolloutID)
        let last = try planRows().count - 1
        #expect(steps[1]["row"] as? Int == number && steps[2]["row"] as? Int == last)
        #expect(steps[3]["step"] as? Int == 1)
    }

    @Test func aDroppedRolloutHasItsReason() throws {
        let dropped = try ArrowTableReader(path: run.folder("plan/dropped.arrow"), table: Tables.dropped).rows()[0]
        let (_, steps) = try trace(dropped.rolloutID, ["--plan", run.folder("plan")])
        #expect(steps.last?["reason"] as? String == "degenerate_group")
        let text = try report(
            ["trace", dropped.rolloutID, "--input", run.folder("ingest"), "--plan", run.folder("plan")]).output
        #expect(text.contains("left out, degenerate_group (its group gives no contrast"), "\(text)")
    }

    @Test func aRejectedRolloutHasItsPlaceInTheDump() throws {
        let damaged =
            #"{"schema_version": 1, "export_step": 3, "rank": 0, "export_sequence_idx": 9, "token_ids": [5, 6], "loss_mask": [false]}"#
        let good =
            #"{"schema_version": 1, "export_step": 3, "rank": 0, "export_sequence_idx": 0, "token_ids": [5, 6, 7], "loss_mask": [false, true, true]}"#
        try (good + "\n" + damaged + "\n").write(toFile: run.folder("short.jsonl"), atomically: true, encoding: .utf8)
        let made = try Executable("crux-ingest").run(
            ["--quiet", "--input", run.folder("short.jsonl"), "--output", run.folder("short")])
        #expect(made.status == 0, "\(made.errors)")
        let result = try report(["trace", "step-3-rank-0-9", "--input", run.folder("short"), "--json"])
        let step = try #require((result.summary["trace"] as? [[String: Any]])?.first)
        #expect(step["reason"] as? String == "length_mismatch" && step["frame_index"] as? Int == 1, "\(result.output)")
        let missing = try report(["trace", "nobody", "--input", run.folder("short")])
        #expect(missing.status == 3 && missing.output.contains("has no rollout of that name"), "\(missing.output)")
    }

    // MARK: diff

    @Test func twoPlansDifferWhereTheirTablesDo() throws {
        try run.plan(
            repositoryRoot + "/recipes/dapo-top20.yaml", to: "other",
            ["--set", "entropy.mask.top=0.5", "--set", "filter.degenerate_groups=keep"])
        let output = ["--output", run.folder("diff"), "--json"]
        let result = try report(["diff", run.folder("plan"), run.folder("other")] + output)
        #expect(result.status == 0, "\(result.errors)")
        let (one, two) = (try planRows(), try planRows("other"))
        func tokens(_ rows: [PlanRow]) -> Set<String> {
            Set(
                rows.flatMap { row in
                    row.lossMask.indices.filter { row.lossMask[$0] && row.entropyMask[$0] }.map {
                        "\(row.rolloutID) \($0)"
                    }
                })
        }
        let (first, second) = (tokens(one), tokens(two)), both = first.intersection(second)
        #expect(result.summary["tokens_both"] as? Int == both.count && both.count < second.count)
        let overlap = try #require(result.summary["overlap"] as? Double)
        #expect(isClose(overlap, Double(both.count) / Double(first.union(second).count), relative: 1e-14))
        #expect(result.summary["rollouts_only_second"] as? Int == two.count - one.count)
        let kept = (result.summary["first"] as? [String: Any])?["kept_tokens"] as? Int
        #expect(kept == first.count)
        let keys = (result.summary["recipe"] as? [[String: Any]])?.compactMap { $0["key"] as? String }
        #expect(keys == ["entropy.mask.top", "filter.degenerate_groups"])
        let csv = try String(contentsOfFile: run.folder("diff.csv"), encoding: .utf8).split(separator: "\n")
        #expect(csv.count == two.count + 1)
        // Equal plans differ in nothing.
        let same = try report(["diff", run.folder("plan"), run.folder("plan")]).output
        #expect(same.contains("recipes: the same") && same.contains("0 differ in anything"), "\(same)")
    }

    @Test func plansOfOtherDumpsAreNotCompared() throws {
        try run.ingest([fixture("dump/rollouts-00000.rollouts.zst")], to: "less")
        try run.score(from: "less", to: "less-score")
        try run.plan(repositoryRoot + "/recipes/grpo.yaml", to: "less-plan", scores: "less-score", input: "less")
        let refused = try report(["diff", run.folder("plan"), run.folder("less-plan")])
        #expect(refused.status == 3 && refused.errors.contains("a plan of another dump"), "\(refused.errors)")
    }

    @Test func aStrangersFileIsKept() throws {
        try "mine".write(toFile: run.folder("forks.md"), atomically: true, encoding: .utf8)
        let refused = try report(["forks", "--output", run.folder("forks")] + scored)
        #expect(refused.status == 5 && refused.errors.contains("forks.md"), "\(refused.errors)")
        #expect(try String(contentsOfFile: run.folder("forks.md"), encoding: .utf8) == "mine")
    }
}
