import Arrow
import Catalog
import Files
import Formats
import Foundation
import MetricFiles

/// A stage directory, finished or not, as the catalog has it: all of it is read from the directory's own files.
extension CatalogedRun {
    /// nil where no stage has worked.
    ///
    /// - Throws: `FormatError` for a manifest that no stage wrote, or a table that is damaged.
    package init?(directory: String) throws {
        let source = try StageFiles(directory)
        guard let manifest = source.manifest else { return nil }
        self.init(
            path: resolvedPath(directory), stage: manifest.stage, version: manifest.version, state: source.state)
        manifestSHA256 = source.manifestSHA256
        fingerprint = try source.fingerprint()
        attempts = source.attempts.map(CatalogedAttempt.init)
        (inputs, outputs) = (manifest.inputs.map(CatalogedFile.init), manifest.outputs.map(CatalogedFile.init))
        recipes = try source.recipes().map { CatalogedRecipe(role: $0.key, json: $0.value) }
        recipeName = recipes.first { $0.role == CatalogedRecipe.mainRole }?.values["name"]?.text
        figures = Self.figures(manifest)
        guard state == .finished else { return }
        metrics = try source.metrics()
        if let jobs = source.jobs { forEachJob = jobs }
        join = try source.join()
    }

    /// Whether a folder may be one: without reading more than names.
    package static func isStage(_ folder: String) throws -> Bool { try StageDirectory.isStage(folder) }

    /// The digest of what `init` reads; nil where no stage has worked.
    package static func fingerprint(directory: String) throws -> String? {
        let source = try StageFiles(directory)
        return source.manifest == nil ? nil : try source.fingerprint()
    }

    private static func figures(_ manifest: Manifest) -> [CatalogedFigure] {
        let counts = manifest.counts.map { CatalogedFigure(.count, $0.key, .integer($0.value)) }
        var measures = manifest.measures ?? [:]
        measures["accuracy"] = measures["accuracy"] ?? accuracy(manifest)
        let settings = manifest.configuration.map { CatalogedFigure(.setting, $0.key, CatalogValue(setting: $0.value)) }
        return counts + measures.map { CatalogedFigure(.measure, $0.key, .real($0.value)) } + settings
    }

    /// Of judged rollouts, the share that is right; of a loop, that of its held-out prompts at the end.
    private static func accuracy(_ manifest: Manifest) -> Double? {
        if let correct = manifest.counts["correct"], let judged = manifest.counts["judged"], judged > 0 {
            return Double(correct) / Double(judged)
        }
        return manifest.measures?["heldout_accuracy_after"]
    }
}

/// What lies in a stage directory, as far as the catalog reads it.
private struct StageFiles {
    let directory: String
    /// Of an unfinished directory what it is being made from; nil where no stage has worked.
    let manifest: Manifest?
    let manifestSHA256: String?
    let record: RunRecord?
    let attempts: [RunAttempt]

    private var work: String { directory + "/" + StageDirectory.workName }

    init(_ directory: String) throws {
        self.directory = directory
        let finished = try Manifest.read(directory)
        manifest = try finished ?? StageDirectory.claim(directory)
        manifestSHA256 = finished == nil ? nil : try SHA256Digest.ofFile(directory + "/" + Manifest.name)
        // Without it, or with somebody else's in its place, a directory is whole all the same.
        record = try RunRecord.readable(directory)
        attempts = try RunHistory.attempts(in: directory, work: directory + "/" + StageDirectory.workName)
    }

    var state: RunState {
        if manifestSHA256 != nil { return .finished }
        if DirectoryLock.isHeld(directory) { return .running }
        guard let status = attempts.last?.status else { return .killed }
        let goesOn: [ExitStatus] = [.done, .interrupted]
        return ExitStatus(rawValue: status).map(goesOn.contains) == true ? .interrupted : .failed
    }

    func fingerprint() throws -> String {
        guard let manifestSHA256 else {
            return SHA256Digest.of("\(state.rawValue) \(attempts.map { "\($0.started) \($0.status ?? -1)" })")
        }
        let record = try readFile(directory + "/" + RunRecord.name).map { String(decoding: $0, as: UTF8.self) } ?? ""
        return SHA256Digest.of(manifestSHA256 + record)
    }

    /// As JSON, by role.
    func recipes() throws -> [String: String] {
        if let record, !record.recipes.isEmpty { return record.recipes }
        var recipes: [String: String] = [:]
        // Of earlier versions a plan alone tells it; of an unfinished run what it was begun with.
        let places = try [("recipe", directory + "/recipe.resolved.json")] + documents()
        for (role, path) in places where recipes[role] == nil {
            recipes[role] = try readFile(path).map { String(decoding: $0, as: UTF8.self) }
        }
        return recipes
    }

    private func documents() throws -> [(String, String)] {
        let suffix = ".document", names = try Folder.isFolder(work) ? Folder.names(work) : []
        return names.filter { $0.hasSuffix(suffix) }.map { (String($0.dropLast(suffix.count)), work + "/" + $0) }
    }

    func metrics() throws -> [CatalogedMetric] {
        let path = directory + "/metrics.arrow"
        guard try fileExists(path) else { return [] }
        switch manifest?.stage {
        case "update":
            let rows = try ArrowTableReader(path: path, table: Tables.metrics).rows()
            return Self.metrics(MetricSeries(Tables.metrics, rows, group: "update") { _ in 0 })
        case "loop":
            let rows = try ArrowTableReader(path: path, table: Tables.loop).rows()
            return Self.metrics(MetricSeries(Tables.loop, rows, group: "loop") { _ in 0 })
        default: return []
        }
    }

    private static func metrics(_ series: MetricSeries) -> [CatalogedMetric] {
        series.steps.flatMap { step in
            zip(series.names, step.values).dropFirst().compactMap { name, value in
                value.double.map { CatalogedMetric(name: name, step: Int(step.number), value: $0) }
            }
        }
    }

    /// Reads the jobs that this plan asks for.
    var jobs: (@Sendable ((CatalogedJob) throws -> Void) throws -> Void)? {
        let name = "jobs/" + JobDirectory.jobsName, path = directory + "/" + name
        guard manifest?.outputs.contains(where: { $0.path == name }) == true else { return nil }
        return { body in
            try ArrowTableReader(path: path, table: Tables.jobs).forEachRow { try body(CatalogedJob($0)) }
        }
    }

    /// Of an ingest that has joined results to jobs.
    func join() throws -> CatalogedJoin? {
        guard manifest?.stage == "ingest",
            let jobs = manifest?.inputs.first(where: { $0.path == "jobs/" + JobDirectory.jobsName })?.sha256
        else { return nil }
        var missing: [String] = []
        let path = directory + "/missing.jsonl"
        guard try fileExists(path) else { return CatalogedJoin(jobsSHA256: jobs, missing: []) }
        try forEachLine(of: path) { _, line in
            let object = JSONLine(line).object
            if let id = object?["custom_id"]?.string ?? object?["rid"]?.string { missing.append(id) }
        }
        return CatalogedJoin(jobsSHA256: jobs, missing: missing)
    }
}

extension CatalogedAttempt {
    fileprivate init(_ attempt: RunAttempt) {
        self.init(
            rank: attempt.rank, tasks: attempt.tasks, host: attempt.host, process: Int(attempt.process),
            started: attempt.started, ended: attempt.ended, seconds: attempt.seconds,
            status: attempt.status.map { Int($0) }, command: attempt.command, folder: attempt.folder,
            scheduler: attempt.scheduler ?? [:])
    }
}

extension CatalogedFile {
    fileprivate init(_ file: Manifest.File) {
        self.init(path: file.path, bytes: file.bytes, digest: file.digest, rows: file.rows)
    }
}

extension CatalogedJob {
    fileprivate init(_ job: JobRow) {
        self.init(
            jobID: job.jobID, customID: job.customID, baseRolloutID: job.baseRolloutID,
            stateIndex: Int(job.stateIndex), replicate: Int(job.replicate))
    }
}

extension CatalogedRecipe {
    fileprivate init(role: String, json: String) {
        var values: [String: CatalogValue] = [:]
        func collect(_ value: JSONValue, _ key: String) {
            guard case .object(let object) = value, !object.members.isEmpty else {
                values[key] = CatalogValue(value)
                return
            }
            for member in object.members { collect(member.value, key.isEmpty ? member.key : key + "." + member.key) }
        }
        if let whole = JSONLine(json).whole { collect(.object(whole), "") }
        self.init(role: role, sha256: SHA256Digest.of(JSONLine(json).whole?.encoded ?? json), values: values)
    }
}

extension CatalogValue {
    fileprivate init(_ value: JSONValue) {
        self =
            switch value {
            case .null: .null
            case .bool(let flag): .truth(flag)
            case .integer(let number): .integer(Int(number))
            case .decimal: .real(value.double ?? .nan)
            default: .text(value.text ?? "")
            }
    }

    /// Configurations hold texts alone; what is a number there can be compared with numbers.
    fileprivate init(setting: String) {
        if let number = Int(setting) {
            self = .integer(number)
        } else if let number = Double(setting), number.isFinite {
            self = .real(number)
        } else {
            self = .text(setting)
        }
    }

    fileprivate var text: String? { if case .text(let text) = self { text } else { nil } }
}

extension CellNumber {
    fileprivate var double: Double? {
        switch self {
        case .integer(let number): Double(number)
        case .real(let number): number
        case .null: nil
        }
    }
}
