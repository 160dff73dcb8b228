import Catalog
import Foundation
import TestSupport
import Testing

/// The catalog as stages fill it and as `crux-runs` finds it again, with real processes.
@Suite struct RunsTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    private var catalog: String { folder("crux-catalog.sqlite") }

    private func runs(_ arguments: [String], environment: [String: String] = [:]) throws -> Executable.Result {
        try Executable("crux-runs").run(arguments, environment: environment)
    }

    private func json(_ arguments: [String]) throws -> [String: Any] {
        let result = try runs(arguments + ["--format", "json"])
        try #require(result.status == 0, "\(arguments): \(result.errors)")
        return result.summary
    }

    private func scan(_ more: [String] = []) throws -> [String: Int] {
        try json(["scan", folder.path] + more).compactMapValues { $0 as? Int }
    }

    /// Paths within the folder, sorted.
    private func listed(_ more: [String] = []) throws -> [String] {
        let all = try json(["list", folder.path, "--limit", "0"] + more)["runs"] as? [[String: Any]] ?? []
        return all.compactMap { $0["path"] as? String }.map { String($0.dropFirst(real.count + 1)) }.sorted()
    }

    private var real: String { URL(fileURLWithPath: folder.path).resolvingSymlinksInPath().path }

    private func stage(_ name: String, _ arguments: [String], environment: [String: String] = [:]) throws {
        let result = try Executable(name).run(["--quiet"] + arguments, environment: environment)
        try #require(result.status == 0, "\(name): \(result.errors)")
    }

    /// The four stages, in `run/`.
    private func pipeline(dump: String = fixture("dump")) throws {
        let at = { (name: String) in folder("run/" + name) }
        try stage("crux-ingest", ["--input", dump, "--output", at("ingest")])
        try stage("crux-score", ["--input", at("ingest"), "--output", at("score")])
        try stage(
            "crux-plan",
            [
                "--input", at("ingest"), "--scores", at("score"), "--output", at("plan"), "--recipe",
                fixture("recipes/dapo-top20.yaml"),
            ])
        try stage(
            "crux-update",
            ["--plan", at("plan"), "--checkpoint", fixture("policy"), "--output", at("update"), "--threads", "2"])
    }

    private let all = ["run/ingest", "run/plan", "run/score", "run/update"]

    // MARK: scan

    @Test func losingTheCatalogLosesNothing() throws {
        _ = try scan()
        try pipeline()
        func details() throws -> [NSDictionary] {
            try all.map { name in
                var shown = try json(["show", folder(name)])
                shown["id"] = nil
                return shown as NSDictionary
            }
        }
        // As the stages have written it themselves.
        #expect(try scan()["unchanged"] == 4)
        let written = try details(), list = try listed()
        #expect(list == all)
        for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: catalog + suffix) }
        let found = try scan()
        #expect(found["new"] == 4 && found["gone"] == 0 && found["skipped_damaged"] == 0, "\(found)")
        #expect(try details() == written)
        #expect(try listed() == list)
        let again = try scan()
        #expect(again["new"] == 0 && again["changed"] == 0 && again["unchanged"] == 4, "\(again)")
    }

    @Test func whatIsSkippedAndWhatIsGoneIsCounted() throws {
        try pipeline()
        _ = try folder.folder("web")
        try writeBytes(Array("{\"name\": \"a browser's\"}".utf8), to: folder("web/manifest.json"))
        let first = try runs(["scan", folder.path])
        #expect(first.status == 0 && first.errors.contains("web/manifest.json"), "\(first.errors)")
        #expect(first.output.contains("4 new") && first.output.contains("skipped: 1 damaged"), "\(first.output)")
        try FileManager.default.moveItem(atPath: folder("run/update"), toPath: folder("run/moved"))
        let moved = try scan()
        #expect(moved["new"] == 1 && moved["gone"] == 1 && moved["unchanged"] == 3, "\(moved)")
        #expect(try listed().contains("run/moved") && !listed().contains("run/update"))
        #expect(try listed(["--gone"]).contains("run/update"))
    }

    /// Directories of earlier versions have no record.
    @Test func runsWithoutARecordAreFoundByTheirManifests() throws {
        try pipeline()
        for name in all { try FileManager.default.removeItem(atPath: folder(name + "/run.json")) }
        #expect(try scan()["new"] == 4)
        #expect(try listed(["--where", "entropy.mask.top = 0.2 and accuracy > 0.3"]) == ["run/plan", "run/update"])
        #expect(try json(["show", folder("run/ingest")])["attempts"] as? [Int] == [])
    }

    @Test func anUnfinishedRunIsListedAsWhatHasBecomeOfIt() throws {
        let calls = try FailingCalls()
        _ = try scan()
        let arguments = ["--quiet", "--input", fixture("dump"), "--output", folder("run/ingest")]
        func state() throws -> String? { try json(["show", folder("run/ingest")])["state"] as? String }
        let killed = try Executable("crux-ingest").run(
            arguments, environment: calls.killing(at: "rename", time: 0, path: "rollouts-00001.arrow"))
        // The stage itself couldn't say.
        #expect(killed.status == -SIGKILL)
        #expect(try listed(["--where", "state = 'killed'"]) == ["run/ingest"])
        let failed = try Executable("crux-ingest").run(
            arguments, environment: calls.environment("open", ENOSPC, path: "rollouts-00002.arrow"))
        #expect(failed.status == 4)
        #expect(try listed(["--where", "state = 'failed' and status = 4 and attempts = 2"]) == ["run/ingest"])
        #expect(try state() == "failed")
        #expect(try Executable("crux-ingest").run(arguments).status == 0)
        #expect(try listed(["--where", "state = 'finished' and attempts = 3"]) == ["run/ingest"])
    }

    // MARK: list and show

    @Test func runsAreFoundByRecipeFiguresAndFields() throws {
        try pipeline()
        _ = try scan()
        #expect(try listed(["--where", "entropy.mask.top = 0.2 and accuracy > 0.3"]) == ["run/plan", "run/update"])
        #expect(try listed(["--where", "stage = 'update' and loss is not null and steps > 0"]) == ["run/update"])
        let text = try runs(["list", folder.path, "--where", "entropy.mask.top = 0.2", "--columns", "kept"])
        #expect(
            text.status == 0 && text.output.contains("entropy.mask.top") && text.output.contains("168"),
            "\(text.output)")
        let sorted = try runs(["list", folder.path, "--sort", "seconds", "--limit", "1"])
        #expect(sorted.output.contains("3 more"), "\(sorted.output)")
    }

    @Test(arguments: [
        (["list", "--where", "entropy.mask.tpo = 1"], 2, "entropy.mask.top"),
        (["list", "--where", "accuracy >"], 2, "at character 11"), (["list", "--sort", "acuracy"], 2, "accuracy"),
        (["list", "--columns", "a,,"], 2, "--columns"), (["list", "--limit", "-1"], 2, "--limit"),
        (["show", "99999"], 3, "crux-runs list"), (["show", "/nowhere/run"], 3, "crux-runs"),
        (["scan", "/nowhere"], 3, "/nowhere"), (["scan"], 2, "folders"), (["lineage", "/nowhere"], 3, "/nowhere"),
    ])
    func whatIsWrongIsNamed(_ arguments: [String], _ status: Int, _ word: String) throws {
        try pipeline()
        _ = try scan()
        let result = try runs(arguments + ["--catalog", catalog])
        #expect(Int(result.status) == status && result.errors.contains(word), "\(result.status) \(result.errors)")
    }

    @Test func withoutACatalogTheWayToOneIsNamed() throws {
        let result = try runs(["list", folder.path])
        #expect(result.status == 3 && result.errors.contains("crux-runs scan"), "\(result.errors)")
    }

    @Test func aLoopAndItsStagesAreRecorded() throws {
        _ = try scan()
        try stage(
            "crux-loop",
            [
                "--recipe", repository("recipes/grpo.yaml"), "--checkpoint", fixture("policy"), "--prompts",
                fixture("prompts-train.jsonl"), "--heldout", fixture("prompts-heldout.jsonl"), "--iterations", "1",
                "--prompts-per-iteration", "4", "--group-size", "4", "--max-tokens", "24", "--batch", "64", "--output",
                folder("loop"), "--threads", "2",
            ])
        let paths = try listed()
        #expect(paths.contains("loop") && paths.contains("loop/iteration-0001/plan") && paths.count > 8, "\(paths)")
        #expect(try listed(["--where", "stage = 'loop' and max(heldout_accuracy) >= 0 and accuracy >= 0"]) == ["loop"])
        #expect(try listed(["--where", "stage = 'loop' and recipe = 'grpo' and advantage.type = 'grpo'"]) == ["loop"])
    }

    // MARK: lineage

    @Test func aCheckpointIsFollowedBackToTheShards() throws {
        try FileManager.default.copyItem(atPath: fixture("dump"), toPath: folder("dump"))
        let at = { (name: String) in folder("run/" + name) }
        try pipeline(dump: folder("dump"))
        let step = try #require(
            try FileManager.default.contentsOfDirectory(atPath: at("update")).first { $0.hasPrefix("step-") })
        let whole = try runs(["lineage", at("update/" + step)])
        #expect(whole.status == 0 && whole.output.contains("whole: 4 runs"), "\(whole.output)\(whole.errors)")
        for word in [
            "update", "plan", "score", "ingest", "input/rollouts-00000.rollouts.zst", "checkpoint/model.safetensors",
        ] {
            #expect(whole.output.contains(word), "no \(word) in \(whole.output)")
        }
        // Moved together they are found without a catalog.
        _ = try folder.folder("elsewhere")
        for name in ["run", "dump"] {
            try FileManager.default.moveItem(atPath: folder(name), toPath: folder("elsewhere/" + name))
        }
        let moved = try runs(["lineage", folder("elsewhere/run/update/" + step)])
        #expect(moved.status == 0 && moved.output.contains("elsewhere/dump"), "\(moved.output)")
        // A shard that is another one now, and one that is gone.
        let shard = folder("elsewhere/dump/rollouts-00001.rollouts.zst")
        try writeBytes(try readBytes(shard) + [0], to: shard)
        try FileManager.default.removeItem(atPath: folder("elsewhere/dump/rollouts-00002.rollouts.zst"))
        let broken = try runs(["lineage", folder("elsewhere/run/update")])
        #expect(broken.status == 3, "\(broken.output)")
        #expect(broken.output.contains("1 inputs not found, 1 differ now"), "\(broken.output)")
    }

    @Test func changedOutputsAndMissingRunsShow() throws {
        try pipeline()
        let scores = folder("run/score/scores-00000.arrow"), before = try readBytes(scores)
        var bytes = before
        bytes[bytes.count / 2] ^= 1
        try writeBytes(bytes, to: scores)
        let changed = try runs(["lineage", folder("run/plan")])
        #expect(changed.status == 3 && changed.output.contains("CHANGED"), "\(changed.output)")
        #expect(changed.output.contains("1 outputs changed"), "\(changed.output)")
        try writeBytes(before, to: scores)
        #expect(try runs(["lineage", folder("run/plan")]).status == 0)
        try FileManager.default.removeItem(atPath: folder("run/score"))
        let missing = try runs(["lineage", folder("run/plan"), "--format", "json"])
        let found = missing.summary["runs"] as? [[String: Any]] ?? []
        let inputs = found.first?["inputs"] as? [[String: Any]] ?? []
        #expect(missing.status == 3 && missing.summary["whole"] as? Bool == false)
        #expect(inputs.first { $0["name"] as? String == "score/manifest.json" }?["state"] as? String == "missing")
    }

    /// A checkpoint that was copied away is known by its bytes.
    @Test func aCopyIsKnownByItsDigest() throws {
        try pipeline()
        _ = try scan()
        let step = try #require(
            try FileManager.default.contentsOfDirectory(atPath: folder("run/update")).first { $0.hasPrefix("step-") })
        try FileManager.default.copyItem(atPath: folder("run/update/" + step), toPath: folder("served"))
        let copy = try runs(["lineage", folder("served")])
        #expect(copy.status == 0 && copy.output.contains("whole: 4 runs"), "\(copy.output)\(copy.errors)")
        let strange = try runs(["lineage", fixture("policy"), "--catalog", catalog])
        #expect(strange.status == 3 && strange.errors.contains("no run that has made it"), "\(strange.errors)")
    }

    // MARK: many at once

    @Test func eightProcessesAtOnceLoseNothing() throws {
        let rounds = 6, environment = ["CRUX_CATALOG": catalog]
        for round in 0..<rounds {
            let processes = try (0..<8).map { number in
                try Executable("crux-ingest").start(
                    ["--input", fixture("dump"), "--output", folder("many/\(round)-\(number)"), "--threads", "1"],
                    environment: environment)
            }
            for process in processes {
                let result = process.wait()
                #expect(result.status == 0 && !result.errors.contains("catalog"), "\(result.errors)")
            }
        }
        let found = try listed(["--where", "state = 'finished' and attempts = 1"])
        #expect(found.count == rounds * 8)
        // And each is what scan would make of it.
        #expect(try scan()["unchanged"] == rounds * 8)
    }

    @Test func tasksOfOneRunAreOneRun() throws {
        _ = try scan()
        let tasks = try (0..<4).map { rank in
            try Executable("crux-ingest").start([
                "--quiet", "--input", fixture("dump"), "--output", folder("out"), "--tasks", "4", "--rank", "\(rank)",
            ])
        }
        for task in tasks { #expect(task.wait().status == 0) }
        #expect(try listed(["--where", "state = 'finished' and tasks = 4 and attempts = 4"]) == ["out"])
        #expect(try scan()["unchanged"] == 1)
    }

    // MARK: a catalog that is none

    private func ingest(_ output: String, environment: [String: String] = [:]) throws -> Executable.Result {
        try Executable("crux-ingest").run(
            ["--input", fixture("dump"), "--output", folder(output)], environment: environment)
    }

    private func expectDoneWithOneWarning(_ result: Executable.Result, _ words: String...) {
        let warnings = result.errors.split(separator: "\n").filter { $0.contains("not in the catalog") }
        #expect(result.status == 0 && warnings.count == 1, "\(result.status) \(result.errors)")
        for word in words { #expect(result.errors.contains(word), "no '\(word)' in \(result.errors)") }
    }

    @Test func whatIsNoCatalogNeverFailsAStage() throws {
        try writeBytes(Array(repeating: UInt8(ascii: "x"), count: 5000), to: catalog)
        expectDoneWithOneWarning(try ingest("one"), "no SQLite database", "crux-runs scan")
        try FileManager.default.removeItem(atPath: catalog)
        try FileManager.default.createDirectory(atPath: catalog, withIntermediateDirectories: false)
        expectDoneWithOneWarning(try ingest("two"), catalog)
        try FileManager.default.removeItem(atPath: catalog)
        expectDoneWithOneWarning(
            try ingest("three", environment: ["CRUX_CATALOG": "/nowhere/at/all.sqlite"]), "/nowhere/at/all.sqlite")
        // Nobody wants one, or has made one.
        let quiet = try ingest("four")
        #expect(
            quiet.status == 0 && !quiet.errors.contains("catalog") && !FileManager.default.fileExists(atPath: catalog))
        _ = try scan()
        try writeBytes(Array(repeating: UInt8(ascii: "x"), count: 5000), to: catalog)
        #expect(try !ingest("five", environment: ["CRUX_CATALOG": "none"]).errors.contains("catalog"))
    }

    @Test func aReadOnlyCatalogNeverFailsAStageAndCanBeRead() throws {
        _ = try ingest("one")
        _ = try scan()
        let calls = try FailingCalls()
        // The first opening is for writing; SQLite then tries to read.
        let refused = calls.environment("open", EROFS, count: 1, path: "crux-catalog.sqlite")
        let begun = try ingest("two", environment: refused)
        // At the end it could be written to.
        #expect(begun.status == 0 && !begun.errors.contains("not in the catalog"), "\(begun.errors)")
        let never = calls.environment("open", EROFS, path: "crux-catalog.sqlite")
        expectDoneWithOneWarning(try ingest("three", environment: never), "crux-catalog.sqlite")
        let listed = try runs(["list", folder.path], environment: refused)
        #expect(listed.status == 0 && listed.output.contains("one"), "\(listed.errors)")
    }

    @Test func aFullDiskUnderTheCatalogNeverFailsAStage() throws {
        _ = try scan()
        let calls = try FailingCalls()
        let full = calls.environment("pwrite64", ENOSPC, path: "crux-catalog.sqlite")
        expectDoneWithOneWarning(try ingest("one", environment: full), "crux-catalog.sqlite")
        #expect(try scan()["new"] == 1)
    }

    @Test func aLockedCatalogCostsAStageAFewSecondsAndAWarning() throws {
        _ = try scan()
        let database = try CatalogDatabase(CatalogPlace(named: catalog), .write)
        // Nobody else writes while a run is looked at.
        try database.record {
            expectDoneWithOneWarning(try ingest("one"), "locked", "crux-runs scan")
            return nil
        }
        #expect(try scan()["new"] == 1)
    }
}
