import Foundation

/// Which part of the work this process does when several share a stage: piece i is for the task with i mod `tasks` = `rank`.
package struct TaskShare: Equatable, Sendable {
    package let tasks: Int
    package let rank: Int

    package static let whole = TaskShare()

    package func owns(_ index: Int) -> Bool { index % tasks == rank }

    private init() {
        tasks = 1
        rank = 0
    }

    /// Flags win over the scheduler's environment, which fills in what they leave open. Throws `StageError` (usage) when the
    /// share stays open or makes no sense.
    package init(tasks: Int?, rank: Int?, environment: [String: String] = ProcessInfo.processInfo.environment) throws {
        let found = rank == nil ? Self.scheduled(tasks: tasks, environment) : nil
        let count = tasks ?? found?.tasks ?? 1
        guard count >= 1 else { throw StageError(.usage, "--tasks is \(count); it must be at least 1.") }
        guard let own = rank ?? found?.rank ?? (count == 1 ? 0 : nil) else {
            throw StageError(.usage, "--tasks \(count) needs --rank, 0 to \(count - 1): no scheduler's environment names it.")
        }
        guard (0..<count).contains(own) else {
            throw StageError(.usage, "--rank \(own) of --tasks \(count): ranks go from 0 to tasks - 1.")
        }
        (self.tasks, self.rank) = (count, own)
    }

    /// How a scheduler tells a task its number, and how many there are.
    private struct Scheduler {
        let rank: String
        let tasks: String?
        var first: String?
    }

    /// A Slurm step's rank counts only beside the step's own task number: a batch script outside `srun` has SLURM_PROCID and
    /// SLURM_NTASKS as well, but runs alone.
    private static let schedulers = [
        Scheduler(rank: "SLURM_ARRAY_TASK_ID", tasks: "SLURM_ARRAY_TASK_COUNT", first: "SLURM_ARRAY_TASK_MIN"),
        Scheduler(rank: "SLURM_PROCID", tasks: "SLURM_STEP_NUM_TASKS"),
        Scheduler(rank: "OMPI_COMM_WORLD_RANK", tasks: "OMPI_COMM_WORLD_SIZE"),
        Scheduler(rank: "JOB_COMPLETION_INDEX", tasks: nil),
    ]

    private static func scheduled(tasks: Int?, _ environment: [String: String]) -> (tasks: Int, rank: Int)? {
        func number(_ key: String?) -> Int? { key.flatMap { environment[$0] }.flatMap { Int($0) } }
        for scheduler in schedulers {
            guard let count = tasks ?? number(scheduler.tasks), count > 1, let rank = number(scheduler.rank) else { continue }
            return (count, rank - (number(scheduler.first) ?? 0))
        }
        return nil
    }
}
