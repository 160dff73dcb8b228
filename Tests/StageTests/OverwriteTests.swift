import Foundation
import TestSupport
import Testing

/// `--overwrite` deletes what runs of the directory have made, and never what anybody reads.
@Suite struct OverwriteTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    /// Refused, with every file where it was.
    private func expectRefused(
        _ name: String, _ arguments: [String], _ status: Int32, _ words: String...,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let before = try contents(of: folder.path)
        let result = try Executable(name).run(["--quiet"] + arguments)
        #expect(
            result.status == status, "\(name) \(arguments): \(result.status) \(result.errors)",
            sourceLocation: sourceLocation)
        for word in words { #expect(result.errors.contains(word), "\(result.errors)", sourceLocation: sourceLocation) }
        #expect(try contents(of: folder.path) == before, "\(name) \(arguments)", sourceLocation: sourceLocation)
    }

    @Test func outputsThatAreOrHoldAnInputAreRefused() throws {
        try FileManager.default.copyItem(atPath: fixture("dump"), toPath: folder("dump"))
        try FileManager.default.createSymbolicLink(atPath: folder("link"), withDestinationPath: folder("dump"))
        let dump = folder("dump"), shard = dump + "/rollouts-00000.rollouts.zst"
        for output in [dump, dump + "/", dump + "/../dump/.", folder("link"), folder.path] {
            for more in [[], ["--overwrite"], ["--logits", "copy"], ["--logits", "copy", "--overwrite"]] {
                try expectRefused("crux-ingest", ["--input", dump, "--output", output] + more, 2, "--output")
                try expectRefused("crux-ingest", ["--input", shard, "--output", output] + more, 2, "--output")
            }
        }
        try expectRefused(
            "crux-ingest", ["--input", dump, "--output", dump + "/ingest", "--overwrite"], 2, "inside of the input")
        // Beside the shards is a place like any other, as long as nothing there has to be emptied.
        #expect(try ingest.run(["--quiet", "--input", dump, "--output", dump + "/ingest"]).status == 0)
    }

    @Test func everyStageKeepsItsInputs() throws {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        try run.plan(fixture("recipes/dapo-top20.yaml"))
        try FileManager.default.removeItem(atPath: folder.path)
        try FileManager.default.copyItem(atPath: run.folder.path, toPath: folder.path)
        try FileManager.default.copyItem(atPath: fixture("policy"), toPath: folder("policy"))
        try FileManager.default.copyItem(atPath: fixture("prompts-train.jsonl"), toPath: folder("prompts.jsonl"))
        try FileManager.default.copyItem(atPath: fixture("recipes/dapo-top20.yaml"), toPath: folder("recipe.yaml"))
        let (ingest, score, plan, policy) = (folder("ingest"), folder("score"), folder("plan"), folder("policy"))
        let planning = ["--input", ingest, "--scores", score, "--recipe", folder("recipe.yaml")]
        let updating = ["--plan", plan, "--checkpoint", policy, "--threads", "1"]
        let sampling = ["--checkpoint", policy, "--prompts", folder("prompts.jsonl")]
        let looping = [
            "--checkpoint", policy, "--prompts", folder("prompts.jsonl"), "--recipe", folder("recipe.yaml"),
            "--iterations", "1",
        ]
        for more in [[], ["--overwrite"]] {
            for output in [ingest, folder.path, ingest + "/score"] {
                try expectRefused("crux-score", ["--input", ingest, "--output", output] + more, 2, "--output")
            }
            for output in [ingest, score, folder.path] {
                try expectRefused("crux-plan", planning + ["--output", output] + more, 2, "--output")
            }
            for output in [plan, policy, policy + "/update", folder.path] {
                try expectRefused("crux-update", updating + ["--output", output] + more, 2, "--output")
            }
            for output in [policy, folder.path] {
                try expectRefused("crux-rollout", sampling + ["--output", output] + more, 2, "--output")
            }
            for output in [policy, folder.path] {
                try expectRefused("crux-loop", looping + ["--output", output] + more, 2, "--output")
            }
            // Another stage's, which is no input.
            try expectRefused("crux-rollout", sampling + ["--output", score] + more, 5, "crux-score")
        }
        try expectRefused(
            "crux-update", updating + ["--output", folder("update"), "--resume-from", folder("update")], 2, "--output")
        try expectRefused(
            "crux-report", ["--input", ingest, "--scores", score, "--output", score + "/entropy"], 2, "--output")
    }

    @Test func onlyWhatRunsHaveMadeIsDeleted() throws {
        let output = folder("out"), dump = ["--quiet", "--input", fixture("dump"), "--output", output]
        #expect(try ingest.run(dump + ["--logits", "copy"]).status == 0)
        let mine = [
            "mine.arrow", "step-000001/model.safetensors", "iteration-notes.txt", "copy.rollouts.zst", "jobs/list.txt",
            "metrics.csv",
        ]
        for name in mine {
            try FileManager.default.createDirectory(
                atPath: ((output + "/" + name) as NSString).deletingLastPathComponent, withIntermediateDirectories: true
            )
            try writeBytes(Array(name.utf8), to: output + "/" + name)
        }
        let result = try ingest.run(dump + ["--logits", "drop", "--overwrite"])
        #expect(result.status == 0, "\(result.errors)")
        let left = try contents(of: output)
        for name in mine { #expect(left[name] == Data(name.utf8), "\(name)") }
        #expect(!left.keys.contains { $0.hasPrefix("logits-") })
    }

    /// The names in a manifest are a file's text: they don't lead out of the directory.
    @Test func aManifestThatNamesOtherPlacesDeletesNothingThere() throws {
        let output = folder("out"), dump = ["--quiet", "--input", fixture("dump"), "--output", output]
        #expect(try ingest.run(dump).status == 0)
        try writeBytes([1], to: folder("victim"))
        _ = try folder.folder("elsewhere")
        try writeBytes([1], to: folder("elsewhere/victim"))
        try FileManager.default.createSymbolicLink(atPath: output + "/link", withDestinationPath: folder("elsewhere"))
        let path = output + "/manifest.json", whole = try readBytes(path)
        for name in ["../victim", folder("victim"), "link/victim", "a/../../victim"] {
            var manifest = try #require(
                try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: path))) as? [String: Any])
            manifest["outputs"] = (manifest["outputs"] as? [[String: Any]] ?? []) + [["path": name]]
            try JSONSerialization.data(withJSONObject: manifest).write(to: URL(fileURLWithPath: path))
            // Names that lead out are refused as damage, a link's is passed over.
            let result = try ingest.run(dump + ["--overwrite"])
            #expect(result.status == (name == "link/victim" ? 0 : 3), "\(name): \(result.errors)")
            if result.status != 0 { try writeBytes(whole, to: path) }
            #expect(try readBytes(folder("victim")) == [1] && readBytes(folder("elsewhere/victim")) == [1], "\(name)")
        }
    }

    @Test func nothingIsEmptiedBeforeTheInputsAreKnownToBeGood() throws {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        try run.plan(fixture("recipes/dapo-top20.yaml"))
        try FileManager.default.removeItem(atPath: folder.path)
        try FileManager.default.copyItem(atPath: run.folder.path, toPath: folder.path)
        try Data("{}".utf8).write(to: URL(fileURLWithPath: folder("bad.yaml")))
        try expectRefused(
            "crux-ingest", ["--input", folder("missing"), "--output", folder("ingest"), "--overwrite"], 3, "missing")
        let planning = [
            "--input", folder("ingest"), "--scores", folder("score"), "--output", folder("plan"), "--overwrite",
            "--recipe",
        ]
        try expectRefused("crux-plan", planning + [folder("nothing.yaml")], 3, "nothing.yaml")
        try writeBytes(
            readBytes(folder("ingest/rollouts-00001.arrow")).dropLast(8), to: folder("ingest/rollouts-00001.arrow"))
        try expectRefused("crux-plan", planning + [fixture("recipes/dapo-top20.yaml")], 3, "rollouts-00001.arrow")
        try expectRefused(
            "crux-score", ["--input", folder("ingest"), "--output", folder("score"), "--overwrite"], 3,
            "rollouts-00001.arrow")
        try expectRefused(
            "crux-update",
            ["--plan", folder("plan"), "--checkpoint", folder("missing"), "--output", folder("u"), "--overwrite"], 3,
            "missing")
    }

    /// A stranger's file under the name of an output is not written over.
    @Test func aFileThatNobodyOfUsMadeIsKept() throws {
        let output = try folder.folder("out")
        try writeBytes([7], to: output + "/rollouts-00001.arrow")
        let result = try ingest.run(["--quiet", "--input", fixture("dump"), "--output", output])
        #expect(
            result.status == 5 && result.errors.contains("rollouts-00001.arrow"), "\(result.status) \(result.errors)")
        #expect(try readBytes(output + "/rollouts-00001.arrow") == [7])
    }
}
