import Formats
import Foundation

@testable import Ingest
@testable import Plan
@testable import Rollout
@testable import Score

/// Jobs of an expansion and the results that come back for them, with wrong values: the join, and the plan on it.
final class JoinFuzz: FuzzTarget {
    static let name = "stage-join", subject = "crux-ingest --jobs and crux-plan --jobs on changed jobs and results"
    private let fuzzed: FuzzedRun
    private let jobs: [String]

    init(folder: String) throws {
        let jobs = ["--jobs", folder + "/expansion/jobs"]
        self.jobs = jobs
        fuzzed = try FuzzedRun(folder: folder, changing: ["expansion/jobs", "results", "joined", "joined-score"]) { _ in
            let sampled = folder + "/sampled", joined = folder + "/joined"
            try runStage(RolloutCommand.self, jobs + ["--checkpoint", folder + "/policy", "--output", sampled])
            try Self.reward(sampled + "/rollouts-00000.rollouts.zst", to: folder + "/results")
            try runStage(IngestCommand.self, jobs + ["--input", folder + "/results", "--output", joined])
            try runStage(ScoreCommand.self, ["--input", joined, "--output", joined + "-score", "--reward", "given"])
        }
    }

    /// Copies rollouts, of which every other one is right: what has no text can't be judged.
    private static func reward(_ path: String, to folder: String) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let shard = try RolloutShard(path: path), writer = try RolloutShardWriter(path: folder + "/shard.rollouts.zst")
        for (index, entry) in shard.entries.enumerated() {
            let stream = try FrameStream(entry.span, in: shard.file, place: "frame \(index)")
            var frame = try RolloutFrameReader.read(stream, file: path, place: "frame \(index)", logitsRow: nil)
            frame.metadata["reward"] = "\(index % 2)"
            try writer.append(frame)
        }
        try writer.finish()
    }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        let (choice, rest) = bytes.choice, folder = fuzzed.folder
        try fuzzed.changed(by: rest) {
            guard choice % 2 == 0 else {
                try runStage(IngestCommand.self, jobs + ["--input", folder + "/results", "--output", fuzzed.output])
                return
            }
            try runStage(
                PlanCommand.self,
                jobs + [
                    "--input", folder + "/joined", "--scores", folder + "/joined-score", "--recipe",
                    fixture("../recipes/fr3e.yaml"), "--output", fuzzed.output,
                ])
        }
    }
}
