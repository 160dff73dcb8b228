import Files
import Foundation
import SlurmJobs
import StageSupport

/// Writes a chain's scripts and submits those that have something to do.
struct ChainSubmission {
    private let steps: [(step: Chain.Step, script: JobScript)]
    private let folder: String
    private let resubmits: Bool
    private let context: StageContext
    private let queue = SlurmQueue()

    /// `folder`: of scripts and logs, beside the stages' directories.
    init(_ chain: Chain, _ command: SlurmCommand, _ context: StageContext) throws {
        let root = resolvedPath(command.output), folder = root + "/slurm"
        guard !folder.contains(where: { $0.isNewline || $0 == "\\" }) else {
            throw StageError(
                .usage, "--output \(command.output): Slurm takes no path with a backslash or a line break.")
        }
        (self.folder, self.context, resubmits) = (folder, context, command.resubmit)
        let prefix = JobScript.prefix(of: root)
        steps = try chain.steps.map { step in
            (
                step,
                JobScript(
                    step: step.name, prefix: prefix, work: step.work,
                    request: try command.jobs.request(for: step.stage, threads: command.options.threads),
                    folder: folder, workingFolder: FileManager.default.currentDirectoryPath,
                    requeues: command.jobs.requeues)
            )
        }
    }

    // MARK: without submitting

    private var submitPath: String { folder + "/submit.sh" }

    /// Writes scripts, and `submit.sh` with the lines that would submit all of them, which is also what it says.
    func write() throws -> StageSummary {
        for (_, script) in steps { try script.write() }
        try AtomicFile.write(lines, to: submitPath)
        let byHand = "bash " + ShellText.quoted(submitPath)
        context.say("\(steps.count) scripts in \(folder); nothing is submitted. By hand: \(byHand)")
        var summary = StageSummary(["scripts": folder])
        summary.text = lines
        return summary
    }

    /// A shell script: each job's number is kept in a variable for those that wait for it.
    private var lines: String {
        let numbers = Dictionary(
            uniqueKeysWithValues: steps.enumerated().map { ($1.step.name, "job\($0 + 1)") })
        let calls = steps.map { step, script in
            let waits = step.after.compactMap { wait in numbers[wait.step].map { wait.flag("$" + $0) } }
            let words = SlurmQueue.flags(after: waits).joined(separator: " ")
            return "\(numbers[step.name] ?? "")=$(sbatch \(words) \(ShellText.quoted(script.path)))"
        }
        return (["#!/bin/bash", "set -e"] + calls).joined(separator: "\n") + "\n"
    }

    // MARK: submitting

    private enum Fate: Equatable {
        case finished
        /// In the queue already.
        case queued(QueuedJob)
        /// All of it, or some members of a sweep.
        case submitted(members: [Int]?)
    }

    func submit() throws -> StageSummary {
        try Folder.create(folder)
        guard let lock = try LockFile.take(folder + "/.lock", .exclusive) else {
            throw StageError(.interrupted, "\(folder): another crux slurm is submitting this run. Run again.")
        }
        defer { lock.release() }
        // All fates first, so that a refusal comes before anything is submitted.
        let fates = try fates(among: try queue.jobs())
        var numbers: [String: Int] = [:]
        for ((step, script), fate) in zip(steps, fates) {
            try context.checkInterruption()
            numbers[step.name] = try carryOut(fate, step, script, numbers)
        }
        return StageSummary(["jobs": numbers, "scripts": folder, "output": parentFolder(folder)])
    }

    /// What comes behind a step that runs again runs again too: it sees whether that has changed anything.
    private func fates(among queued: [QueuedJob]) throws -> [Fate] {
        var moving: Set<String> = []
        return try steps.map { step, script in
            var fate = try fate(step, script, queued)
            if fate == .finished, step.after.contains(where: { moving.contains($0.step) }) {
                fate = .submitted(members: nil)
            }
            switch fate {
            // Members that are left to do have others beside them that are finished.
            case .finished, .submitted(.some): break
            case .queued, .submitted(nil): moving.insert(step.name)
            }
            return fate
        }
    }

    /// Where the script has changed since a step was finished, the stage itself says what that means.
    private func fate(_ step: Chain.Step, _ script: JobScript, _ queued: [QueuedJob]) throws -> Fate {
        if let job = queued.last(where: { $0.name.hasPrefix(script.namePrefix) }) {
            guard job.name == script.jobName else {
                throw StageError(
                    .otherConfiguration,
                    "\(step.name): job \(job.number) in the queue runs another script than this command writes. "
                        + "Let it end, or scancel \(job.number), and run again.")
            }
            return .queued(job)
        }
        let isSame = try readFile(script.path) == Data(script.text.utf8)
        guard isSame, !resubmits else { return .submitted(members: nil) }
        let left = try members(step).filter { try !isFinished($0.outputs) }
        if left.isEmpty { return .finished }
        return .submitted(members: left.count == step.outputs.count ? nil : left.map(\.index))
    }

    /// A plan is done with again while its update isn't finished: it says at once that it is, and the two arrays keep
    /// the same members.
    private func members(_ step: Chain.Step) -> [(index: Int, outputs: [String])] {
        let follower = steps.first { $0.step.after.contains(.sameMember(step.name)) }?.step
        return step.outputs.indices.map { index in
            (index, [step.outputs[index]] + (follower.map { [$0.outputs[index]] } ?? []))
        }
    }

    private func isFinished(_ outputs: [String]) throws -> Bool {
        try outputs.allSatisfy { try Manifest.read($0) != nil }
    }

    /// Returns the number of the job that those behind it wait for.
    private func carryOut(
        _ fate: Fate, _ step: Chain.Step, _ script: JobScript, _ numbers: [String: Int]
    ) throws -> Int? {
        switch fate {
        case .finished:
            context.say("\(step.name): finished already; --resubmit has the stage look at its inputs again")
            return nil
        case .queued(let job):
            context.say("\(step.name): job \(job.number) is in the queue already: \(job.states)")
            return job.number
        case .submitted(let members):
            try script.write()
            let waits = step.after.compactMap { wait in numbers[wait.step].map { wait.flag("\($0)") } }
            let number = try queue.submit(script, after: waits, members: members)
            let which = members.map { ", members " + $0.map { "\($0)" }.joined(separator: ",") } ?? ""
            context.say(
                "\(step.name): job \(number)\(which)\(waits.isEmpty ? "" : ", " + waits.joined(separator: ","))",
                ["step": step.name, "job": number])
            return number
        }
    }
}
