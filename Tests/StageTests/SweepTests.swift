import Arrow
import Formats
import Foundation
import TestSupport
import Testing

/// `crux-plan --sweep`: many plans in the passes of one.
@Suite struct SweepTests {
    private let run: Pipeline

    init() throws {
        run = try Pipeline()
        try run.ingest()
        // With the policy at hand the trainer's log-probabilities are known, and so is the effective share.
        try run.score(["--checkpoint", fixture("policy"), "--reference", fixture("policy")])
    }

    private func sweep(_ recipe: String, _ keys: [String], _ more: [String] = []) throws -> Executable.Result {
        try Executable("crux-plan").run(
            ["--input", run.folder("ingest"), "--scores", run.folder("score"), "--recipe", recipe]
                + keys.flatMap { ["--sweep", $0] } + more)
    }

    private static func recipe(_ name: String) -> String { repositoryRoot + "/recipes/\(name).yaml" }

    /// Tokens that a plan keeps, as rollout and position.
    private func keptTokens(_ rows: [PlanRow]) -> Set<String> {
        Set(
            rows.flatMap { row in
                row.lossMask.indices.filter { row.lossMask[$0] && row.entropyMask[$0] }.map { "\(row.rolloutID) \($0)" }
            })
    }

    /// Masks, estimators that read tokens, corrections, pairs; also with several steps, and on several threads.
    @Test(arguments: [
        ("dapo-top20", ["entropy.mask.top=0.05,0.2,0.5,1"], []),
        (
            "dapo-top20", ["entropy.mask.top=0.1,0.3", "entropy.mask.scope=step,plan,group,rollout"],
            ["--threads", "3"]
        ),
        ("grpo", ["advantage={type: grpo},{type: rloo},{type: raw_reward}", "schedule.groups_per_step=null,5"], []),
        ("dapo-top20", ["entropy.mask={random: 0.3},{bottom: 0.2, ties: exact_count},{top: 0.2}"], ["--seed", "7"]),
        ("grpo", ["filter.degenerate_groups=drop,zero", "correction.level=none,token"], []),
        ("h-dpo", ["pairs.per_group=1,2"], []),
    ])
    func everyFigureIsThatOfThePlanMadeAlone(_ recipe: String, _ keys: [String], _ more: [String]) throws {
        let swept = try sweep(Self.recipe(recipe), keys, more)
        try #require(swept.status == 0, "\(swept.errors)")
        let settings = try #require(swept.summary["settings"] as? [[String: Any]])
        let names = keys.map { String($0.prefix { $0 != "=" }) }
        var first: Set<String>?
        for (number, setting) in settings.enumerated() {
            let overrides = try names.flatMap { ["--set", "\($0)=\(try #require(setting[$0] as? String))"] }
            let alone = try run.runPlan(Self.recipe(recipe), to: "plan-\(number)", overrides + more)
            try #require(alone.status == 0, "\(alone.errors)")
            let counts = try #require(alone.summary["counts"] as? [String: Int])
            let summary = try #require(alone.summary["summary"] as? [String: Any])
            for name in ["kept", "dropped", "steps", "trainable_tokens", "kept_tokens"] {
                #expect(setting[name] as? Int == counts[name], "\(overrides): \(name)")
            }
            for name in ["positive_tokens", "negative_tokens", "zero_tokens"] {
                #expect(setting[name] as? Int == summary[name] as? Int, "\(overrides): \(name)")
            }
            for name in ["share_kept", "effective_share"] {
                #expect(setting[name] as? Double == summary[name] as? Double, "\(overrides): \(name)")
            }
            let thresholds = summary["thresholds"] as? [Double] ?? []
            #expect(setting["threshold_low"] as? Double == thresholds.min(), "\(overrides)")
            #expect(setting["threshold_high"] as? Double == thresholds.max(), "\(overrides)")
            let rows = try ArrowTableReader(path: run.folder("plan-\(number)/plan.arrow"), table: Tables.plan).rows()
            let size = rows.reduce(0) { $0 + $1.tokenWeights.reduce(0) { $0 + abs(Double($1)) } }
            let told = try #require(setting["weight_size"] as? Double)
            #expect(isClose(told, size, relative: 1e-6), "\(overrides): \(told), plan.arrow has \(size)")
            let kept = keptTokens(rows), base = first ?? kept
            first = base
            let overlap = Double(kept.intersection(base).count) / Double(kept.union(base).count)
            // Foundation reads numbers of JSON back to the last bit but one.
            let toldOverlap = try #require(setting["overlap"] as? Double)
            #expect(isClose(toldOverlap, overlap, relative: 1e-14), "\(overrides)")
        }
        #expect(settings.count > 1)
    }

    /// As often as for one setting, the dump goes by, whatever is swept.
    @Test func manySettingsTakeThePassesOfOne() throws {
        func passes(_ keys: [String]) throws -> Int? {
            try sweep(Self.recipe("dapo-top20"), keys).summary["passes"] as? Int
        }
        let one = try #require(try passes(["entropy.mask.top=0.2"]))
        #expect(try passes(["entropy.mask.top=0.05,0.1,0.2,0.3,0.5,0.8"]) == one)
        #expect(try passes(["entropy.mask.top=0.1,0.2", "advantage={type: grpo},{type: rloo}"]) == one && one < 10)
    }

    @Test func theFilesAreTheSameOnEveryRunAndNoOtherIsWrittenOver() throws {
        let keys = ["entropy.mask.top=0.1,0.2"], output = ["--output", run.folder("sweep")]
        func files() throws -> [Data] {
            try [".md", ".csv", ".svg"].map { try Data(contentsOf: URL(fileURLWithPath: run.folder("sweep" + $0))) }
        }
        #expect(try sweep(Self.recipe("dapo-top20"), keys, output).status == 0)
        let written = try files()
        #expect(try sweep(Self.recipe("dapo-top20"), keys, output + ["--threads", "2"]).status == 0)
        #expect(try files() == written)
        let csv = String(decoding: written[1], as: UTF8.self).split(separator: "\n")
        #expect(csv.count == 3 && csv[0].hasPrefix("entropy.mask.top,kept,") && csv[2].hasPrefix("0.2,168,24,"))
        try "mine".write(toFile: run.folder("sweep.csv"), atomically: true, encoding: .utf8)
        let refused = try sweep(Self.recipe("dapo-top20"), keys, output)
        #expect(refused.status == 5 && refused.errors.contains("sweep.csv"), "\(refused.errors)")
        #expect(try sweep(Self.recipe("dapo-top20"), keys, output + ["--overwrite"]).status == 0)
        #expect(try files() == written)
    }

    /// One setting that can't be planned stops all, with what is wrong with it.
    @Test(
        arguments: [
            (["entropy.mask.top"], 2, "expected section.key=VALUE"), (["entropy.mask.top=0.1,"], 2, "found no values"),
            (["entropy.mask.top=0.1,1.5"], 3, "entropy.mask.top is 1.5"), (["entropy.mask.tpo=0.1"], 3, "tpo"),
            (["entropy.mask.top=0.1,0.2", "advantage={type: grpo},{type: gae}"], 3, "values"),
            (["schedule.epochs=" + (1...300).map { "\($0)" }.joined(separator: ",")], 2, "at most 256"),
        ] as [([String], Int32, String)])
    func whatCannotBeSweptIsRefused(_ keys: [String], _ status: Int32, _ text: String) throws {
        let refused = try sweep(Self.recipe("dapo-top20"), keys)
        #expect(refused.status == status && refused.errors.contains(text), "\(refused.status) \(refused.errors)")
        #expect(refused.output.isEmpty)
    }

    @Test func anExpansionIsNotSwept() throws {
        let refused = try sweep(Self.recipe("fr3e"), ["expansion.anchors=1,2"])
        #expect(refused.status == 2 && refused.errors.contains("--sweep goes with a recipe without an expansion"))
    }

    /// Where masks can't decide: said for the settings that it holds of.
    @Test func aPlanThatWouldBeRefusedIsToldOfAsSuch() throws {
        let swept = try sweep(Self.recipe("grpo"), ["filter.min_accuracy=0,1", "filter.degenerate_groups=drop"])
        let settings = try #require(swept.summary["settings"] as? [[String: Any]])
        #expect(settings[0]["refusal"] is NSNull && settings[1]["refusal"] as? String != nil)
        #expect(swept.errors.contains("the plan would be refused: the plan keeps none of its rollouts"))
        #expect(settings[1]["overlap"] as? Double == 0)
    }
}
