/// Which part of the work this process does when several share a stage: shard i belongs to the task with i mod `tasks` = `rank`.
package struct TaskShare: Equatable, Sendable {
    package let tasks: Int
    package let rank: Int

    package static let whole = TaskShare(tasks: 1, rank: 0)

    init(tasks: Int, rank: Int) {
        self.tasks = tasks
        self.rank = rank
    }

    package func owns(_ index: Int) -> Bool { index % tasks == rank }

    /// What a scheduler says about the task it started. The rank of a Slurm step counts only with the step's own task number:
    /// a batch script outside `srun` also has SLURM_PROCID and SLURM_NTASKS, but runs alone.
    private struct Scheduler {
        let rank: String
        let tasks: String?
        var first: String?
    }

    private static let schedulers = [
        Scheduler(rank: "SLURM_ARRAY_TASK_ID", tasks: "SLURM_ARRAY_TASK_COUNT", first: "SLURM_ARRAY_TASK_MIN"),
        Scheduler(rank: "SLURM_PROCID", tasks: "SLURM_STEP_NUM_TASKS"),
        Scheduler(rank: "OMPI_COMM_WORLD_RANK", tasks: "OMPI_COMM_WORLD_SIZE"),
        Scheduler(rank: "JOB_COMPLETION_INDEX", tasks: nil),
    ]

    /// Flags win over the environment. Throws `StageError` (usage) when they leave the share open or contradict each other.
    package static func resolve(tasks: Int?, rank: Int?, environment: [String: String]) throws -> TaskShare {
        let found = fromEnvironment(environment, tasks: tasks)
        let count = tasks ?? (rank == nil ? found?.tasks : nil) ?? 1
        guard count >= 1 else { throw StageError(.usage, "--tasks \(count): expected at least 1") }
        guard let own = rank ?? found?.rank ?? (count == 1 ? 0 : nil) else {
            throw StageError(.usage, "--tasks \(count) without --rank, and no scheduler names the rank: add --rank 0 to --rank \(count - 1)")
        }
        guard (0..<count).contains(own) else {
            let advice = tasks == nil ? "say --tasks N with the number of tasks" : "expected 0 to \(count - 1)"
            throw StageError(.usage, "rank \(own) of \(count) tasks: \(advice)")
        }
        return TaskShare(tasks: count, rank: own)
    }

    private static func fromEnvironment(_ environment: [String: String], tasks: Int?) -> (rank: Int, tasks: Int)? {
        func number(_ key: String?) -> Int? { key.flatMap { environment[$0] }.flatMap { Int($0) } }
        for scheduler in schedulers {
            guard let rank = number(scheduler.rank), let count = tasks ?? number(scheduler.tasks) else { continue }
            return (rank - (number(scheduler.first) ?? 0), count)
        }
        return nil
    }
}
