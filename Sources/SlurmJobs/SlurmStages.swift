import Files
import Foundation
import StageSupport

/// Runs a loop's stages as Slurm's jobs, one after the other: submits, waits, and looks at the stage's directory, whose
/// manifest says that it is finished. Nothing else is remembered: a job is known by its name in the queue, so that a
/// loop that was killed finds the job it was waiting for.
package struct SlurmStages: StageRunner {
    private let root: String
    private let options: SlurmOptions
    private let threads: Int
    private let pollSeconds: Int
    private let context: StageContext
    private let queue = SlurmQueue()

    /// `root`: the loop's output, which the stages' directories lie in.
    package init(root: String, _ options: SlurmOptions, threads: Int, pollSeconds: Int, _ context: StageContext) {
        (self.root, self.options, self.threads) = (resolvedPath(root), options, threads)
        (self.pollSeconds, self.context) = (pollSeconds, context)
    }

    package func run(_ name: String, _ arguments: [String]) throws {
        guard let stage = PipelineStage(executable: name), let output = Self.output(arguments) else {
            throw StageError(.usage, "\(name): no stage that runs as a job")
        }
        try context.checkInterruption()
        guard try !isFinished(output) else { return }
        let script = try script(stage, output, arguments)
        let number = try job(script)
        try wait(for: number, script)
        try settle(output, number, script)
    }

    // MARK: the job

    private static func output(_ arguments: [String]) -> String? {
        arguments.firstIndex(of: "--output").map { arguments[$0 + 1] }.map(resolvedPath)
    }

    private func script(_ stage: PipelineStage, _ output: String, _ arguments: [String]) throws -> JobScript {
        let place = output.hasPrefix(root + "/") ? String(output.dropFirst(root.count + 1)) : output
        // Results of jobs are joined by one task.
        let tasks = stage == .ingest && arguments.contains("--jobs") ? 1 : options.tasks(of: stage)
        return JobScript(
            step: place.map { $0 == "/" ? "-" : "\($0)" }.joined(),
            prefix: JobScript.prefix(of: root),
            work: .shared([options.folder() + "/" + stage.executable] + arguments, tasks: tasks),
            request: try options.request(for: stage, threads: threads), folder: parentFolder(output) + "/slurm",
            workingFolder: FileManager.default.currentDirectoryPath, requeues: options.requeues)
    }

    /// The one in the queue, or a new one.
    private func job(_ script: JobScript) throws -> Int {
        if let found = try queue.jobs().last(where: { $0.name.hasPrefix(script.namePrefix) }) {
            context.say("job \(found.number) (\(script.step)) is in the queue already: \(found.states)")
            return found.number
        }
        try script.write()
        let number = try queue.submit(script)
        context.say("job \(number): \(script.step)", ["job": number, "step": script.step])
        return number
    }

    // MARK: waiting

    /// How long Slurm may not answer.
    private static let patience = 600.0

    private func wait(for number: Int, _ script: JobScript) throws {
        var states = "", lastAnswer = Date()
        while true {
            do {
                guard let job = try queue.jobs().first(where: { $0.number == number }) else { return }
                lastAnswer = Date()
                if job.states != states { context.say("job \(number) (\(script.step)): \(job.states)") }
                states = job.states
            } catch {
                guard Date().timeIntervalSince(lastAnswer) < Self.patience else { throw error }
                context.warn("\(error); asking again")
            }
            try pause(number, script)
        }
    }

    private func pause(_ number: Int, _ script: JobScript) throws {
        for _ in 0..<pollSeconds * 5 {
            do { try context.checkInterruption() } catch {
                context.warn(
                    "job \(number) (\(script.step)) goes on; the same command finds it again, scancel \(number) ends it"
                )
                throw error
            }
            usleep(200_000)
        }
    }

    // MARK: how it ended

    /// A manifest whose outputs are there in their length.
    private func isFinished(_ output: String) throws -> Bool {
        guard let manifest = try Manifest.read(output) else { return false }
        return try manifest.outputs.allSatisfy { file in
            guard let status = try fileStatus(output + "/" + file.path) else { return false }
            return file.bytes == nil || file.bytes == Int(status.st_size)
        }
    }

    /// What a node has written may take a moment to show here, over a network file system.
    private static let secondsToAppear = 20

    private func settle(_ output: String, _ number: Int, _ script: JobScript) throws {
        for _ in 0..<Self.secondsToAppear * 5 {
            if try isFinished(output) { return }
            if let ending = try ending(number, script) { throw ending }
            try context.checkInterruption()
            usleep(200_000)
        }
        throw StageError(
            .interrupted,
            "job \(number) (\(script.step)) has left the queue and \(output) isn't finished: it was cancelled, ran over "
                + "its time, or its node failed; \(script.folder)/\(script.step)-\(number)*.log may say. "
                + "Run the same command again to submit it anew.")
    }

    /// The first task that ended with something else than 0, with the last that its log says.
    private func ending(_ number: Int, _ script: JobScript) throws -> StageError? {
        // `STEP-12.exit`, of an array `STEP-12_0.exit`.
        let own = ["\(script.step)-\(number).", "\(script.step)-\(number)_"]
        let names = try Folder.names(script.folder).filter { name in own.contains { name.hasPrefix($0) } }
        for name in names where name.hasSuffix(".exit") {
            let text = try readFile(script.folder + "/" + name).map { String(decoding: $0, as: UTF8.self) } ?? ""
            guard let status = Int32(text.trimmingCharacters(in: .whitespacesAndNewlines)), status != 0 else {
                continue
            }
            let log = script.folder + "/" + name.dropLast(".exit".count) + ".log"
            return StageError(
                status > 128 ? .interrupted : ExitStatus(rawValue: status) ?? .invalidInput,
                "job \(number) (\(script.step)) ended with \(status); \(log) says: \(try lastWords(log))")
        }
        return nil
    }

    private static let keptBytes = 1 << 12

    private func lastWords(_ log: String) throws -> String {
        let text = String(decoding: (try readFile(log) ?? Data()).suffix(Self.keptBytes), as: UTF8.self)
        return text.split(separator: "\n").suffix(12).joined(separator: "\n")
    }
}
