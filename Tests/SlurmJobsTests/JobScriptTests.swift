import Foundation
import SlurmJobs
import StageSupport
import TestSupport
import Testing

/// Without Slurm: what scripts say, and what bash makes of them.
@Suite struct JobScriptTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    private func script(
        _ work: JobScript.Work, step: String = "score", request: JobRequest = JobRequest(), folder: String? = nil,
        requeues: Int = 50
    ) -> JobScript {
        JobScript(
            step: step, prefix: "0123abcd", work: work, request: request, folder: folder ?? self.folder.path,
            workingFolder: self.folder.path, requeues: requeues)
    }

    @Test func aSharedStageIsAnArray() {
        var request = JobRequest()
        (request.partition, request.account, request.time) = ("cpu", "lab", "4:00:00")
        (request.memory, request.processors) = (MemorySize(bytes: (1 << 30) + 1), 8)
        request.extra = ["--gres=gpu:1"]
        let command = ["/opt/crux/crux-score", "--input", "run/ingest", "--output", "run/it's score", "--no-verify"]
        let written = JobScript(
            step: "score", prefix: "0123abcd", work: .shared(command, tasks: 4), request: request,
            folder: "/data/100% a run/slurm", workingFolder: "/data/a run", requeues: 20)
        #expect(written.text == Self.golden.replacingOccurrences(of: "NAME", with: written.jobName))
        #expect(written.path == "/data/100% a run/slurm/score.sh")
    }

    /// srun starts the ranks, each with a task's processors and memory, and takes SIGTERM for an order to kill them.
    @Test func anUpdateOfSeveralRanksIsStartedBySrun() {
        var request = JobRequest()
        (request.memory, request.processors, request.ranks) = (MemorySize(bytes: 10 << 30), 4, 3)
        let command = ["/opt/crux/crux-update", "--plan", "run/plan"]
        let written = script(.one(command), step: "update", request: request)
        #expect(written.text.contains("#SBATCH --ntasks=3\n#SBATCH --cpus-per-task=4\n#SBATCH --mem-per-cpu=2560M\n"))
        let lines = [
            "  exec srun", "--ntasks=3", "--cpus-per-task=4", "--mpi=pmix",
            "--kill-on-bad-exit=1 /opt/crux/crux-update", "--plan run/plan", "--mpi\n}",
        ]
        #expect(written.text.contains(lines.joined(separator: " \\\n    ")), "\(written.text)")
        #expect(written.text.contains("kill -USR1 \"$running\"") && !written.text.contains("kill -TERM"))
        let members = ["grpo", "rloo"].map { JobScript.Member($0, command) }
        #expect(script(.members(members), request: request).text.contains("--mpi=pmix"))
        request.ranks = 1
        #expect(!script(.one(command), request: request).text.contains("srun"))
    }

    private static let golden = #"""
        #!/bin/bash
        # Written by crux; submit it with sbatch, or run it with bash where there is no Slurm.
        #SBATCH --job-name=NAME
        #SBATCH --output="/data/100%% a run/slurm/score-%A_%a.log"
        #SBATCH --open-mode=append
        #SBATCH --requeue
        #SBATCH --kill-on-invalid-dep=yes
        #SBATCH --array=0-3
        #SBATCH --partition=cpu
        #SBATCH --account=lab
        #SBATCH --time=4:00:00
        #SBATCH --cpus-per-task=8
        #SBATCH --mem=1025M
        #SBATCH --signal=B:USR1@60
        #SBATCH --gres=gpu:1

        cd '/data/a run' || exit 4
        work() {
          exec /opt/crux/crux-score \
            --input run/ingest \
            --output 'run/it'\''s score' \
            --no-verify \
            --tasks auto
        }

        # A signal before the time limit is handed on: the stage stops at its next piece of work and ends with 75.
        again=no
        hand_on() {
          again=yes
          kill -TERM "$running" 2> /dev/null
        }
        trap hand_on USR1 TERM
        work &
        running=$!
        [ "$again" = yes ] && hand_on
        again=yes
        while [ "$again" = yes ]; do
          again=no
          wait "$running"
          status=$?
        done
        trap '' USR1 TERM

        task=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
        task=${task:-${SLURM_JOB_ID:-none}}
        # 75 says: run again. Above 128 a signal ended the stage, want of memory perhaps: not often then.
        most=0
        [ "$status" -eq 75 ] && most=20
        [ "$status" -gt 128 ] && most=2
        if [ "$task" != none ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$most" ] &&
          [ "$(squeue --noheader --jobs="$task" --format=%T)" = RUNNING ]; then
          echo "ended with $status: job $task is queued again"
          scontrol requeue "$task" && sleep 60 # Slurm ends this script meanwhile
        fi
        [ "$task" != none ] && echo "$status" > '/data/100% a run/slurm/score-'"$task".exit
        exit "$status"

        """#

    /// A job in the queue tells by its name which folder, step and script it is of.
    @Test func aNameTellsScriptsApart() {
        let one = script(.one(["true"])), other = script(.one(["false"]))
        #expect(one.jobName.hasPrefix("crux-score.0123abcd.") && one.jobName != other.jobName)
        #expect(one.namePrefix == other.namePrefix && one.jobName == script(.one(["true"])).jobName)
        #expect(script(.one(["true"]), step: "score-2").jobName.hasPrefix(one.namePrefix) == false)
    }

    /// Programs in the place of Slurm's, which write what they are asked.
    private func fakeSlurm(state: String = "RUNNING") throws -> String {
        let bin = try folder.folder("bin")
        for (name, text) in [
            ("squeue", "echo \(state)"), ("scontrol", "echo \"$@\" >> \(folder("requeued")); exit 1"),
        ] {
            try "#!/bin/sh\n\(text)\n".write(toFile: bin + "/" + name, atomically: true, encoding: .utf8)
            chmod(bin + "/" + name, 0o755)
        }
        return bin + ":/usr/bin:/bin"
    }

    private func run(
        _ work: JobScript.Work, _ environment: [String: String] = [:], state: String = "RUNNING", requeues: Int = 50
    ) throws -> (result: Executable.Result, requeued: String) {
        let written = script(work, requeues: requeues)
        try written.write()
        let result = try Executable(path: "/bin/bash").run(
            [written.path], environment: environment.merging(["PATH": try fakeSlurm(state: state)]) { $1 })
        return (result, (try? String(contentsOfFile: folder("requeued"), encoding: .utf8)) ?? "")
    }

    private func ending(with status: String) -> JobScript.Work { .one(["/bin/bash", "-c", status]) }

    @Test func theStagesExitCodeIsTheScripts() throws {
        for status in [0, 3, 75] {
            let (result, requeued) = try run(ending(with: "exit \(status)"))
            #expect(result.status == status && requeued.isEmpty, "\(result.errors)")
        }
    }

    @Test func anInterruptedTaskIsQueuedAgainByBothItsNumbers() throws {
        let task = ["SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"]
        #expect(try run(ending(with: "exit 75"), task).requeued == "requeue 12_3\n")
        #expect(try String(contentsOfFile: folder("score-12_3.exit"), encoding: .utf8) == "75\n")
    }

    @Test func whatFailedOrIsCancelledIsNotQueuedAgain() throws {
        let job = ["SLURM_JOB_ID": "12"]
        #expect(try run(ending(with: "exit 3"), job).requeued == "")
        #expect(try run(ending(with: "exit 75"), job, state: "COMPLETING").requeued == "")
        #expect(
            try run(ending(with: "exit 75"), job.merging(["SLURM_RESTART_COUNT": "5"]) { $1 }, requeues: 5).requeued
                == "")
        #expect(try run(ending(with: "kill -9 $$"), job.merging(["SLURM_RESTART_COUNT": "2"]) { $1 }).requeued == "")
        #expect(try run(ending(with: "kill -9 $$"), job).requeued == "requeue 12\n")
    }

    /// The stage itself is told, also where it takes a while to stop, and its own code counts.
    @Test(arguments: [SIGUSR1, SIGTERM]) func aSignalReachesTheStage(_ number: Int32) throws {
        let stage = "trap 'sleep 0.3; exit 75' TERM; touch '\(folder("ready"))'; while :; do sleep 0.05; done"
        let written = script(ending(with: stage))
        try written.write()
        let running = try Executable(path: "/bin/bash").start([written.path])
        running.wait { FileManager.default.fileExists(atPath: folder("ready")) }
        running.signal(number)
        #expect(running.wait().status == 75)
    }

    @Test func aMemberOfASweepDoesItsOwnWork() throws {
        let members = ["grpo", "rloo"].map { JobScript.Member($0, ["/bin/echo", "its \($0)"]) }
        for (index, name) in ["grpo", "rloo"].enumerated() {
            #expect(try run(.members(members), ["SLURM_ARRAY_TASK_ID": "\(index)"]).result.output == "its \(name)\n")
        }
        let (stray, _) = try run(.members(members), ["SLURM_ARRAY_TASK_ID": "7"])
        #expect(stray.status == 2 && stray.errors.contains("is '7', expected 0 to 1"), "\(stray.errors)")
        #expect(try run(.members(members)).result.status == 2)
        #expect(script(.members(members)).text.contains("--array=0-1"))
        #expect(try run(.members([members[1]])).result.output == "its rloo\n")
    }

    @Test func theQueueIsReadJobByJob() {
        let text = "12|PENDING|Resources|crux-a.1.2\n12|RUNNING|None|crux-a.1.2\n7|RUNNING|None|odd|name\nno line\n"
        let jobs = QueuedJob.parse(text)
        #expect(jobs.map(\.number) == [7, 12] && jobs.map(\.name) == ["odd|name", "crux-a.1.2"])
        #expect(jobs.last?.states == "PENDING (Resources), RUNNING")
        #expect(
            SlurmQueue.flags(after: ["afterok:1"], members: [1, 3]) == [
                "--parsable", "--dependency=afterok:1", "--array=1,3",
            ])
    }
}
