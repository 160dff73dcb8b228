import Foundation
import TestSupport
import Testing

/// `crux slurm` without Slurm: what it writes, says and refuses. With Slurm: conformance/slurm.sh.
@Suite struct SlurmTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    private func run(_ more: [String], input: [String]? = nil, environment: [String: String] = [:]) throws
        -> Executable.Result
    {
        try Executable("crux-slurm").run(
            (input ?? ["--input", fixture("dump"), "--checkpoint", fixture("policy")]) + [
                "--output", folder("a run"),
            ] + more, environment: environment)
    }

    private func recipe(_ name: String) -> [String] { ["--recipe", repository("recipes/\(name).yaml")] }

    private func script(_ name: String) throws -> String {
        try String(contentsOfFile: folder("a run/slurm/\(name).sh"), encoding: .utf8)
    }

    private func scripts() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder("a run/slurm")).filter { $0.hasSuffix(".sh") }
            .sorted()
    }

    @Test func aSweepWaitsForItsScoresAndEachUpdateForItsPlan() throws {
        let said = try run(recipe("grpo") + recipe("rloo") + ["--array", "score=4", "--dry-run"])
        let path = folder("a run/slurm/")
        #expect(said.status == 0, "\(said.errors)")
        #expect(
            said.output == """
                #!/bin/bash
                set -e
                job1=$(sbatch --parsable '\(path)ingest.sh')
                job2=$(sbatch --parsable --dependency=afterok:$job1 '\(path)score.sh')
                job3=$(sbatch --parsable --dependency=afterok:$job2 '\(path)plan.sh')
                job4=$(sbatch --parsable --dependency=aftercorr:$job3 '\(path)update.sh')

                """)
        #expect(try scripts() == ["ingest.sh", "plan.sh", "score.sh", "submit.sh", "update.sh"])
        #expect(try script("score").contains("#SBATCH --array=0-3") && script("score").contains("--tasks auto"))
        #expect(try !script("ingest").contains("--array") && !script("ingest").contains("--tasks"))
        #expect(try script("update").contains("    1) # rloo\n"))
        #expect(try script("update").contains("'\(folder("a run/rloo/plan"))'"))
    }

    @Test func ranksAreTheUpdatesAlone() throws {
        let said = try run(recipe("grpo") + ["--ranks", "4", "--job-memory", "update=10G", "--dry-run"])
        #expect(said.status == 0, "\(said.errors)")
        #expect(try script("update").contains("#SBATCH --ntasks=4") && script("update").contains("--mpi=pmix"))
        #expect(try script("update").contains("--memory 9216M"))
        for stage in ["ingest", "score", "plan"] { #expect(try !script(stage).contains("ntasks")) }
        let refused = try run(recipe("grpo") + ["--ranks", "score=4", "--dry-run"])
        #expect(refused.status == 2 && refused.errors.contains("--array"), "\(refused.errors)")
    }

    @Test func promptsAreSampledFirst() throws {
        let input = ["--prompts", fixture("prompts-train.jsonl"), "--checkpoint", fixture("policy")]
        let flags = ["--flags", "rollout=--group-size 4 --stop \"it's\"", "--seed", "7", "--threads", "3"]
        let said = try run(recipe("grpo") + flags + ["--job-memory", "update=10G", "--dry-run"], input: input)
        #expect(said.status == 0, "\(said.errors)")
        #expect(said.output.contains("--dependency=afterok:$job4 ") && said.output.contains("rollout.sh"))
        let sampling = try script("rollout")
        #expect(sampling.contains("    --group-size 4 \\\n    --stop 'it'\\''s'") && sampling.contains("--seed 7"))
        #expect(sampling.contains("#SBATCH --cpus-per-task=3"))
        #expect(try script("ingest").contains("--input '\(folder("a run/rollout"))'"))
        #expect(try script("update").contains("--mem=10240M") && script("update").contains("--memory 9216M"))
        #expect(try !script("plan").contains("--mem="))
    }

    @Test func severalRoundsAreRefused() throws {
        let said = try run(recipe("tree") + ["--set", "expansion.rounds=2", "--dry-run"])
        #expect(said.status == 2 && said.errors.contains("expansion.rounds is 2"))
    }

    @Test func expansionsGoOutAndComeHome() throws {
        let said = try run(recipe("fr3e") + recipe("grpo") + ["--array", "2", "--dry-run"])
        #expect(said.status == 0, "\(said.errors)")
        let parts = ["expansion", "expansion-rollout", "expansion-ingest", "expansion-score", "plan", "update"]
        #expect(try Set(parts.map { "fr3e-\($0).sh" }).isSubset(of: Set(scripts())))
        #expect(try script("fr3e-expansion-rollout").contains("--jobs '\(folder("a run/fr3e/expansion/jobs"))'"))
        // Results are joined by one task.
        #expect(try !script("fr3e-expansion-ingest").contains("--array"))
        #expect(try script("fr3e-expansion-score").contains("--array=0-1"))
        #expect(try script("fr3e-plan").contains("fr3e/expansion-score'"))
    }

    @Test func aRunCanEndBeforeItsUpdate() throws {
        #expect(try run(["--dry-run"]).status == 0)
        #expect(try scripts() == ["ingest.sh", "score.sh", "submit.sh"])
        #expect(
            try run(recipe("grpo") + ["--until", "plan", "--dry-run"], input: ["--input", fixture("dump")]).status == 0)
        #expect(try scripts() == ["ingest.sh", "plan.sh", "score.sh", "submit.sh"])
    }

    @Test(arguments: [
        ([], "Give either --input or --prompts"),
        (["--input", "d", "--array", "update=2"], "one task does all of that stage"),
        (["--input", "d", "--array", "0"], "expected a number from 1 to 1000"),
        (["--input", "d", "--cpus-per-task", "many"], "expected a number from 1"),
        (["--input", "d", "--job-memory", "lots"], "expected a size such as 8G"),
        (["--input", "d", "--flags", "--reward math"], "expected rollout=FLAGS"),
        (["--input", "d", "--overwrite"], "begin anew"),
        (["--input", "d", "--tasks", "2", "--rank", "0"], "give --array"),
        (["--input", "d", "--recipe", "r.yaml"], "An update needs --checkpoint"),
        (["--input", "d", "--until", "plan"], "needs --recipe"), (["--prompts", "p"], "needs --checkpoint"),
        (["--input", fixture("dump"), "--flags", "score=--reward 'math"], "a quote that isn't closed"),
        (["--input", fixture("dump"), "--flags", "score=--rewad math"], "Unknown option '--rewad'"),
        (["--input", fixture("dump"), "--time", "1\n2"], "expected one line of text"),
    ]) func whatCannotWorkIsRefusedAtOnce(_ arguments: [String], _ words: String) throws {
        let said = try run([], input: arguments)
        #expect(said.status == 2 && said.errors.contains(words), "\(said.status) \(said.errors)")
        #expect(!FileManager.default.fileExists(atPath: folder("a run")))
    }

    @Test func recipesThatWouldShareAFolderAreRefused() throws {
        let other = try folder.folder("other") + "/grpo.yaml"
        try FileManager.default.copyItem(atPath: repository("recipes/grpo.yaml"), toPath: other)
        let said = try run(recipe("grpo") + ["--recipe", other])
        #expect(said.status == 2 && said.errors.contains("would both be in the folder grpo/"), "\(said.errors)")
        #expect(try run(["--recipe", folder("none.yaml")]).status == 3)
        #expect(try run([], input: ["--input", folder("none")]).status == 3)
    }

    @Test func withoutSlurmThatIsSaid() throws {
        let said = try run([], environment: ["PATH": folder.path])
        #expect(said.status == 4 && said.errors.contains("squeue: found no such program in PATH"), "\(said.errors)")
        let loop = try Executable("crux-loop").run([
            "--recipe", repository("recipes/grpo.yaml"), "--checkpoint", fixture("policy"), "--prompts",
            fixture("prompts-train.jsonl"), "--output", folder("loop"), "--iterations", "1", "--time", "1:00",
        ])
        #expect(loop.status == 2 && loop.errors.contains("need --slurm"), "\(loop.errors)")
    }

    // MARK: a Slurm that isn't one

    /// sbatch and squeue as scripts: jobs get numbers from 1 on, and stay in the queue while the file `queue` names them.
    private func fakeSlurm() throws -> [String: String] {
        let bin = try folder.folder("bin"), state = folder.path
        let sbatch = """
            number=$(($(cat '\(state)/number' 2> /dev/null || echo 0) + 1))
            echo $number > '\(state)/number'
            echo "$@" >> '\(state)/submitted'
            for script in "$@"; do :; done
            name=$(sed -n 's/#SBATCH --job-name=//p' "$script")
            echo "$number|PENDING|Dependency|$name" >> '\(state)/queue'
            echo "$number;cluster"
            """
        for (name, text) in [("sbatch", sbatch), ("squeue", "cat '\(state)/queue' 2> /dev/null || true")] {
            try "#!/bin/sh\n\(text)\n".write(toFile: bin + "/" + name, atomically: true, encoding: .utf8)
            chmod(bin + "/" + name, 0o755)
        }
        return ["PATH": bin + ":/usr/bin:/bin"]
    }

    private func submitted() throws -> [String] {
        let text = (try? String(contentsOfFile: folder("submitted"), encoding: .utf8)) ?? ""
        try? FileManager.default.removeItem(atPath: folder("submitted"))
        return text.replacingOccurrences(of: folder("a run/slurm/"), with: "").split(separator: "\n").map(String.init)
    }

    @Test func aChainIsSubmittedOnceAndGoesOnWhereItStopped() throws {
        let slurm = try fakeSlurm(), chain = recipe("grpo") + recipe("rloo") + ["--threads", "1"]
        let first = try run(chain, environment: slurm)
        #expect(first.status == 0, "\(first.errors)")
        #expect(first.summary["jobs"] as? [String: Int] == ["ingest": 1, "score": 2, "plan": 3, "update": 4])
        #expect(
            try submitted() == [
                "--parsable ingest.sh", "--parsable --dependency=afterok:1 score.sh",
                "--parsable --dependency=afterok:2 plan.sh", "--parsable --dependency=aftercorr:3 update.sh",
            ])
        // While they are in the queue, nothing is submitted again.
        #expect(
            try run(chain, environment: slurm).errors.contains(
                "plan: job 3 is in the queue already: PENDING (Dependency)"))
        #expect(try submitted() == [])
        let other = try run(chain + ["--time", "9"], environment: slurm)
        #expect(other.status == 5 && other.errors.contains("scancel 1"), "\(other.errors)")
        // One update is left when the queue is empty.
        try FileManager.default.removeItem(atPath: folder("queue"))
        for script in ["ingest", "score"] { try runScript(script) }
        for script in ["plan", "update"] { try runScript(script, member: 0) }
        #expect(try run(chain, environment: slurm).status == 0)
        #expect(
            try submitted() == [
                "--parsable --array=1 plan.sh", "--parsable --dependency=aftercorr:5 --array=1 update.sh",
            ])
        try FileManager.default.removeItem(atPath: folder("queue"))
        for script in ["plan", "update"] { try runScript(script, member: 1) }
        #expect(try run(chain, environment: slurm).errors.contains("update: finished already"))
        #expect(try submitted() == [])
        #expect(try run(chain + ["--resubmit"], environment: slurm).status == 0)
        #expect(try submitted().count == 4)
    }

    /// A job's script, as bash runs it.
    private func runScript(_ name: String, member: Int? = nil) throws {
        let environment = member.map { ["SLURM_ARRAY_TASK_ID": "\($0)"] } ?? [:]
        let result = try Executable(path: "/bin/bash").run([folder("a run/slurm/\(name).sh")], environment: environment)
        #expect(result.status == 0, "\(result.errors)")
    }
}
