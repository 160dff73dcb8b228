import Files
import SlurmJobs
import StageSupport

/// What a run reads is there: found now, not when a job's turn comes.
struct InputCheck {
    private let command: SlurmCommand

    init(_ command: SlurmCommand) { self.command = command }

    /// Throws (3) where something isn't there.
    func run() throws {
        let executables = PipelineStage.allCases.map { command.jobs.folder() + "/" + $0.executable }
        let paths = command.input + [command.prompts, command.checkpoint].compactMap { $0 }
        for path in paths where try !fileExists(path) {
            throw StageError(.invalidInput, "\(path): no such file or folder")
        }
        // A folder of the nodes' own can't be looked into from here.
        guard command.jobs.bin == nil else { return }
        for path in executables where try !fileExists(path) {
            throw StageError(.invalidInput, "\(path): no such file; crux's executables belong in one folder (--bin)")
        }
    }
}

/// A stage's flags are understood by the stage: each is called once on inputs that don't exist, which it says only
/// after it has understood its flags.
struct FlagCheck {
    private let command: SlurmCommand

    init(_ command: SlurmCommand) { self.command = command }

    /// Throws (2) with the stage's own words.
    func run(_ context: StageContext) throws {
        let flags = try command.stageFlags(), stages = SiblingStages(context)
        for stage in PipelineStage.allCases {
            do {
                try stages.run(stage.executable, Self.nowhere(stage) + (flags[stage] ?? []) + ["--dry-run"])
            } catch let error as StageError where error.status == .usage {
                throw StageError(.usage, "--flags \(stage.rawValue): \(error.description)")
            } catch let error as StageError where error.status != .interrupted {
                // It has understood them, and finds nothing at /dev/null/….
            }
        }
    }

    private static func nowhere(_ stage: PipelineStage) -> [String] {
        func at(_ name: String) -> String { "/dev/null/" + name }
        let output = ["--output", at("output")]
        return switch stage {
        case .rollout: ["--checkpoint", at("checkpoint"), "--prompts", at("prompts")] + output
        case .ingest: ["--input", at("dump")] + output
        case .score: ["--input", at("ingest")] + output
        case .plan: ["--input", at("ingest"), "--scores", at("score"), "--recipe", at("recipe")] + output
        case .update: ["--plan", at("plan"), "--checkpoint", at("checkpoint")] + output
        }
    }
}
