import Arrow
import Formats
import Foundation
import TestSupport
import Testing

/// `crux-ingest --prompts`: what data sets know of prompts.
@Suite struct PromptJoinTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    private func write(_ lines: [String], to name: String) throws -> String {
        try writeBytes(Array((lines.joined(separator: "\n") + "\n").utf8), to: folder(name))
        return folder(name)
    }

    private func join(_ lines: [String], _ prompts: [String], to name: String = "out") throws -> (
        result: Executable.Result, rows: [RolloutRow]
    ) {
        let result = try ingest.run(
            [
                "--input", try write(lines, to: "\(name).jsonl"), "--output", folder(name), "--tokenizer",
                fixture("policy"), "--prompts", try write(prompts, to: "\(name)-prompts.jsonl"),
            ])
        guard result.status == 0 else { return (result, []) }
        return (
            result,
            try ArrowTableReader(path: folder(name) + "/rollouts-00000.arrow", table: Tables.rollouts).rows()
        )
    }

    private func verl(_ prompt: String, _ gts: String = "null") -> String {
        #"{"input":"\#(prompt)","output":"4","gts":\#(gts),"score":1,"step":1}"#
    }

    private func prime(_ ids: String, mask: String) -> String {
        #"{"schema_version":1,"step":7,"rank":0,"export_sequence_idx":0,"token_ids":\#(ids),"loss_mask":\#(mask),"advantages":[0,0,0,1]}"#
    }

    @Test func promptsAreFoundByTextByIDsAndByName() throws {
        let prompts = [
            #"{"id":"sum","prompt":"Q: 2+2=?\nA: ","answer":"4","data_source":"sums"}"#,
            #"{"prompt_token_ids":[17,16,19],"reference_answer":"ids"}"#,
            #"{"group_id":"mine","prompt":"Q: unused","label":"name"}"#,
            #"{"prompt":[{"role":"user","content":"What is 3+3, please?"}],"reward_model":{"ground_truth":"6"},"data_source":"verl"}"#,
        ]
        let lines = [
            verl(#"Q: 2+2=?\nA: "#), prime("[17,16,19,5]", mask: "[0,0,0,1]"),
            #"{"custom_id":"a","group_id":"mine","prompt":[17],"choices":[{"text":"4","token_ids":[5]}]}"#,
            // A question within its chat template.
            verl(#"user\nWhat is 3+3, please?\nassistant\n"#), verl("Q: 5+5=?"), verl(#"Q: 2+2=?\nA: "#, #""own""#),
        ]
        let (result, rows) = try join(lines, prompts)
        #expect(
            rows.map(\.referenceAnswer) == ["4", "ids", "name", "6", "", "own"], "\(result.errors)")
        #expect(rows.map(\.dataSource) == ["sums", "", "", "verl", "", "sums"])
        #expect((result.summary["counts"] as? [String: Int])?["remark_prompt_unplaced"] == 1)
        #expect(result.errors.contains("answer no prompt of --prompts"))
    }

    /// A question is not found within a longer one, nor where a number goes on.
    @Test func whatIsOnlyAPartOfAPromptIsNotIt() throws {
        let prompts = [
            #"{"prompt":"What is 3+3?","answer":"6"}"#, #"{"prompt":"Now: What is 3+3?","answer":"nine"}"#,
            #"{"prompt":"same question here","answer":"1"}"#, #"{"prompt":"same question here","answer":"2"}"#,
        ]
        let (result, rows) = try join(
            [
                verl(#"user: What is 3+3? assistant:"#), verl("user Now: What is 3+3?"), verl("xWhat is 3+3?"),
                verl("same question here"),
            ], prompts)
        #expect(rows.map(\.referenceAnswer) == ["6", "nine", "", ""], "\(result.errors)")
        let counts = result.summary["counts"] as? [String: Int]
        #expect(counts?["remark_prompt_ambiguous"] == 1 && counts?["remark_prompt_unplaced"] == 1)
    }

    @Test(
        arguments: [
            (#"{"answer":"4"}"#, "neither an id nor a prompt"), (#"{"prompt":"a","answer":"1","label":"2"}"#, "differ"),
            (#"{"prompt":"#, "a JSON object"), (#"{"prompt_token_ids":[1.5]}"#, "prompt_token_ids"),
        ])
    func aLineThatIsNoPromptIsNamed(_ line: String, _ words: String) throws {
        let (result, _) = try join([verl("Q: ")], [#"{"prompt":"Q: ","answer":"4"}"#, line])
        #expect(
            result.status == 3 && result.errors.contains("line 2") && result.errors.contains(words), "\(result.errors)")
    }
}
