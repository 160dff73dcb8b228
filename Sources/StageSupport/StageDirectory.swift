import Formats
import Foundation

/// A stage's output directory while the stage works on it.
///
/// Finished pieces are remembered in `.work/`, one small file each; the manifest comes last and `.work` goes after it. So
/// whenever the stage is killed, running it again goes on, and the end result has the same bytes as an undisturbed run.
package struct StageDirectory: Sendable {
    package let path: String
    /// The manifest to be: stage, configuration and inputs as planned.
    package let plan: Manifest
    /// True of the file names that the stage writes, whatever its configuration.
    private let owns: @Sendable (String) -> Bool

    package enum Opening: Sendable {
        case alreadyDone(Manifest)
        case work(StageDirectory)
    }

    /// Looks at the directory and makes it ready for work. `plan` holds stage, configuration and inputs; an input's digest may be
    /// nil where it isn't known yet, then it isn't compared.
    /// Throws `StageError` (exit 5) naming the differences when the directory was made from something else and `--overwrite` isn't
    /// given; `IOError` when it can't be made.
    package static func open(
        _ path: String, plan: Manifest, context: StageContext, owns: @escaping @Sendable (String) -> Bool
    ) throws -> Opening {
        let directory = StageDirectory(path: path, plan: plan, owns: owns)
        try directory.make()
        return try directory.locked {
            try directory.discardIfWanted(context)
            if let manifest = try directory.finishedManifest(context) { return .alreadyDone(manifest) }
            try directory.prepareWork()
            return .work(directory)
        }
    }

    package func file(_ name: String) -> String { path + "/" + name }

    /// Runs `body` while no other process is inside `locked` for this directory.
    package func locked<Value>(_ body: () throws -> Value) throws -> Value {
        let descriptor = Foundation.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw IOError(file: path, action: "open the directory", reason: String(cString: strerror(errno))) }
        defer { close(descriptor) }
        // File systems without locks refuse; there, several tasks rely on renames being atomic.
        _ = flock(descriptor, LOCK_EX)
        return try body()
    }

    // MARK: opening

    private func make() throws {
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            throw IOError(file: path, action: "make the output directory", reason: String(cString: strerror(errno)))
        }
    }

    /// Tasks that share the work must not discard each other's: for them `--overwrite` discards only what differs.
    private func discardIfWanted(_ context: StageContext) throws {
        let found = try existing()
        let differences = found.map { plan.differences(from: $0) } ?? []
        if context.options.overwrite, found == nil || !differences.isEmpty || context.share.tasks == 1 { return try discard() }
        if !differences.isEmpty {
            throw StageError(
                .otherConfiguration,
                "\(path): made with another configuration: \(differences.joined(separator: "; ")). Choose another --output, or --overwrite to discard it.")
        }
    }

    /// What the directory was made from, finished or not. A manifest that can't be read counts as none.
    private func existing() throws -> Manifest? {
        if let manifest = try? Manifest.read(in: path) { return manifest }
        return try? Manifest.read(in: workPath)
    }

    private func finishedManifest(_ context: StageContext) throws -> Manifest? {
        guard let manifest = try? Manifest.read(in: path) else { return nil }
        let whole = try Parallel.map(count: manifest.outputs.count, threads: context.threads) { manifest.outputs[$0].matches(in: path) }
        if let damaged = whole.firstIndex(of: false) {
            context.log.warning("\(file(manifest.outputs[damaged].path)) is missing or changed since it was finished; making it again")
            try remove(Manifest.fileName)
            return nil
        }
        try removeWork()
        return manifest
    }

    private func prepareWork() throws {
        try? FileManager.default.createDirectory(atPath: workPath, withIntermediateDirectories: true)
        if let earlier = try? Manifest.read(in: workPath), earlier.version == plan.version { return }
        // Pieces of another version would not have the same bytes.
        try removeUnits()
        try plan.write(in: workPath)
    }

    // MARK: pieces of work

    /// The record of a finished piece, if it was made from these inputs and its outputs are still as recorded.
    package func unit(_ index: Int, inputs: [FileRecord]) -> UnitRecord? {
        let path = unitPath(index)
        guard let data = FileManager.default.contents(atPath: path),
            let record = try? JSONValue.decode(UnitRecord.self, from: data, file: path),
            record.configuration == plan.configurationDigest, record.inputs == inputs,
            record.outputs.allSatisfy({ $0.matches(in: self.path) })
        else { return nil }
        return record
    }

    /// The record of a piece, whoever made it; nil if it isn't finished. Cheaper than `unit(_:inputs:)`: outputs aren't read.
    package func finishedUnit(_ index: Int) -> UnitRecord? {
        let path = unitPath(index)
        guard let data = FileManager.default.contents(atPath: path) else { return nil }
        return try? JSONValue.decode(UnitRecord.self, from: data, file: path)
    }

    package func save(_ record: UnitRecord) throws { try AtomicFile.write(JSONValue.document(record), to: unitPath(record.index)) }

    private var workPath: String { file(".work") }
    private func unitPath(_ index: Int) -> String { workPath + "/" + paddedIndex(index) + ".json" }

    // MARK: finishing

    /// Writes the manifest and clears away everything of the stage that isn't part of it.
    package func finish(inputs: [FileRecord], outputs: [FileRecord], counts: [String: JSONValue]) throws -> Manifest {
        var manifest = plan
        manifest.inputs = inputs
        manifest.outputs = outputs
        manifest.counts = counts
        let kept = Set(outputs.map { $0.path.split(separator: "/").first.map(String.init) ?? $0.path })
        for name in try ownNames() where !kept.contains(name) { try remove(name) }
        try manifest.write(in: path)
        try removeWork()
        return manifest
    }

    // MARK: removing

    private func discard() throws {
        try remove(Manifest.fileName)
        try removeWork()
        for name in try ownNames() { try remove(name) }
    }

    private func removeWork() throws { try remove(".work") }

    private func removeUnits() throws {
        for name in (try? FileManager.default.contentsOfDirectory(atPath: workPath)) ?? [] { try remove(".work/" + name) }
    }

    /// Names in the directory that the stage wrote, whole or half.
    private func ownNames() throws -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        return names.filter { owns($0.replacingOccurrences(of: AtomicFile.temporarySuffix, with: "")) }.sorted()
    }

    private func remove(_ name: String) throws {
        guard FileManager.default.fileExists(atPath: file(name)) else { return }
        do {
            try FileManager.default.removeItem(atPath: file(name))
        } catch {
            // Another task may have been faster.
            guard FileManager.default.fileExists(atPath: file(name)) else { return }
            throw IOError(file: file(name), action: "remove it", reason: String(cString: strerror(errno)))
        }
    }
}

/// 7 → "00007", as numbered files are named.
package func paddedIndex(_ index: Int) -> String {
    let digits = String(index)
    return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
}

extension Manifest {
    /// What differs between this plan and what a directory was made from; empty when it's the same.
    func differences(from made: Manifest) -> [String] {
        guard stage == made.stage else { return ["it is the output of \(made.stage), not of \(stage)"] }
        return configurationDifferences(from: made) + inputDifferences(from: made)
    }

    private func configurationDifferences(from made: Manifest) -> [String] {
        Set(configuration.keys).union(made.configuration.keys).sorted().compactMap { key in
            let now = configuration[key] ?? .null, then = made.configuration[key] ?? .null
            return now == then ? nil : "\(key) was \(then.encoded()), now \(now.encoded())"
        }
    }

    private func inputDifferences(from made: Manifest) -> [String] {
        guard inputs.count == made.inputs.count else { return ["it was made from \(made.inputs.count) input files, now there are \(inputs.count)"] }
        return zip(inputs, made.inputs).compactMap { now, then in
            if now.baseName != then.baseName { return "input \(then.baseName) is now \(now.baseName)" }
            let same = FileRecord.agree(now.bytes, then.bytes) && FileRecord.agree(now.sha256, then.sha256)
            return same ? nil : "input \(now.baseName) has changed"
        }
    }
}

extension FileRecord {
    package var baseName: String { path.split(separator: "/").last.map(String.init) ?? path }

    /// What is not known on one side cannot disagree.
    static func agree<Value: Equatable>(_ one: Value?, _ other: Value?) -> Bool { one == nil || other == nil || one == other }
}
