import Files
import Formats
import TestSupport

/// Lines as trainers write them, with made-up values.
extension DumpTests {
    private static let question = #""Q: 2+2=?\nA: ""#
    private static let policy = ["--tokenizer", fixture("policy")]
    private static let inStep3 = "step-3-" + SHA256Digest.of("Q: 2+2=?\nA: ").prefix(16)

    private static func queued(_ step: String, _ completion: String, _ advantage: String) -> String {
        "row-" + QueuedRow(step: step, ["Q: 2+2=?\nA: ", completion, advantage]).digest + "-0"
    }

    static let trainerSamples: [Sample] = [
        Sample(
            dialect: "areal",
            lines: [
                #"{"task_id":17,"sample_idx":0,"seqlen":14,"prompt_len":12,"head_version":-1,"tail_version":3,"reward":1.0,"prompt":\#(question),"completion":"4<|endoftext|>"}"#,
                #"{"task_id":17,"sample_idx":1,"seqlen":14,"prompt_len":12,"head_version":-1,"tail_version":4,"reward":0.0,"prompt":\#(question),"completion":"5."}"#,
            ],
            arguments: policy, ids: ["task-17-0", "task-17-1"], groups: ["task-17", "task-17"],
            tokens: [prompt + [5, 0], prompt + [6, 13]], masks: [mask(12, 2), mask(12, 2)], logprobs: [nil, nil],
            rewards: [1, 0], evidence: ["none", "none"]
        ) {
            $0.policyVersion == ($0.sampleIndex == 0 ? "3" : "4")
                && $0.extras == #"{"retokenised":"true","turns_unknown":"true"}"#
        },
        Sample(
            dialect: "atif",
            lines: [
                #"{"schema_version":"ATIF-v1.4","session_id":"s1","agent":{"name":"a","version":"1"},"steps":[{"step_id":1,"source":"user","message":"Q"},"#
                    + #"{"step_id":2,"source":"agent","message":"5","metrics":{"prompt_token_ids":[17,16],"completion_token_ids":[6],"logprobs":[-1.5]}},"#
                    + #"{"step_id":3,"source":"agent","message":"4","metrics":{"prompt_token_ids":[17,16,6,20],"completion_token_ids":[5,0],"logprobs":[-0.25,-0.125]}}],"extra":{"reward":1}}"#,
                // No log-probabilities of one turn are none of the row.
                #"{"schema_version":"ATIF-v1.3","session_id":"s2","agent":{"name":"a","version":"1"},"steps":[{"step_id":1,"source":"agent","message":"4","#
                    + #""metrics":{"prompt_token_ids":[17,16],"completion_token_ids":[5]}}],"final_metrics":{"extra":{"reward":0.5}}}"#,
            ],
            ids: ["s1", "s2"], groups: Array(repeating: "prompt-" + prefixDigest([17, 16]).prefix(16), count: 2),
            tokens: [[17, 16, 6, 20, 5, 0], [17, 16, 5]],
            masks: [[false, false, true, false, true, true], mask(2, 1)], logprobs: [[-1.5, 0, -0.25, -0.125], nil],
            rewards: [1, 0.5], evidence: ["none", "none"]
        ) { $0.completion == "4" && $0.extras.contains(#""session":"s"#) },
        Sample(
            dialect: "openai_responses",
            lines: [
                #"{"id":"r1","object":"response","status":"completed","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"4"}]}],"#
                    + #""usage":{"input_tokens":12,"output_tokens":2},"prompt":\#(question),"reward":1,"temperature":0.5}"#,
                #"{"custom_id":"a","response":{"status_code":200,"body":{"id":"r2","object":"response","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"#
                    + #""output":[{"type":"message","content":[{"type":"output_text","text":"5."}]}],"usage":{"input_tokens":12,"output_tokens":2}}},"prompt":\#(question)}"#,
            ],
            arguments: policy, ids: ["r1", "a"],
            groups: Array(repeating: "prompt-" + prefixDigest(prompt[...]).prefix(16), count: 2),
            tokens: [prompt + [5, 0], prompt + [6, 13]], masks: [mask(12, 2), mask(12, 2)], logprobs: [nil, nil],
            rewards: [1, nil], evidence: ["none", "none"]
        ) { $0.finishReason == ($0.rolloutID == "r1" ? "completed" : "max_output_tokens") },
        Sample(
            dialect: "turns",
            lines: [
                #"{"custom_id":"a","group_id":"g","reward":0.5,"turns":[{"prompt_token_ids":[17,16],"choices":[{"index":0,"text":"5","finish_reason":"stop","token_ids":[6]}]},"#
                    + #"{"text":"4","input_ids":[17,16,6,20],"output_ids":[5,0],"meta_info":{"id":"r","finish_reason":{"type":"stop"}}}]}"#,
                #"{"custom_id":"b","group_id":"g","reward":1,"turns":[{"text":"4","input_ids":[17,16],"output_ids":[5],"meta_info":{"id":"r","finish_reason":{"type":"length"},"output_token_logprobs":[[-0.5,5,null]]}}]}"#,
            ],
            ids: ["a", "b"], groups: ["g", "g"], tokens: [[17, 16, 6, 20, 5, 0], [17, 16, 5]],
            masks: [[false, false, true, false, true, true], mask(2, 1)], logprobs: [nil, [-0.5]], rewards: [0.5, 1],
            evidence: ["none", "none"]
        ) { $0.finishReason == ($0.rolloutID == "a" ? "stop" : "length") && $0.completion == "4" },
        Sample(
            dialect: "ms_swift",
            lines: [
                #"{"step":["3","3"],"prompt":[\#(question),\#(question)],"completion":["4","5."],"Accuracy":[1.0,0.0],"Format":[0.5,1],"advantages":[0.7,-0.7],"entropy":[0.4,0.5]}"#,
                #"{"step":["3"],"prompt":[\#(question)],"completion":["42"],"Accuracy":[0],"Format":[0],"advantages":[-0.75],"entropy":[0.25]}"#,
            ],
            arguments: policy + ["--reward-columns", "Accuracy,Format:0.5"],
            ids: [queued("3", "4", "0.7"), queued("3", "5.", "-0.7"), queued("3", "42", "-0.75")],
            groups: [inStep3, inStep3, inStep3], tokens: [prompt + [5], prompt + [6, 13], prompt + [5, 3]],
            masks: [mask(12, 1), mask(12, 2), mask(12, 2)], logprobs: [nil, nil, nil], rewards: [1.25, 0.5, 0],
            evidence: ["none", "none", "none"]
        ) {
            $0.policyVersion == "3" && $0.advantages?.last == ["4": 0.7, "5.": -0.7, "42": -0.75][$0.completion]
                && $0.extras.contains(#""entropy":"0."#) && $0.extras.contains(#"\"Accuracy\":"#)
        },
        Sample(
            dialect: "nemo_rl",
            lines: [
                #"{"content":[["Q:","4"]],"rewards":[1.0],"input_lengths":[4],"token_ids":[[17,16,5,0,1,1]],"token_loss_mask":[[0,0,1,1,0,0]],"sample_loss_mask":[1.0],"#
                    + #""advantages":[[0,0,0.5,0.5,0,0]],"generation_logprobs":[[0,0,-0.25,-0.5,0,0]],"prev_logprobs":[[0,-3.1,-0.21,-0.4,0,0]],"idx":0}"#,
                // Two turns, under dynamic sampling, which its trainer left out.
                #"{"content":[["Q:","5","no","4"]],"rewards":[9.0],"filtered_rewards":[0.5],"input_lengths":[6],"token_ids":[[17,16,6,20,5,0]],"token_loss_mask":[[0,0,1,0,1,1]],"#
                    + #""sample_loss_mask":[0.0],"advantages":[-0.5],"generation_logprobs":[[0,0,-1.5,-9,-0.25,-0.125]],"prev_logprobs":[[0,0,-1.25,0,-0.25,-0.25]],"idx":1}"#,
            ],
            ids: ["x-0", "x-1"], groups: Array(repeating: "x-prompt-" + prefixDigest([17, 16]).prefix(16), count: 2),
            tokens: [[17, 16, 5, 0], [17, 16, 6, 20, 5, 0]],
            masks: [mask(2, 2), [false, false, true, false, true, true]],
            logprobs: [[-0.25, -0.5], [-1.5, 0, -0.25, -0.125]], rewards: [1, 0.5], evidence: ["none", "none"]
        ) {
            $0.rolloutID == "x-0"
                ? $0.oldLogprobs == [0, 0, -0.21, -0.4] && $0.advantages == [0, 0, 0.5, 0.5] && $0.completion == "4"
                    && $0.finishReason.isEmpty
                : $0.oldLogprobs == [0, 0, -1.25, 0, -0.25, -0.25] && $0.advantages == [0, 0, -0.5, 0, -0.5, -0.5]
                    && $0.finishReason == "excluded" && $0.completion.isEmpty
        },
        Sample(
            dialect: "open_instruct",
            lines: [
                #"{"step":4,"sample_idx":9,"prompt_idx":2,"prompt_tokens":[17,16],"response_tokens":[5,0],"reward":1.0,"advantage":0.7,"finish_reason":"stop","dataset":["gsm8k"],"ground_truth":["42"],"#
                    + #""request_info":{"num_calls":0,"tool_outputs":"","tool_calleds":false},"logprobs":[-0.25,-0.5]}"#,
                #"{"step":4,"sample_idx":10,"prompt_idx":2,"prompt_tokens":[17,16],"response_tokens":[6],"reward":0,"advantage":-0.7,"finish_reason":"length","dataset":"gsm8k","ground_truth":"42","#
                    + #""request_info":null,"logprobs":null}"#,
            ],
            ids: ["step-4-sample-9", "step-4-sample-10"], groups: ["step-4-prompt-2", "step-4-prompt-2"],
            tokens: [[17, 16, 5, 0], [17, 16, 6]], masks: [mask(2, 2), mask(2, 1)], logprobs: [[-0.25, -0.5], nil],
            rewards: [1, 0], evidence: ["none", "none"]
        ) {
            $0.referenceAnswer == "42" && $0.dataSource == "gsm8k" && $0.policyVersion == "4"
                && $0.finishReason == ($0.sampleIndex == 9 ? "stop" : "length")
                && $0.advantages?.dropFirst(2).allSatisfy { abs($0) == 0.7 } == true
        },
        Sample(
            dialect: "roll",
            lines: [
                #"{"global_step":[3,3],"id":["a","a"],"source":["q","q"],"prompt":[\#(question),\#(question)],"messages":["[]","[]"],"ground_truth":["42","42"],"tag":["math","math"],"#
                    + #""domain":["math_rule","math_rule"],"responses":["4","5."],"scores":[1.0,0.0],"sampling_params":["{\"temperature\":0.5}","{\"generation_config\":{\"temperature\":0.5,\"top_p\":1}}"]}"#,
                #"{"global_step":[3],"id":["b"],"prompt":[\#(question)],"ground_truth":[4],"tag":[null],"domain":["math"],"responses":["42"],"scores":[-1],"sampling_params":["{\"temperature\":0.5}"]}"#,
            ],
            arguments: policy, ids: ["x-0-0", "x-0-1", "x-1"], groups: ["step-3-a", "step-3-a", "step-3-b"],
            tokens: [prompt + [5], prompt + [6, 13], prompt + [5, 3]],
            masks: [mask(12, 1), mask(12, 2), mask(12, 2)], logprobs: [nil, nil, nil], rewards: [1, 0, -1],
            evidence: ["none", "none", "none"]
        ) {
            $0.temperature == 0.5 && $0.dataSource == "math" && $0.policyVersion == "3"
                && $0.referenceAnswer == ($0.groupID == "step-3-b" ? "4" : "42")
        },
        Sample(
            dialect: "trl",
            lines: [
                #"{"step":3,"prompt":\#(question),"completion":"4","accuracy_reward":1.0,"format":0.25,"advantage":0.5,"task":"sums"}"#,
                #"{"step":3,"prompt":\#(question),"completion":"5.","accuracy_reward":0.0,"format":0.25,"advantage":-0.5,"task":"sums"}"#,
            ],
            arguments: policy + ["--reward-columns", "accuracy_reward,format:2"],
            ids: [queued("3", "4", "0.5"), queued("3", "5.", "-0.5")], groups: [inStep3, inStep3],
            tokens: [prompt + [5], prompt + [6, 13]], masks: [mask(12, 1), mask(12, 2)], logprobs: [nil, nil],
            rewards: [1.5, 0.5], evidence: ["none", "none"]
        ) { $0.advantages?.last == ($0.completion == "4" ? 0.5 : -0.5) && $0.extras.contains(#""task":"sums""#) },
    ]
}
