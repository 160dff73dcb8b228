import ArgumentParser
import Files
import Foundation
import Models
import StageSupport

/// A checkpoint and what a step of an update has otherwise → that step's folder, byte by byte.
struct ApplyDeltaCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-update apply-delta",
        abstract: "Makes a step's checkpoint of the one that the update began with and of what --delta has written.",
        version: cruxVersion)
    static let stage = "apply-delta"

    @Option(help: "Hugging Face checkpoint that the update began with.", transform: ModelFolder.path)
    var checkpoint: String

    @Option(help: "Folder delta-NNNNNN of the update.")
    var delta: String

    @Option(help: "Folder to make: a checkpoint and nothing else.")
    var output: String

    @OptionGroup var options: StageOptions

    func runStage(_ context: StageContext) throws -> StageSummary {
        try Undertaking.requireApart(output, [checkpoint, delta].map { InputPlace($0) }, options)
        let base = try openBase(), delta = CheckpointDelta(directory: delta), count = try delta.count(of: base)
        guard options.share.rank == 0 else { return StageSummary(["output": output, "left_to_rank_0": true]) }
        var summary: [String: any Sendable] = ["changed": count.changed, "elements": count.elements]
        if options.dryRun {
            summary["would_write"] = output
            return StageSummary(summary)
        }
        let lock = try lock()
        defer { lock.release() }
        summary["output"] = output
        if try isDone(delta, base) {
            context.say("\(output) is finished already; nothing to do")
            summary["already_done"] = true
            return StageSummary(summary)
        }
        try make(delta, base)
        context.say("\(output): \(count.changed) of \(count.elements) numbers changed")
        return StageSummary(summary)
    }

    /// As what the checkpoint is.
    private func openBase() throws -> Checkpoint {
        let critic = try Checkpoint(directory: checkpoint, as: .critic)
        return critic.hasFreshValueHead ? try Checkpoint(directory: checkpoint) : critic
    }

    private func lock() throws -> LockFile {
        let parent = parentFolder(output)
        if !parent.isEmpty { try Folder.create(parent) }
        guard let lock = try LockFile.take(output + ".lock" + AtomicFile.temporarySuffix, .exclusive) else {
            throw StageError(.interrupted, "\(output): another run is making it; run again when that has ended")
        }
        return lock
    }

    /// Whether the folder is what it is to become. Throws (5) where it is something else that may not be replaced.
    private func isDone(_ delta: CheckpointDelta, _ base: Checkpoint) throws -> Bool {
        guard try fileExists(output) else { return false }
        let found = try Folder.isFolder(output) ? try Folder.names(output) : nil
        if !options.overwrite, try delta.isApplied(to: base, in: output) { return true }
        let known = Set(try Folder.names(checkpoint))
        let stray = found.map { $0.first { !known.contains($0) } } ?? "a file"
        if options.overwrite, stray == nil { return false }
        throw StageError(
            .otherConfiguration,
            "\(output): found "
                + (stray.map { "\($0), which is none of the checkpoint's files" } ?? "another checkpoint")
                + (stray == nil ? ". Choose another --output, or --overwrite." : ". Choose another --output."))
    }

    private func make(_ delta: CheckpointDelta, _ base: Checkpoint) throws {
        let folder = try AtomicFolder(output)
        do {
            try delta.apply(to: base, writing: folder.unfinished)
            try folder.commit()
        } catch {
            try? Folder.remove(folder.unfinished)
            throw error
        }
    }
}
