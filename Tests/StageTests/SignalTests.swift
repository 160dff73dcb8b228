import Foundation
import TestSupport
import Testing

/// How runs end, and what they say: signals, commands that hang, streams that can't be written.
@Suite(.serialized) struct SignalTests {
    private let run: Pipeline

    init() throws {
        run = try Pipeline()
        try run.ingest()
    }

    private func judged(_ command: String, _ more: [String] = []) -> [String] {
        [
            "--quiet", "--input", run.folder("ingest"), "--output", run.folder("score"), "--reward-command", command,
            "--reward-timeout", "600",
        ] + more
    }

    private func seconds(_ body: () throws -> Void) rethrows -> Double {
        let start = Date()
        try body()
        return start.distance(to: Date())
    }

    /// The command says who it is, and whom it has started, and answers nobody.
    private func hanging(_ name: String) -> String { "sleep 1000 & echo $! $$ > \(run.folder(name)); wait" }

    private func identifiers(_ name: String) -> [Int32] {
        String(decoding: FileManager.default.contents(atPath: run.folder(name)) ?? Data(), as: UTF8.self).split(
            whereSeparator: \.isWhitespace
        ).compactMap { Int32($0) }
    }

    private func awaitEnd(of processes: [Int32]) -> Bool {
        for _ in 0..<1000 {
            if !processes.contains(where: isAtWork) { return true }
            usleep(5000)
        }
        return false
    }

    @Test(arguments: [SIGTERM, SIGHUP, SIGINT, SIGUSR1, SIGKILL])
    func rewardCommandsEndWithTheirStage(_ signal: Int32) throws {
        let name = "pids-\(signal)",
            stage = try Executable("crux-score").start(judged(hanging(name), ["--reward-workers", "1"]))
        stage.wait { identifiers(name).count == 2 }
        let started = identifiers(name)
        #expect(started.count == 2 && started.allSatisfy(isAtWork))
        var result: Executable.Result?
        let took = seconds {
            stage.signal(signal)
            result = stage.wait()
        }
        #expect(took < 5, "\(took) s")
        #expect(result?.status == (signal == SIGKILL ? -9 : 75), "\(String(describing: result))")
        #expect(awaitEnd(of: started), "\(started)")
    }

    @Test func nohupKeepsARunAlive() throws {
        let name = "pids",
            arguments = judged(hanging(name), ["--reward-workers", "1"]).map { "'\($0)'" }.joined(separator: " ")
        let score = Executable("crux-score").path
        let stage = try Executable(path: "/bin/sh").start(["-c", "trap '' HUP; exec '\(score)' \(arguments)"])
        stage.wait { identifiers(name).count == 2 }
        stage.signal(SIGHUP)
        usleep(300_000)
        #expect(stage.isRunning)
        stage.signal(SIGTERM)
        #expect(stage.wait().status == 75)
    }

    @Test func aLoopHandsASignalOn() throws {
        let loop = try Executable("crux-loop").start([
            "--recipe", repository("recipes/grpo.yaml"), "--checkpoint", fixture("policy"), "--prompts",
            fixture("prompts-train.jsonl"), "--output", run.folder("loop"),
            "--iterations", "50", "--prompts-per-iteration", "60", "--group-size", "8", "--max-tokens", "72",
            "--threads", "1",
        ])
        loop.wait { FileManager.default.fileExists(atPath: run.folder("loop/iteration-0001/rollout/.work")) }
        var result: Executable.Result?
        let took = seconds {
            loop.signal(SIGTERM)
            result = loop.wait()
        }
        #expect(took < 5 && result?.status == 75, "\(took) s, \(String(describing: result))")
    }

    @Test func whatARewardCommandSaysIsBounded() throws {
        // Ten megabytes of complaints for each answer, and an answer without an end.
        let noisy =
            "while read -r line; do head -c 10000000 /dev/zero | tr '\\0' 'x' >&2; echo \"$line\" | sed 's/\"prompt\".*/\"score\":1}/'; done"
        let stage = try Executable("crux-score").start(judged(noisy, ["--reward-workers", "1"]))
        let log = run.folder("score/.work/reward-command-0.log")
        func size() -> Int { (try? FileManager.default.attributesOfItem(atPath: log)[.size] as? Int) ?? 0 }
        stage.wait { size() >= 1 << 20 }
        stage.wait(until: { size() > 1 << 20 }, seconds: 1)
        #expect(size() == 1 << 20)
        stage.signal(SIGTERM)
        #expect([0, 75].contains(stage.wait().status))
        let endless = try Executable("crux-score").run(
            judged("head -c 100000000 /dev/zero | tr '\\0' '{'; sleep 1000", ["--reward-workers", "1", "--overwrite"]))
        #expect(endless.status == 3 && endless.errors.contains("reward_invalid"), "\(endless.errors)")
    }

    // MARK: streams

    private func shell(_ stage: String, _ redirection: String, _ more: String = "") throws -> Executable.Result {
        let output = run.folder("out-\(UUID().uuidString)")
        let command =
            "'\(Executable(stage).path)' --input '\(fixture("dump"))' --output '\(output)' \(more) \(redirection)"
        let result = try Executable(path: "/bin/bash").run(["-c", command])
        // The work is done, whatever became of the words.
        #expect(FileManager.default.fileExists(atPath: output + "/manifest.json"), "\(redirection): \(result.errors)")
        return result
    }

    @Test(arguments: [
        "2>/dev/full", "2>&-", "2> >(exit 0)", "2>/dev/null", "0<&- 2>&-", "--log-format json 2>/dev/full",
    ])
    func aLogThatCantBeWrittenEndsNoRun(_ redirection: String) throws {
        #expect(try shell("crux-ingest", redirection).status == 0)
    }

    @Test func aSummaryThatCantBeWrittenIsAnErrorOfTheOutput() throws {
        for redirection in [">/dev/full", "| exit 0; exit ${PIPESTATUS[0]}"] {
            let result = try shell("crux-ingest", redirection)
            #expect(
                result.status == 4 && result.errors.contains("the work is complete"),
                "\(result.status) \(result.errors)")
        }
        // Who has closed it doesn't want it; and no file of ours takes its place.
        #expect(try shell("crux-ingest", ">&-").status == 0)
    }

    @Test func errorsLeaveAJSONLineToo() throws {
        let cases: [(Int32, [String])] = [
            (2, ["--log-format", "json"]),
            (2, ["--log-format=json", "--input", "x", "--output", "y", "--threads", "0"]),
            (3, ["--log-format", "json", "--input", run.folder("nothing"), "--output", run.folder("y")]),
        ]
        for (status, arguments) in cases {
            let result = try ingest.run(arguments)
            #expect(result.status == status)
            let last = try #require(result.errors.split(separator: "\n").last)
            let object = try #require(
                try JSONSerialization.jsonObject(with: Data(last.utf8)) as? [String: Any], "\(last)")
            #expect(
                object["level"] as? String == "error" && object["command"] as? String == "crux-ingest"
                    && object["status"] as? Int == Int(status), "\(last)")
            #expect((object["time"] as? String)?.hasSuffix("Z") == true)
        }
    }

    @Test func jsonHasNumbersAsFields() throws {
        let result = try ingest.run([
            "--input", fixture("dump"), "--output", run.folder("json"), "--log-format", "json",
        ])
        let lines = result.errors.split(separator: "\n").compactMap {
            try? JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
        }
        #expect(
            lines.contains { $0["rollouts"] as? Int == 192 && $0["shards"] as? Int == 3 && $0["message"] is String },
            "\(result.errors)")
    }

    @Test func aRunWithoutATerminalSaysThatItIsAlive() throws {
        let alive = try Executable("crux-score").start(
            judged("sleep 1000", ["--log-format", "json"]).filter { $0 != "--quiet" },
            environment: ["CRUX_PROGRESS_SECONDS": "0.2"])
        usleep(1_500_000)
        alive.signal(SIGTERM)
        let result = alive.wait()
        let lines = result.errors.split(separator: "\n").compactMap {
            try? JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
        }
        #expect(
            lines.contains { $0["unit"] as? String == "shards" && $0["total"] as? Int == 3 && $0["done"] as? Int == 0 },
            "\(result.errors)")
        let quiet = try Executable("crux-score").start(
            judged("sleep 1000", ["--overwrite"]), environment: ["CRUX_PROGRESS_SECONDS": "0.1"])
        usleep(600_000)
        quiet.signal(SIGTERM)
        #expect(quiet.wait().errors.split(separator: "\n").count == 1)
    }

    @Test(arguments: ["ingest", "score", "plan", "update", "rollout", "loop", "report", "bench", "probe"])
    func everyExecutableKnowsHelpAndVersion(_ name: String) throws {
        let stage = Executable("crux-" + name), help = try stage.run(["--help"]), version = try stage.run(["--version"])
        #expect(help.status == 0 && help.output.contains("crux-" + name) && help.errors.isEmpty, "\(help)")
        #expect(version.status == 0 && version.output == "0.1.0\n" && version.errors.isEmpty, "\(version)")
        #expect(try stage.run(["--no-such-flag"]).status == 2)
    }

    // MARK: configurations

    @Test func anotherConfigurationNamesKeysAndBothValues() throws {
        try run.score()
        try run.plan(fixture("recipes/dapo-top20.yaml"))
        let other = try run.runPlan(
            fixture("recipes/dapo-top20.yaml"), to: "plan", ["--set", "entropy.mask.top=0.5", "--seed", "3"])
        #expect(other.status == 5, "\(other.errors)")
        #expect(
            other.errors.contains("entropy.mask.top was 0.2, now 0.5") && other.errors.contains("seed was 0, now 3"),
            "\(other.errors)")
        #expect(
            try run.runPlan(fixture("recipes/dapo-top20.yaml"), to: "plan", ["--seed", "3", "--dry-run"]).status == 5)
        let long = try Executable("crux-score").run([
            "--quiet", "--input", run.folder("ingest"), "--output", run.folder("score"), "--reward-command",
            String(repeating: "x", count: 100_000),
        ])
        #expect(
            long.status == 5 && long.errors.count < 2000 && long.errors.contains("reward_command was unset"),
            "\(long.errors.count)")
    }

    @Test func aFinishedUpdateStaysFinishedForOtherThreads() throws {
        try run.score()
        try run.plan(fixture("recipes/dapo-top20.yaml"))
        try run.update()
        let again = try run.runUpdate(["--threads", "1"])
        #expect(again.status == 0 && again.summary["already_done"] as? Bool == true, "\(again.errors)")
    }
}
