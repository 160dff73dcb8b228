import Files
import Formats
import Foundation
import StageSupport

@testable import Ingest
@testable import Plan
@testable import Score
@testable import Update

/// A small run of all stages, made once, whose files an execution changes for as long as it takes.
final class FuzzedRun {
    let folder: String
    /// By their paths from `folder`.
    private var original: [String: [UInt8]] = [:]
    /// The folder of outputs; not there when an execution begins.
    var output: String { folder + "/out" }

    /// Tiny, of `TinyDump.vocabulary` tokens.
    static let policy = "policy"
    static let plans = ["plan", "plan-lora", "plan-pairs"]

    /// `parts`: folders whose files are changed; `more` makes what a target needs beside the run.
    init(folder: String, changing parts: [String], more: (FuzzedRun) throws -> Void = { _ in }) throws {
        self.folder = folder
        try FileManager.default.copyItem(atPath: fixture("families/qwen2-tied"), toPath: folder + "/policy")
        try TinyDump.write(to: folder + "/dump/shard.rollouts.zst")
        try runStage(IngestCommand.self, ["--input", folder + "/dump", "--output", folder + "/ingest", "--score"])
        try runStage(
            ScoreCommand.self, ["--input", folder + "/ingest", "--output", folder + "/score", "--reward", "given"])
        for (name, recipe) in [
            ("plan", "grpo"), ("plan-lora", "grpo"), ("plan-pairs", "dpo"), ("expansion", "fr3e"),
        ] {
            let lora =
                name == "plan-lora" ? ["--set", "trainable={type: lora, rank: 2, alpha: 4, targets: [q_proj]}"] : []
            try runStage(PlanCommand.self, planArguments(recipe) + lora + ["--output", "\(folder)/\(name)"])
        }
        try runStage(UpdateCommand.self, updateArguments("plan") + ["--output", folder + "/update"])
        try more(self)
        original = try parts.reduce(into: [:]) { files, part in
            for name in try Folder.files(below: folder + "/" + part) {
                files[part + "/" + name] = Array(
                    try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(part)/\(name)")))
            }
        }
    }

    func planArguments(_ recipe: String) -> [String] {
        [
            "--input", folder + "/ingest", "--scores", folder + "/score", "--recipe",
            fixture("../recipes/\(recipe).yaml"),
        ]
    }

    func updateArguments(_ plan: String) -> [String] {
        ["--plan", "\(folder)/\(plan)", "--checkpoint", folder + "/policy", "--memory", "64M"]
    }

    /// Changes the files by `bytes`, runs `body`, and puts everything back.
    func changed(by bytes: UnsafeRawBufferPointer, _ body: () throws -> Void) throws {
        var files = original, edits = Edits(bytes)
        edits.apply(to: &files)
        let touched = original.keys.filter { files[$0] != original[$0] }
        defer {
            for name in touched { restore(name, original[name]) }
            try? FileManager.default.removeItem(atPath: output)
        }
        for name in touched { restore(name, files[name]) }
        describeAnew(touched)
        try body()
    }

    private func restore(_ name: String, _ contents: [UInt8]?) {
        let path = folder + "/" + name
        guard let contents else {
            unlink(path)
            return
        }
        do { try contents.withUnsafeBytes { try $0.write(to: path) } } catch { fatalError("\(path): \(error)") }
    }

    /// Makes manifests say what their files are now, so that nothing but what they hold is wrong. What can't be
    /// described stays as it is.
    private func describeAnew(_ touched: [String]) {
        for part in Set(touched.compactMap { $0.split(separator: "/").first.map(String.init) }) {
            let directory = folder + "/" + part
            guard var manifest = try? Manifest.read(directory) else { continue }
            for index in manifest.outputs.indices {
                let old = manifest.outputs[index]
                manifest.outputs[index] =
                    (try? Manifest.describe(old.path, in: directory, rows: old.rows)) ?? old
            }
            try? manifest.write(to: directory)
        }
    }
}

/// Runs a stage inside this process, as its executable's main does.
@discardableResult
func runStage<Command: StageCommand>(_ command: Command.Type, _ arguments: [String]) throws -> StageSummary {
    MappedFiles.forget()
    let parsed = try Command.parse(arguments + ["--quiet", "--threads", "1"])
    return try parsed.runStage(StageContext(stage: Command.stage, options: parsed.options))
}
