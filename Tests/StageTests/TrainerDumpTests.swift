import Arrow
import Formats
import Foundation
import TestSupport
import Testing

/// What trainers' dumps hold beside the ordinary, and what is made of it further on.
@Suite struct TrainerDumpTests {
    private let folder: TemporaryDirectory
    private static let policy = ["--tokenizer", fixture("policy")]

    init() throws { folder = try TemporaryDirectory() }

    private func read(_ inputs: [String], _ more: [String] = [], to name: String = "out") throws -> DumpReading {
        try DumpReading(inputs, more, to: folder(name))
    }

    private func read(lines: [String], _ more: [String] = [], to name: String = "out") throws -> DumpReading {
        try read([try write(lines, to: name + ".jsonl")], more, to: name)
    }

    private func write(_ lines: [String], to name: String) throws -> String {
        try writeBytes(Array((lines.joined(separator: "\n") + "\n").utf8), to: folder(name))
        return folder(name)
    }

    // MARK: NeMo-RL

    private func nemo(
        ids: String = "[17,16,5,0]", mask: String = "[0,0,1,1]", length: Int = 4, more: String = ""
    ) -> String {
        #"{"token_ids":[\#(ids)],"token_loss_mask":[\#(mask)],"input_lengths":[\#(length)],"sample_loss_mask":[1]\#(more),"idx":0}"#
    }

    @Test func nemoRowsThatContradictThemselvesAreNamed() throws {
        let reading = try read(
            lines: [
                nemo(), nemo(length: 5), nemo(mask: "[0,0,1]"), nemo(length: 3), nemo(mask: "[0,0,2,1]"),
                nemo(more: #","generation_logprobs":[[0,0,-1]]"#),
                nemo(more: #","prev_logprobs":[[0,0,0.5,-1]]"#), nemo(more: #","rewards":["x"]"#),
                nemo(more: #","advantages":[[0,0,null,1]]"#),
            ])
        #expect(
            reading.rejected.map(\.reason) == [
                "length_mismatch", "length_mismatch", "invalid_value", "invalid_value", "length_mismatch",
                "invalid_logprob", "invalid_value",
            ], "\(reading.rejected)")
        #expect(reading.rejected[2].detail.contains("position 3") && reading.rejected[5].detail.contains("trainer's"))
        #expect(reading.rows.count == 2 && reading.rows[1].advantages == nil)
        #expect(reading.counts["remark_advantages_unusable"] == 1)
        #expect(reading.counts["remark_finish_reason_unknown"] == 2)
    }

    /// With dynamic sampling `rewards` is of other rows.
    @Test func filteredRewardsWinAlsoWhereTheyAreNone() throws {
        let reading = try read(
            lines: [
                nemo(more: #","rewards":[1],"filtered_rewards":[0.25]"#),
                nemo(more: #","rewards":[1],"filtered_rewards":[null]"#), nemo(more: #","rewards":[1]"#),
            ])
        #expect(reading.rows.map(\.givenReward) == [0.25, nil, 1])
    }

    @Test func theStepOfTheFileIsTheVersionAndHoldsTheGroups() throws {
        let paths = try [7, 8].map { try write([nemo()], to: "train_data_step\($0).jsonl") }
        let rows = try read(paths).rows
        #expect(rows.map(\.policyVersion) == ["7", "8"] && rows[0].groupID != rows[1].groupID)
        #expect(rows.map(\.rolloutID) == ["train_data_step7-0", "train_data_step8-0"])
    }

    /// The trainer's log-probabilities become old_logprobs, and what its trainer left out counts in its group alone.
    @Test func aPlanStartsFromTheTrainersLogProbabilities() throws {
        func line(_ sample: Int, reward: Double) -> String {
            nemo(
                more:
                    #","rewards":[\#(reward)],"generation_logprobs":[[0,0,-0.5,-0.5]],"prev_logprobs":[[0,-9,-0.25,-1]],"advantages":[[0,0,\#(reward),2]]"#
            ).replacingOccurrences(of: #""sample_loss_mask":[1]"#, with: #""sample_loss_mask":[\#(sample)]"#)
        }
        let pipeline = try Pipeline()
        let input = try write(
            [line(1, reward: 1), line(0, reward: 0), line(1, reward: 0)], to: "train_data_step3.jsonl")
        try pipeline.ingest(input)
        try pipeline.score(["--reward", "given"])
        let scores = try ArrowTableReader(
            path: pipeline.folder("score") + "/scores-00000.arrow", table: Tables.scores
        ).rows()
        #expect(scores.map(\.oldLogprobs) == Array(repeating: [0, 0, -0.25, -1], count: 3))
        try pipeline.plan(repositoryRoot + "/recipes/rloo.yaml")
        let plan = try ArrowTableReader(path: pipeline.folder("plan") + "/plan.arrow", table: Tables.plan).rows()
        // The third is compared with both others.
        #expect(plan.map { $0.advantages[2] } == [1, -0.5])
        let dropped = try ArrowTableReader(
            path: pipeline.folder("plan") + "/dropped.arrow", table: Tables.dropped
        ).rows()
        #expect(dropped.map(\.reason) == ["excluded"])
        try pipeline.plan(repositoryRoot + "/recipes/given.yaml", to: "given")
        let given = try ArrowTableReader(path: pipeline.folder("given") + "/plan.arrow", table: Tables.plan).rows()
        #expect(given.map(\.advantages) == [[0, 0, 1, 2], [0, 0, 0, 2]])
    }

    // MARK: advantages without rewards

    private func prime(_ index: Int, _ more: String) -> String {
        #"{"schema_version":1,"step":7,"rank":0,"export_sequence_idx":\#(index),"env_name":"sums","token_ids":[17,16,5,0],"loss_mask":[false,false,true,true],"inference_logprobs":[0,0,-0.25,-0.5]\#(more)}"#
    }

    /// prime-rl's newest exports have no rewards: advantages are all that a plan can go by.
    @Test func advantagesThatAreGivenNeedNoRewards() throws {
        let pipeline = try Pipeline()
        let input = try write(
            [
                prime(0, #","advantages":[null,null,0.5,0.25],"rl_weights":[null,null,2,null]"#),
                prime(1, #","advantages":[0,0,-1,-1],"ce_weights":[0,0,1,0]"#),
            ], to: "rank_0.jsonl")
        let result = try ingest.run(["--input", input, "--output", pipeline.folder("ingest")])
        #expect(result.errors.contains("ce_weights"), "\(result.errors)")
        #expect((result.summary["counts"] as? [String: Int])?["remark_reward_not_exported"] == 2)
        try pipeline.score(["--reward", "given"])
        try pipeline.plan(repositoryRoot + "/recipes/given.yaml")
        let plan = try ArrowTableReader(path: pipeline.folder("plan") + "/plan.arrow", table: Tables.plan).rows()
        #expect(plan.map(\.advantages) == [[0, 0, 1, 0.25], [0, 0, -1, -1]])
        // Another estimator says what is missing.
        let refused = try pipeline.runPlan(repositoryRoot + "/recipes/grpo.yaml", to: "grpo")
        #expect(refused.status != 0 && refused.errors.contains("no_reward"), "\(refused.errors)")
    }

    @Test func aRolloutWithoutAdvantagesIsRefusedByName() throws {
        let pipeline = try Pipeline()
        try pipeline.ingest(try write([prime(0, "")], to: "rank_0.jsonl"))
        try pipeline.score(["--reward", "given"])
        let refused = try pipeline.runPlan(repositoryRoot + "/recipes/given.yaml")
        #expect(refused.status == 3 && refused.errors.contains("found no advantages"), "\(refused.errors)")
    }

    /// Rewards that nothing names a row of.
    @Test func tracesAreToldWhereTheTokensAre() throws {
        let trace =
            #"{"id":"t1","ok":true,"env":{"id":"e","name":"sums"},"group":{"id":"g"},"traces":[{"rewards":{"a":1}}]}"#
        let reading = try read(lines: [prime(0, ""), trace])
        #expect(reading.rejected.map(\.reason) == ["no_token_ids"] && reading.rejected[0].rolloutID == "t1")
        #expect(reading.rejected[0].detail.contains("token_exports"))
    }

    // MARK: open-instruct

    @Test func tokensOfToolsAreNotTakenForThePolicys() throws {
        func line(_ sample: Int, _ info: String, _ truth: String = #""42""#) -> String {
            #"{"step":4,"sample_idx":\#(sample),"prompt_idx":0,"prompt_tokens":[17],"response_tokens":[5,0],"reward":1,"advantage":0,"finish_reason":"stop","ground_truth":\#(truth),"request_info":\#(info)}"#
        }
        let lines = [
            line(0, #"{"num_calls":0,"tool_calleds":[false]}"#), line(1, #"{"num_calls":2,"tool_calleds":false}"#),
            line(2, #"{"num_calls":0,"tool_calleds":[false,true]}"#), line(3, "null", "[5,3]"),
        ]
        let reading = try read(lines: lines)
        #expect(reading.rows.map(\.rolloutID) == ["step-4-sample-0", "step-4-sample-3"])
        #expect(
            reading.rejected.map(\.reason) == ["tool_tokens_unmarked", "tool_tokens_unmarked"]
                && reading.rejected[0].detail.contains("--trust-all-response-tokens"))
        #expect(reading.rows[1].referenceAnswer.isEmpty && reading.counts["remark_reference_unusable"] == 1)
        let trusted = try read(lines: lines, ["--trust-all-response-tokens"], to: "trusted")
        #expect(trusted.rows.count == 4 && trusted.counts["remark_tool_tokens_trusted"] == 2)
    }

    // MARK: AReaL

    @Test func textThatGivesOtherTokensThanARealCountedIsRejected() throws {
        func line(_ sample: Int, _ prompt: Int, _ all: Int) -> String {
            #"{"task_id":1,"sample_idx":\#(sample),"seqlen":\#(all),"prompt_len":\#(prompt),"head_version":-1,"tail_version":3,"reward":1,"prompt":"Q: ","completion":"42"}"#
        }
        let lines = [line(0, 3, 5), line(1, 2, 5), line(2, 3, 6), line(0, 3, 5)]
        let reading = try read(lines: lines, Self.policy)
        #expect(reading.rows.map(\.rolloutID) == ["task-1-0"] && reading.counts["remark_turns_unknown"] == 1)
        #expect(
            reading.rejected.map(\.reason) == ["retokenisation_drift", "retokenisation_drift", "duplicate_rollout_id"])
        let told = try read(lines: [lines[0]], Self.policy + ["--one-turn"], to: "told")
        #expect(!told.rows[0].extras.contains("turns_unknown") && told.counts["remark_turns_unknown"] == nil)
    }

    // MARK: logs of completions

    private func trl(_ step: Int, _ completion: String, _ advantage: Double = 0.5, _ more: String = "") -> String {
        #"{"step":\#(step),"prompt":"Q: ","completion":"\#(completion)","accuracy":1,"advantage":\#(advantage)\#(more)}"#
    }

    /// A queue is written again after every optimizer step; two equal rollouts of one step are two.
    @Test func rowsOfAQueueAreTakenOnce() throws {
        let first = try write([trl(1, "42"), trl(1, "42"), trl(1, "4")], to: "completions_00001.jsonl")
        let second = try write([trl(2, "42"), trl(2, "42"), trl(2, "42"), trl(2, "5")], to: "completions_00002.jsonl")
        let reading = try read([first, second], Self.policy + ["--reward-columns", "accuracy"])
        #expect(reading.rows.map(\.completion) == ["42", "42", "4", "42", "5"], "\(reading.rejected)")
        #expect(reading.rejected.map(\.reason) == ["repeated_row", "repeated_row"])
        // The same in one file, and on one line.
        let one = try read(
            lines: [trl(1, "42"), trl(1, "42"), trl(2, "42"), trl(2, "42")], Self.policy, to: "one")
        #expect(one.rows.count == 2 && one.rejected.map(\.reason) == ["repeated_row", "repeated_row"])
        #expect(one.counts["remark_reward_columns_unnamed"] == 2 && one.result.errors.contains("--reward-columns"))
    }

    /// A conversation's prompt is a list of messages, which the checkpoint's template renders.
    @Test func conversationsOfALogNeedATemplate() throws {
        let line =
            #"{"step":1,"prompt":[{"role":"user","content":"Q: "}],"completion":[{"role":"assistant","content":"42"}],"accuracy":1,"advantage":0.5}"#
        let reading = try read(lines: [trl(1, "4"), line], Self.policy)
        #expect(reading.rows.map(\.completion) == ["4"], "\(reading.rejected)")
        #expect(
            reading.rejected.count == 1 && reading.rejected[0].detail.contains("chat template"), "\(reading.rejected)")
        let told = try read(lines: [line], ["--tokenizer", fixture("chat-templates/policy")], to: "told")
        #expect(told.rows.map(\.completion) == ["42"], "\(told.rejected) \(told.result.errors)")
        #expect(told.rows[0].prompt.hasSuffix("A: ") && told.rows[0].advantages?.last == 0.5)
    }

    @Test func rewardColumnsAreNamedWhereTheyAreNot() throws {
        let lines = [trl(1, "42"), trl(1, "4", 0.5, #","format":null"#)]
        let reading = try read(lines: lines, Self.policy + ["--reward-columns", "accuracy,format:0.5"])
        #expect(
            reading.result.status == 3 && reading.result.errors.contains("column 'format'"), "\(reading.result.errors)")
        #expect(reading.result.errors.contains("columns with numbers: accuracy"))
        for bad in ["", "a,,b", "a,a", ":2"] {
            #expect(
                try ingest.run(["--input", folder("out.jsonl"), "--output", folder("no"), "--reward-columns", bad])
                    .status == 2)
        }
    }

    @Test func columnsOfALineHaveOneLength() throws {
        let good = #"{"step":["1"],"prompt":["Q: "],"completion":["42"],"advantages":[1]}"#
        let reading = try read(
            lines: [
                good, #"{"step":["1","1"],"prompt":["Q: ","Q: "],"completion":["42"],"advantages":[1,1]}"#,
                #"{"step":["1"],"prompt":["Q: "],"completion":[nul],"advantages":[1]}"#,
                #"{"step":[],"prompt":[],"completion":[],"advantages":[]}"#,
                #"{"step":["1"],"prompt":["Q: "],"completion":["5"],"advantages":["#,
            ], Self.policy)
        #expect(reading.rows.count == 1, "\(reading.rejected)")
        #expect(
            reading.rejected.map(\.reason) == ["damaged_line", "damaged_line", "damaged_line", "damaged_line"],
            "\(reading.rejected)")
        #expect(reading.rejected[0].detail.contains("'step' has 2 and 'completion' 1"))
    }
}
