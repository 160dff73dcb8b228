import Arrow
import Formats
import Foundation
import TestSupport
import Testing

/// Results of batches that know nothing but their custom_id, joined to what was asked.
@Suite struct RequestTests {
    private let folder: TemporaryDirectory
    private static let policy = ["--tokenizer", fixture("policy")]

    init() throws { folder = try TemporaryDirectory() }

    private func write(_ lines: [String], to name: String) throws -> String {
        try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: folder(name)))
        return folder(name)
    }

    private func join(_ results: [String], to requests: [String], _ more: [String] = [], output: String = "out") throws
        -> Executable.Result
    {
        try ingest.run(
            [
                "--input", try write(results, to: "results.jsonl"), "--requests",
                try write(requests, to: "requests.jsonl"), "--output", folder(output),
            ] + more)
    }

    private func rows(_ name: String = "out") throws -> [RolloutRow] {
        try ArrowTableReader(path: folder(name) + "/rollouts-00000.arrow", table: Tables.rollouts).rows()
    }

    private func rejected(_ name: String = "out") throws -> [RejectedRow] {
        try ArrowTableReader(path: folder(name) + "/rejected.arrow", table: Tables.rejected).rows()
    }

    private func counts(_ result: Executable.Result) -> [String: Int] {
        result.summary["counts"] as? [String: Int] ?? [:]
    }

    /// As `vllm run-batch` writes it.
    private func result(_ id: String, _ choices: [String], more: String = "") -> String {
        #"{"id":"vllm-1","custom_id":\#(id),"response":{"status_code":200,"request_id":"r","body":{"id":"cmpl-1","choices":["#
            + choices.enumerated().map { #"{"index":\#($0),\#($1)}"# }.joined(separator: ",")
            + #"]\#(more)}},"error":null}"#
    }

    private static let four = #""text":"4","token_ids":[5,0],"finish_reason":"stop","stop_reason":null"#
    private static let six = #""text":"6","token_ids":[7],"finish_reason":"length","stop_reason":null"#

    @Test func aBatchsRequestsSayWhatItsResultsDoNot() throws {
        let request =
            #"{"custom_id":"p7","method":"POST","url":"/v1/completions","body":{"model":"policy","prompt":[17,16],"n":2,"temperature":0.8,"top_p":0.9,"#
            + #""top_k":20,"max_tokens":64,"stop":"\n"},"metadata":{"reference_answer":4,"data_source":"sums"}}"#
        let result = try join([result(#""p7""#, [Self.four, Self.six])], to: [request])
        #expect(result.status == 0, "\(result.errors)")
        let rows = try rows()
        #expect(
            rows.map(\.rolloutID) == ["p7-0", "p7-1"] && rows.map(\.groupID) == ["p7", "p7"]
                && rows.map(\.sampleIndex) == [0, 1])
        #expect(
            rows.map(\.tokenIDs) == [[17, 16, 5, 0], [17, 16, 7]]
                && rows.allSatisfy { $0.referenceAnswer == "4" && $0.dataSource == "sums" })
        #expect(rows.allSatisfy { $0.temperature == 0.8 && $0.topP == 0.9 })
        #expect(rows[0].extras == #"{"max_tokens":"64","stop":"[\"\\n\"]","top_k":"20"}"#, "\(rows[0].extras)")
        #expect(counts(result)["requests"] == 1 && counts(result)["missing"] == 0 && counts(result)["incomplete"] == 0)
        #expect(counts(result)["remark_sampling_assumed"] == nil)
    }

    /// Own keys beside the body, in `metadata`, in `body.metadata`; integers and whatever else.
    @Test(arguments: [
        #"{"custom_id":"a","reference_answer":"4","group_id":7,"body":{"prompt":[17]}}"#,
        #"{"custom_id":"a","metadata":{"reference_answer":4,"group_id":"7"},"body":{"prompt":[17]}}"#,
        #"{"custom_id":"a","body":{"prompt":[17],"metadata":{"reference_answer":"4","group_id":"7"}}}"#,
        #"{"custom_id":"a","body":{"prompt":[[17]],"metadata":{"ground_truth":4,"group_id":7}}}"#,
        #"{"custom_id":"a","group_id":7,"prompt_token_ids":[17],"answer":4}"#,
        #"{"rid":"a","input_ids":[17],"sampling_params":{"n":1},"reference_answer":"4","group_id":"7"}"#,
    ]) func aDriversOwnKeysAreFoundWhereverTheyStand(_ request: String) throws {
        let result = try join([result(#""a""#, [Self.four])], to: [request])
        #expect(result.status == 0, "\(result.errors)")
        let row = try #require(try rows().first)
        #expect(row.referenceAnswer == "4" && row.groupID == "7" && row.tokenIDs == [17, 5, 0])
        // No temperature in the request, and none is assumed in silence.
        #expect(counts(result)["remark_sampling_assumed"] == 1 && result.errors.contains("--temperature"))
        #expect(
            counts(
                try join([self.result(#""a""#, [Self.four])], to: [request], ["--temperature", "1"], output: "told"))[
                    "remark_sampling_assumed"] == nil)
    }

    @Test func integersAreNamesToo() throws {
        let request = #"{"custom_id":7,"body":{"prompt":[17],"temperature":1}}"#
        #expect(counts(try join([result("7", [Self.four])], to: [request]))["rollouts"] == 1)
        #expect(try rows().first?.rolloutID == "7")
    }

    /// `choices` runs over prompts × n, and what is listed for the prompts goes to each.
    @Test(arguments: [#"["Q: ","A: "]"#, "[[17,16,19],[18,16,19]]"]) func aListOfPromptsIsSeveralGroups(
        _ prompts: String
    ) throws {
        let request =
            #"{"custom_id":"q","reference_answer":["4",6],"data_source":"sums","body":{"prompt":\#(prompts),"n":2,"temperature":1}}"#
        let result = try join(
            [result(#""q""#, [Self.four, Self.six, Self.four, Self.six])], to: [request], Self.policy)
        #expect(result.status == 0, "\(result.errors)")
        let rows = try rows()
        #expect(rows.map(\.groupID) == ["q/0", "q/0", "q/1", "q/1"] && rows.map(\.sampleIndex) == [0, 1, 0, 1])
        #expect(rows.map(\.referenceAnswer) == ["4", "4", "6", "6"] && rows.allSatisfy { $0.dataSource == "sums" })
        #expect(
            rows.map { Array($0.tokenIDs.prefix(3)) } == [[17, 16, 19], [17, 16, 19], [18, 16, 19], [18, 16, 19]])
    }

    @Test func duplicatesStrangersAndGapsAreCounted() throws {
        let requests = ["a", "b", "c", "d"].map {
            #"{"custom_id":"\#($0)","body":{"prompt":[17],"n":\#($0 == "d" ? 2 : 1),"temperature":1}}"#
        }
        let results = [
            #"{"custom_id":"a","response":null,"error":{"message":"out of memory"}}"#, result(#""a""#, [Self.four]),
            result(#""a""#, [Self.six]),
            result(#""x""#, [Self.four]), #"{"custom_id":"b","response":{"status_code":429,"body":{}}}"#,
            result(#""d""#, [Self.four]),
        ]
        let joined = try join(results, to: requests)
        let counts = counts(joined)
        #expect(
            counts["requests"] == 4 && counts["rollouts"] == 2 && counts["missing"] == 2 && counts["incomplete"] == 1,
            "\(joined.errors)")
        #expect(
            counts["rejected_duplicate_result"] == 1 && counts["rejected_unknown_request"] == 1
                && counts["rejected_engine_error"] == 2)
        #expect(
            try String(contentsOfFile: folder("out/missing.jsonl"), encoding: .utf8) == requests[1] + "\n" + requests[2]
                + "\n")
        #expect(joined.errors.contains("missing.jsonl") && joined.errors.contains("fewer rollouts"))
        // The whole way: what was missing, run again and ingested with the first results.
        let more = try write(results + [result(#""b""#, [Self.four]), result(#""c""#, [Self.four])], to: "more.jsonl")
        let again = try ingest.run([
            "--input", more, "--requests", folder("requests.jsonl"), "--output", folder("again"),
        ])
        #expect(self.counts(again)["missing"] == 0 && self.counts(again)["rollouts"] == 4)
    }

    @Test func aPromptFileServesAsRequests() throws {
        let prompts = [
            #"{"group_id":"g-1","prompt":"Q: ","reference_answer":4,"data_source":"sums"}"#,
            #"{"group_id":"g-2","prompt":"A: ","reference_answer":"6"}"#,
        ]
        // A driver's own ids, with the group beside; text without ids.
        let results = [
            result(#""g-1""#, [Self.four]),
            #"{"custom_id":"mine","group_id":"g-2","choices":[{"text":"6","finish_reason":"stop","stop_reason":null}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#,
        ]
        let joined = try join(results, to: prompts, Self.policy + ["--temperature", "1"])
        #expect(joined.status == 0 && counts(joined)["missing"] == 0, "\(joined.errors)")
        let rows = try rows()
        #expect(
            rows.map(\.rolloutID) == ["g-1", "mine"] && rows.map(\.groupID) == ["g-1", "g-2"]
                && rows.map(\.referenceAnswer) == ["4", "6"])
        #expect(
            rows.map(\.tokenIDs) == [[17, 16, 19, 5, 0], [18, 16, 19, 7, 0]] && rows.map(\.prompt) == ["Q: ", "A: "])
    }

    @Test func aChatsPromptIsTheIdsThatCameBack() throws {
        let request =
            #"{"custom_id":"c","body":{"messages":[{"role":"user","content":"2+2?"}],"temperature":1},"reference_answer":"4"}"#
        let chat =
            #""message":{"role":"assistant","content":"4"},"token_ids":[5,0],"finish_reason":"stop","stop_reason":null"#
        let lines = [result(#""c""#, [chat], more: #","prompt_token_ids":[17,16,19]"#)]
        #expect(counts(try join(lines, to: [request], Self.policy))["rollouts"] == 1)
        #expect(
            try rows()[0].tokenIDs == [17, 16, 19, 5, 0] && rows()[0].referenceAnswer == "4"
                && rows()[0].prompt == "Q: ")
        let without = try join([result(#""c""#, [chat])], to: [request], output: "without")
        #expect(
            without.status == 3 && without.errors.contains("no_prompt") && without.errors.contains("chat template"),
            "\(without.errors)")
    }

    @Test func anotherPromptThanWasAskedIsNamed() throws {
        let request = #"{"custom_id":"a","body":{"prompt":[17,16],"temperature":1}}"#
        let joined = try join(
            [result(#""a""#, [Self.four + #","prompt_token_ids":[17,19]"#]), result(#""b""#, [Self.four])],
            to: [request, request.replacingOccurrences(of: #""a""#, with: #""b""#)])
        #expect(
            try rejected().map(\.reason) == ["prefix_mismatch"]
                && rejected()[0].detail.contains("token 19 at position 1"), "\(joined.errors)")
    }

    @Test(arguments: [
        (#"{"body":{"prompt":[17]}}"#, "custom_id"), (#"{"custom_id":"a","body":{"model":"m"}}"#, "no prompt"),
        (#"{"custom_id":"a","body":{"prompt":[]}}"#, "prompt []"),
        (#"{"custom_id":"a","body":{"prompt":[17,1.5]}}"#, "1.5"),
        (#"{"custom_id":"a","body":{"prompt":["x",1]}}"#, "number 1"), ("rubbish", "rubbish"),
        (#"{"custom_id":"good","body":{"prompt":[18]}}"#, "again"),
    ]) func aLineThatIsNoRequestIsNamed(_ line: String, _ words: String) throws {
        let joined = try join(
            [result(#""good""#, [Self.four])], to: [#"{"custom_id":"good","body":{"prompt":[17]}}"#, line])
        #expect(
            joined.status == 3 && joined.errors.contains("line 2") && joined.errors.contains(words), "\(joined.errors)")
    }

    @Test func tasksJoinAlike() throws {
        let requests = ["a", "b", "c"].map { #"{"custom_id":"\#($0)","body":{"prompt":[17],"temperature":1}}"# }
        let inputs = [
            try write([result(#""a""#, [Self.four])], to: "0.jsonl"),
            try write([result(#""b""#, [Self.four])], to: "1.jsonl"),
        ]
        let arguments = ["--input"] + inputs + ["--requests", try write(requests, to: "requests.jsonl"), "--output"]
        #expect(try ingest.run(arguments + [folder("one")]).status == 0)
        for rank in [1, 0] { _ = try ingest.run(arguments + [folder("tasks"), "--tasks", "2", "--rank", "\(rank)"]) }
        #expect(try contents(of: folder("tasks")) == contents(of: folder("one")))
        #expect(try ingest.run(arguments + [folder("one"), "--jobs", "x"]).status == 2)
    }
}
