import Foundation

@testable import Rollout

/// Policies of other shapes, prompts and jobs with wrong values.
final class RolloutFuzz: FuzzTarget {
    static let name = "stage-rollout", subject = "crux-rollout on changed policies, prompts and jobs"
    private let fuzzed: FuzzedRun

    init(folder: String) throws {
        try FileManager.default.createDirectory(atPath: folder + "/prompts", withIntermediateDirectories: true)
        let lines = (0..<3).map {
            #"{"group_id": "g\#($0)", "prompt_token_ids": [1, \#($0 + 2), 3], "reference_answer": "4", "stop_token_ids": [5]}"#
        }
        try (lines.joined(separator: "\n") + "\n").write(
            toFile: folder + "/prompts/prompts.jsonl", atomically: true, encoding: .utf8)
        fuzzed = try FuzzedRun(folder: folder, changing: ["policy", "prompts", "expansion/jobs"])
    }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        let (choice, rest) = bytes.choice
        let work =
            choice % 2 == 0
            ? ["--prompts", fuzzed.folder + "/prompts/prompts.jsonl"]
            : ["--jobs", fuzzed.folder + "/expansion/jobs"]
        let precision = ["f32", "bf16", "bf16-weights", "bf16-amx"][choice / 2 % 4]
        try fuzzed.changed(by: rest) {
            try runStage(
                RolloutCommand.self,
                work + [
                    "--checkpoint", fuzzed.folder + "/policy", "--output", fuzzed.output, "--group-size", "2",
                    "--max-tokens", "4", "--logits", "--precision", precision,
                ])
        }
    }
}
