import ArgumentParser
import Files
import Foundation
import StageSupport

/// What jobs ask of Slurm. `[STAGE=]` before a value: for that stage alone.
package struct SlurmOptions: ParsableArguments {
    @Option(
        help: "Slurm: [STAGE=]N tasks that share a stage's work as a job array (rollout, ingest, score; default 1).")
    package var array: [StageValue] = []

    @Option(help: "Slurm: [update=]N ranks of MPI that share an update, started by srun (default 1).")
    package var ranks: [StageValue] = []

    @Option(help: "Slurm: [STAGE=]NAME, the partition.")
    package var partition: [StageValue] = []

    @Option(help: "Slurm: [STAGE=]NAME, the account.")
    package var account: [StageValue] = []

    @Option(help: "Slurm: [STAGE=]LIMIT of time as sbatch takes it, such as 4:00:00.")
    package var time: [StageValue] = []

    @Option(help: "Slurm: [STAGE=]MEMORY of a task, such as 8G.")
    package var jobMemory: [StageValue] = []

    @Option(help: "Slurm: [STAGE=]N processors of a task (default: --threads, or 1).")
    package var cpusPerTask: [StageValue] = []

    @Option(
        parsing: .unconditionalSingleValue,
        help: "Slurm: [STAGE=]FLAG, any other of sbatch's, such as --gres=gpu:1; may be repeated.")
    package var sbatch: [StageValue] = []

    @Option(help: "Slurm: seconds before the time limit at which a stage is told to stop at its next piece of work.")
    package var stopBefore = 60

    @Option(help: "Slurm: how often a job that was interrupted (exit code 75) is queued again.")
    package var requeues = 50

    @Option(help: "Slurm: folder of crux's executables on the nodes (default: this one's).")
    package var bin: String?

    package init() {}

    /// The most that Slurm's own default lets an array have.
    private static let mostTasks = 1000
    private static let mostProcessors = 4096

    package mutating func validate() throws {
        for stage in PipelineStage.allCases {
            _ = try number("--array", array, stage, most: Self.mostTasks)
            _ = try number("--cpus-per-task", cpusPerTask, stage, most: Self.mostProcessors)
            _ = try number("--ranks", ranks, stage, most: Self.mostTasks)
            _ = try memory(of: stage)
        }
        if let given = array.first(where: { $0.stage.map { !$0.canBeShared } ?? false }) {
            throw ValidationError(
                "--array \(given.stage?.rawValue ?? "")=\(given.value): one task does all of that stage; "
                    + "rollout, ingest and score can be shared.")
        }
        if let given = ranks.first(where: { $0.stage.map { $0 != .update } ?? false }) {
            throw ValidationError(
                "--ranks \(given.stage?.rawValue ?? "")=\(given.value): ranks of MPI share an update; "
                    + "rollout, ingest and score are shared by --array.")
        }
        guard stopBefore >= 0, requeues >= 0 else {
            throw ValidationError("--stop-before and --requeues must be at least 0.")
        }
        let texts = [array, ranks, partition, account, time, jobMemory, cpusPerTask, sbatch].joined().map(\.value)
        if let bad = texts.first(where: { $0.contains(where: \.isNewline) || $0.isEmpty }) {
            throw ValidationError("Slurm's flags: found '\(bad)', expected one line of text.")
        }
    }

    /// Whether any of them was given.
    package var areGiven: Bool {
        [array, ranks, partition, account, time, jobMemory, cpusPerTask, sbatch].contains { !$0.isEmpty } || bin != nil
    }

    /// Tasks of a stage's array.
    package func tasks(of stage: PipelineStage) -> Int {
        stage.canBeShared ? (try? number("--array", array, stage, most: Self.mostTasks)) ?? 1 : 1
    }

    /// Ranks of MPI that a stage's job has.
    package func ranks(of stage: PipelineStage) -> Int {
        stage == .update ? (try? number("--ranks", ranks, stage, most: Self.mostTasks)) ?? 1 : 1
    }

    package func processors(of stage: PipelineStage) -> Int? {
        try? number("--cpus-per-task", cpusPerTask, stage, most: Self.mostProcessors)
    }

    package func memory(of stage: PipelineStage) throws -> MemorySize? {
        guard let text = jobMemory.value(of: stage) else { return nil }
        guard let size = MemorySize(argument: text) else {
            throw ValidationError("--job-memory: found '\(text)', expected a size such as 8G or 512M.")
        }
        return size
    }

    private func number(_ flag: String, _ values: [StageValue], _ stage: PipelineStage, most: Int) throws -> Int? {
        guard let text = values.value(of: stage) else { return nil }
        guard let number = Int(text), (1...most).contains(number) else {
            throw ValidationError("\(flag): found '\(text)', expected a number from 1 to \(most).")
        }
        return number
    }

    /// Where the executables lie on the nodes.
    package func folder() -> String { bin.map(resolvedPath) ?? SiblingStages.folder }

    /// `threads`: those of a task whose processors aren't told.
    package func request(for stage: PipelineStage, threads: Int?) throws -> JobRequest {
        var request = JobRequest()
        request.partition = partition.value(of: stage)
        request.account = account.value(of: stage)
        request.time = time.value(of: stage)
        request.memory = try memory(of: stage)
        request.processors = processors(of: stage) ?? threads ?? 1
        request.ranks = ranks(of: stage)
        request.stopBefore = stopBefore
        request.extra = sbatch.values(of: stage)
        return request
    }
}
