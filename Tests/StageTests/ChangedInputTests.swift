import Foundation
import TestSupport
import Testing

/// Files that somebody cuts off or writes to while a stage has them mapped: an error that names the file, never a signal,
/// and nothing that was made of them looks whole. Where the files are what they were, the next run has the right bytes.
@Suite struct ChangedInputTests {
    private let calls: FailingCalls
    private let run: Pipeline

    init() throws { (calls, run) = (try FailingCalls(), try Pipeline()) }

    /// Most times that any of the stages here maps one file.
    private static let mostTimes = 8

    private static func words(_ change: FailingCalls.FileChange) -> String {
        switch change {
        case .cutOff: "it was cut off at"
        case .longer: "it was written to while it was read"
        }
    }

    /// Changes `input` each time that it is mapped, one run for each, and expects that there are such times.
    private func expectRefused(_ executable: String, _ arguments: (String) -> [String], changing input: String) throws {
        let whole = try Data(contentsOf: URL(fileURLWithPath: input)), undisturbed = run.folder("undisturbed")
        #expect(try Executable(executable).run(arguments(undisturbed)).status == 0)
        let expected = try Self.compared(undisturbed)
        var times = 0
        for change in FailingCalls.FileChange.allCases {
            for time in 0..<Self.mostTimes {
                let output = run.folder("\(change)-\(time)")
                let result = try Executable(executable).run(
                    arguments(output), environment: calls.changing(change, time: time, path: input))
                let isChanged = try Data(contentsOf: URL(fileURLWithPath: input)) != whole
                try whole.write(to: URL(fileURLWithPath: input))
                guard isChanged else {
                    #expect(result.status == 0, "\(result.errors)")
                    break
                }
                times += 1
                #expect(result.status == 4, "\(change), time \(time): \(result.status) \(result.errors)")
                let name = (input as NSString).lastPathComponent
                #expect(result.errors.contains(name) && result.errors.contains(Self.words(change)), "\(result.errors)")
                #expect(!FileManager.default.fileExists(atPath: output + "/manifest.json"))
                let again = try Executable(executable).run(arguments(output))
                #expect(again.status == 0, "\(again.errors)")
                #expect(try Self.compared(output) == expected, "\(change), time \(time)")
            }
        }
        #expect(times > 1, "\(input) was mapped \(times) times")
        try removeOutputs()
    }

    /// So that another input of the same test begins anew.
    private func removeOutputs() throws {
        let names = FailingCalls.FileChange.allCases.map { "\($0)-" } + ["undisturbed"]
        for name in try FileManager.default.contentsOfDirectory(atPath: run.folder.path)
        where names.contains(where: name.hasPrefix) {
            try FileManager.default.removeItem(atPath: run.folder(name))
        }
    }

    /// A folder's files, or a file alone; without the times of an update's steps.
    private static func compared(_ output: String) throws -> [String: Data] {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: output, isDirectory: &isFolder), isFolder.boolValue else {
            return ["": try Data(contentsOf: URL(fileURLWithPath: output))]
        }
        return try contents(of: output).filter { $0.key != "metrics.arrow" }
    }

    /// Of several pages, so that what is missing is no end of a page that is there.
    private func copyDump() throws -> String {
        let dump = run.folder("dump")
        try FileManager.default.copyItem(atPath: fixture("dump"), toPath: dump)
        return dump
    }

    private func copyCheckpoint() throws -> String {
        let policy = run.folder("policy")
        try FileManager.default.copyItem(atPath: fixture("policy"), toPath: policy)
        return policy
    }

    @Test(arguments: [[], ["--logits", "copy"], ["--score"]]) func shardOfIngest(_ more: [String]) throws {
        let dump = try copyDump()
        try expectRefused(
            "crux-ingest", { ["--quiet", "--threads", "2", "--input", dump, "--output", $0] + more },
            changing: dump + "/rollouts-00001.rollouts.zst")
    }

    /// Lines that are appended to while they are read may end anywhere.
    @Test func linesOfIngest() throws {
        let lines = run.folder("lines.jsonl")
        try FileManager.default.copyItem(atPath: fixture("cases/A11-canonical-equality/in.jsonl"), toPath: lines)
        try expectRefused(
            "crux-ingest", { ["--quiet", "--input", lines, "--output", $0] }, changing: lines)
    }

    @Test func tablesAndShardsOfScore() throws {
        let dump = try copyDump()
        try run.ingest(dump)
        for input in [run.folder("ingest/rollouts-00001.arrow"), dump + "/rollouts-00001.rollouts.zst"] {
            try expectRefused(
                "crux-score", { ["--quiet", "--threads", "2", "--input", run.folder("ingest"), "--output", $0] },
                changing: input)
        }
    }

    @Test func weightsOfScore() throws {
        let policy = try copyCheckpoint()
        try run.ingest()
        try expectRefused(
            "crux-score",
            { ["--quiet", "--threads", "2", "--input", run.folder("ingest"), "--checkpoint", policy, "--output", $0] },
            changing: policy + "/model.safetensors")
    }

    @Test func tablesOfPlan() throws {
        try run.ingest()
        try run.score()
        for input in ["ingest/rollouts-00001.arrow", "score/scores-00001.arrow"] {
            try expectRefused(
                "crux-plan",
                {
                    [
                        "--quiet", "--input", run.folder("ingest"), "--scores", run.folder("score"), "--recipe",
                        repository("recipes/dapo-top20.yaml"), "--output", $0,
                    ]
                }, changing: run.folder(input))
        }
    }

    @Test func planAndWeightsOfUpdate() throws {
        let policy = try copyCheckpoint()
        try run.ingest()
        try run.score()
        try run.plan(repository("recipes/dapo-top20.yaml"))
        for input in [run.folder("plan/plan.arrow"), policy + "/model.safetensors"] {
            try expectRefused(
                "crux-update",
                {
                    [
                        "--quiet", "--threads", "2", "--plan", run.folder("plan"), "--checkpoint", policy,
                        "--save-every", "1", "--output", $0,
                    ]
                }, changing: input)
        }
    }

    @Test func weightsOfRollout() throws {
        let policy = try copyCheckpoint(), prompts = run.folder("prompts.jsonl")
        let lines = try String(contentsOfFile: fixture("prompts-train.jsonl"), encoding: .utf8).split(separator: "\n")
        try lines.prefix(2).joined(separator: "\n").write(toFile: prompts, atomically: true, encoding: .utf8)
        try expectRefused(
            "crux-rollout",
            {
                [
                    "--quiet", "--threads", "2", "--checkpoint", policy, "--prompts", prompts, "--group-size", "2",
                    "--max-tokens", "8", "--output", $0,
                ]
            }, changing: policy + "/model.safetensors")
    }

    /// A report has no manifest that would say that it is whole: its name does.
    @Test func tablesOfAPage() throws {
        try run.ingest()
        try run.score()
        try expectRefused(
            "crux-report",
            {
                [
                    "page", "--quiet", "--input", run.folder("ingest"), "--scores", run.folder("score"), "--output",
                    $0,
                ]
            }, changing: run.folder("score/scores-00001.arrow"))
    }
}
