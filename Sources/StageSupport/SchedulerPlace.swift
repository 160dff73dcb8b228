import Foundation

/// A task's number and how many there are, from the variables of Slurm, MPI or Kubernetes.
struct SchedulerPlace: Equatable {
    var tasks = 1
    var rank = 0

    /// Members of a job array that each start several tasks count through: array first, tasks within. No variable at
    /// all, or a batch script outside of `srun`, is one task. Throws `StageError` (usage) where variables contradict
    /// each other or tell half of it.
    init(_ environment: [String: String]) throws {
        let variables = Variables(environment)
        let array = try Self.array(variables), launched = try Self.launched(variables),
            indexed = try Self.indexed(variables)
        let places = [array, launched ?? indexed].compactMap { $0 }
        (tasks, rank) = places.reduce((1, 0)) { ($0.0 * $1.tasks, $0.1 * $1.tasks + $1.rank) }
    }

    /// Of a process that `srun` or `mpirun` has started beside others, its place among them, whatever job array they
    /// are a member of; nil of one that runs alone.
    static func amongLaunched(_ environment: [String: String]) throws -> SchedulerPlace? {
        try launched(Variables(environment))
    }

    private init(_ name: String, rank: Int, of tasks: Int) throws {
        guard (0..<tasks).contains(rank) else {
            throw Self.contradiction("\(name) says task \(rank) of \(tasks): tasks are counted from 0")
        }
        (self.tasks, self.rank) = (tasks, rank)
    }

    private struct Variables {
        private let environment: [String: String]

        init(_ environment: [String: String]) { self.environment = environment }

        func has(_ name: String) -> Bool { !(environment[name] ?? "").isEmpty }

        /// nil where it isn't set.
        func number(_ name: String) throws -> Int? {
            guard let text = environment[name], !text.isEmpty else { return nil }
            guard let number = Int(text), number >= 0, number < 1 << 40 else {
                throw SchedulerPlace.contradiction("\(name) is '\(text.prefix(40))', which is no number of a task")
            }
            return number
        }
    }

    private static func contradiction(_ what: String) -> StageError {
        StageError(.usage, "--tasks auto: \(what). Give --tasks N --rank I.")
    }

    /// A member of a Slurm job array whose ids are evenly spaced.
    private static func array(_ variables: Variables) throws -> SchedulerPlace? {
        guard let id = try variables.number("SLURM_ARRAY_TASK_ID") else { return nil }
        guard let count = try variables.number("SLURM_ARRAY_TASK_COUNT"), count > 0 else {
            throw contradiction("SLURM_ARRAY_TASK_ID is \(id), but SLURM_ARRAY_TASK_COUNT isn't set")
        }
        let first = try variables.number("SLURM_ARRAY_TASK_MIN") ?? 0,
            last = try variables.number("SLURM_ARRAY_TASK_MAX")
        let step =
            count > 1 && last != nil
            ? ((last ?? 0) - first) / (count - 1) : try variables.number("SLURM_ARRAY_TASK_STEP") ?? 1
        guard id >= first, id <= last ?? id, count == 1 || step > 0,
            last == nil || count == 1 || first + step * (count - 1) == last,
            count == 1 || (id - first) % step == 0
        else {
            throw contradiction(
                "SLURM_ARRAY_TASK_ID \(id) has no place among \(count) evenly spaced ids from \(first)\(last.map { " to \($0)" } ?? "")"
            )
        }
        return try SchedulerPlace("SLURM_ARRAY_TASK_ID", rank: count == 1 ? 0 : (id - first) / step, of: count)
    }

    /// Rank, and number of ranks, of processes that were started together.
    private static let launchers = [
        (rank: "OMPI_COMM_WORLD_RANK", tasks: "OMPI_COMM_WORLD_SIZE"), (rank: "PMI_RANK", tasks: "PMI_SIZE"),
        (rank: "MV2_COMM_WORLD_RANK", tasks: "MV2_COMM_WORLD_SIZE"),
        (rank: "SLURM_PROCID", tasks: "SLURM_STEP_NUM_TASKS"),
    ]

    /// A process of `srun` or `mpirun`. A batch script outside of them has SLURM_PROCID and SLURM_NTASKS as well, but
    /// runs alone.
    private static func launched(_ variables: Variables) throws -> SchedulerPlace? {
        var found: (name: String, place: SchedulerPlace)?
        for launcher in launchers {
            guard let rank = try variables.number(launcher.rank) else { continue }
            guard let tasks = try variables.number(launcher.tasks) ?? stepTasks(launcher.rank, rank, variables) else {
                continue
            }
            guard tasks > 1 || rank > 0 else { continue }
            let place = try SchedulerPlace(launcher.rank, rank: rank, of: tasks)
            if let found, found.place != place {
                throw contradiction(
                    "\(found.name) says task \(found.place.rank) of \(found.place.tasks), \(launcher.rank) task \(rank) of \(tasks)"
                )
            }
            found = found ?? (launcher.rank, place)
        }
        if found == nil, let rank = try variables.number("PMIX_RANK"), rank > 0 {
            throw contradiction("PMIX_RANK is \(rank), but how many ranks there are isn't said")
        }
        return found?.place
    }

    /// Of a Slurm step that doesn't say how many tasks it has: as many as its job.
    private static func stepTasks(_ name: String, _ rank: Int, _ variables: Variables) throws -> Int? {
        guard name == "SLURM_PROCID" else {
            throw contradiction("\(name) is \(rank), but how many tasks there are isn't said")
        }
        guard rank > 0 || variables.has("SLURM_STEP_ID") || variables.has("SLURM_STEPID") else { return nil }
        return try variables.number("SLURM_NTASKS") ?? variables.number("SLURM_NPROCS")
    }

    /// A pod of an indexed Kubernetes job. Kubernetes doesn't tell how many there are: JOB_COMPLETIONS is for the job's
    /// own definition.
    private static func indexed(_ variables: Variables) throws -> SchedulerPlace? {
        guard let index = try variables.number("JOB_COMPLETION_INDEX") else { return nil }
        guard let tasks = try variables.number("JOB_COMPLETIONS") else {
            throw contradiction(
                "JOB_COMPLETION_INDEX is \(index), but JOB_COMPLETIONS isn't set: Kubernetes tells the index alone")
        }
        return try SchedulerPlace("JOB_COMPLETION_INDEX", rank: index, of: tasks)
    }
}
