import Foundation
import StageSupport
import TestSupport
import Testing

/// Whose part of the work a process does, and with how many threads.
@Suite struct SharingTests {
    private func share(_ environment: [String: String], _ tasks: TaskCount? = .auto, _ rank: Int? = nil) throws -> [Int]
    {
        let share = try TaskShare(tasks: tasks, rank: rank, environment: environment)
        return [share.rank, share.tasks]
    }

    @Test func nothingIsSharedUnasked() throws {
        let scheduled = [
            "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2",
        ]
        #expect(try share(scheduled, nil) == [0, 1])
        #expect(try share(scheduled, .count(8), 5) == [5, 8])
        #expect(try share([:], .count(1)) == [0, 1])
        for (tasks, rank) in [(nil, 0), (.count(2), nil), (.count(2), 2), (.count(0), 0), (.auto, 1)]
            as [(TaskCount?, Int?)]
        {
            #expect(throws: StageError.self) { try share(scheduled, tasks, rank) }
        }
    }

    @Test(arguments: [
        ([:], [0, 1]),
        // A batch script outside of srun.
        (["SLURM_PROCID": "0", "SLURM_NTASKS": "8"], [0, 1]),
        (["SLURM_PROCID": "3", "SLURM_NTASKS": "8"], [3, 8]),
        (["SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8"], [3, 8]),
        (
            [
                "SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "1", "SLURM_ARRAY_TASK_MIN": "0",
                "SLURM_ARRAY_TASK_MAX": "0",
            ], [0, 1]
        ),
        (
            [
                "SLURM_ARRAY_TASK_ID": "14", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "10",
                "SLURM_ARRAY_TASK_MAX": "16",
            ], [2, 4]
        ),
        (
            [
                "SLURM_ARRAY_TASK_ID": "6", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "2",
                "SLURM_ARRAY_TASK_STEP": "2",
            ], [2, 3]
        ),
        // Members of an array that each start several.
        (
            [
                "SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_PROCID": "1",
                "SLURM_STEP_NUM_TASKS": "2",
            ], [3, 6]
        ),
        (["OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "5"], [2, 5]),
        (["PMI_RANK": "2", "PMI_SIZE": "5", "SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "5"], [2, 5]),
        // mpirun inside of a batch script.
        (
            ["OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "5", "SLURM_PROCID": "0", "SLURM_NTASKS": "5"],
            [2, 5]
        ),
        (["JOB_COMPLETION_INDEX": "1", "JOB_COMPLETIONS": "4"], [1, 4]),
    ]) func autoReadsWhatTheSchedulerSays(_ environment: [String: String], _ expected: [Int]) throws {
        #expect(try share(environment) == expected)
    }

    @Test(arguments: [
        ["SLURM_ARRAY_TASK_ID": "1"],
        ["SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "x"],
        // 1, 2, 9: not evenly spaced.
        [
            "SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1",
            "SLURM_ARRAY_TASK_MAX": "9",
        ],
        ["SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1"],
        ["OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "5"],
        ["OMPI_COMM_WORLD_RANK": "1"],
        ["OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4"],
        ["JOB_COMPLETION_INDEX": "1"], ["JOB_COMPLETION_INDEX": "-1", "JOB_COMPLETIONS": "2"], ["PMIX_RANK": "1"],
        ["SLURM_PROCID": "99999999999999999999", "SLURM_STEP_NUM_TASKS": "2"],
    ]) func whatContradictsItselfIsRefused(_ environment: [String: String]) throws {
        let error = #expect(throws: StageError.self) { try share(environment) }
        #expect(
            error?.status == .usage && environment.keys.contains { error?.description.contains($0) == true },
            "\(String(describing: error))")
    }

    @Test func threadsAreThoseThatTheProcessMayUse() throws {
        let folder = try TemporaryDirectory()
        func count(_ environment: [String: String], _ membership: String = "") throws -> Int {
            try membership.write(toFile: folder("membership"), atomically: true, encoding: .utf8)
            return ProcessorCount.available(
                environment: environment, controlGroups: folder.path, membership: folder("membership"))
        }
        let all = try count([:])
        #expect(all >= 1)
        #expect(try count(["SLURM_CPUS_PER_TASK": "1"]) == 1)
        #expect(try count(["OMP_NUM_THREADS": "1,4"]) == 1)
        #expect(try count(["SLURM_CPUS_PER_TASK": "many", "OPENBLAS_NUM_THREADS": "0"]) == all)
        #expect(try count(["SLURM_CPUS_PER_TASK": "100000"]) == all)
        // Version 2, the group above; version 1. A part of a processor is one.
        for path in ["outer/inner", "cpu,cpuacct/job"] { _ = try folder.folder(path) }
        try "max 100000\n".write(toFile: folder("outer/inner/cpu.max"), atomically: true, encoding: .utf8)
        #expect(try count([:], "0::/outer/inner\n") == all)
        try "50000 100000\n".write(toFile: folder("outer/cpu.max"), atomically: true, encoding: .utf8)
        #expect(try count([:], "0::/outer/inner\n") == 1)
        try "100000\n".write(toFile: folder("cpu,cpuacct/job/cpu.cfs_quota_us"), atomically: true, encoding: .utf8)
        try "100000\n".write(toFile: folder("cpu,cpuacct/job/cpu.cfs_period_us"), atomically: true, encoding: .utf8)
        #expect(try count([:], "4:cpu,cpuacct:/job\n") == 1)
        try "-1\n".write(toFile: folder("cpu,cpuacct/job/cpu.cfs_quota_us"), atomically: true, encoding: .utf8)
        #expect(try count([:], "4:cpu,cpuacct:/job\n") == all)
    }

    /// Four members of a job array, each with a recipe of its own: none does a quarter of its work.
    @Test(.timeLimit(.minutes(20))) func membersOfAnArrayThatSweepsDoTheirWholeWork() throws {
        let folder = try TemporaryDirectory(), recipes = ["grpo", "rloo", "dapo", "dapo-top20"]
        for (member, recipe) in recipes.enumerated() {
            let environment = [
                "SLURM_JOB_ID": "\(70 + member)", "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "\(member)",
                "SLURM_ARRAY_TASK_COUNT": "4",
                "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "3", "SLURM_PROCID": "0", "SLURM_NTASKS": "1",
                "SLURM_CPUS_PER_TASK": "1",
            ]
            func run(_ name: String, _ arguments: [String]) throws -> [String: Int] {
                let result = try Executable(name).run(["--quiet"] + arguments, environment: environment)
                #expect(result.status == 0, "\(name): \(result.errors)")
                return result.summary["counts"] as? [String: Int] ?? [:]
            }
            let own = folder(recipe), file = repository("recipes/\(recipe).yaml")
            #expect(
                try run("crux-ingest", ["--input", fixture("dump"), "--output", own + "/ingest"])["rollouts"] == 192)
            #expect(try run("crux-score", ["--input", own + "/ingest", "--output", own + "/score"])["rollouts"] == 192)
            let plan = [
                "--input", own + "/ingest", "--scores", own + "/score", "--recipe", file, "--output", own + "/plan",
            ]
            #expect(try run("crux-plan", plan)["kept"] ?? 0 > 0)
            let loop = [
                "--recipe", file, "--checkpoint", fixture("policy"), "--prompts", fixture("prompts-train.jsonl"),
                "--output", own + "/loop", "--iterations", "1",
                "--prompts-per-iteration", "8", "--group-size", "4", "--max-tokens", "60", "--batch", "64",
            ]
            #expect(try run("crux-loop", loop)["iterations"] == 1)
            let manifest =
                try JSONSerialization.jsonObject(
                    with: Data(contentsOf: URL(fileURLWithPath: own + "/loop/manifest.json"))) as? [String: Any]
            #expect((manifest?["configuration"] as? [String: String])?["threads"] == "1")
        }
    }
}
