import Files
import Foundation

/// A stage's output directory: finished, half-way, or of another configuration.
package struct StageDirectory: Sendable {
    package let path: String
    /// What the run is about to make, without outputs.
    package let plan: Manifest
    /// Who works in it besides, and whose turn it is.
    private let share: TaskShare
    private let lock: DirectoryLock
    private let own: OwnFiles
    /// Who has worked in it.
    private let history: RunHistory

    static let workName = ".work"
    /// Remembers finished pieces until the manifest takes over.
    package var workPath: String { path + "/" + Self.workName }

    enum State { case done(Manifest), work(StageDirectory) }

    /// What a run asks of its directory.
    struct Opening: Sendable {
        var overwrite = false
        var share = TaskShare.whole
        /// Texts whose digest stands in the configuration under the same key, so that a difference can be told key by
        /// key.
        var documents: [String: String] = [:]
        /// What the run reads: for its record.
        var reads: [String] = []
        /// Whether a finished directory is all that is wanted: a loop may be given more iterations.
        var isEnough: @Sendable (Manifest) -> Bool = { _ in true }
    }

    /// Opens or makes the directory for `plan` and keeps others out for as long as it is held (75 where others are at
    /// work). A directory made from something else is refused (5) unless `overwrite`, which empties it of what its runs
    /// have made.
    static func open(_ path: String, for plan: Manifest, _ opening: Opening, _ context: StageContext) throws -> State {
        let existing = ExistingDirectory(path: path, plan: plan, opening: opening)
        if !opening.overwrite, let manifest = try existing.finished() {
            existing.tidy()
            return .done(manifest)
        }
        try Folder.create(path)
        return try DirectoryLock.inTurn(path, opening.share, context) {
            try existing.requireEmptiableOrBusy()
            let lock = try DirectoryLock.take(path, opening.share, context)
            do {
                if !lock.isReal {
                    context.warn(
                        "\(path): this file system knows no locks: see to it that nobody else works there at the same time"
                    )
                }
                let state = try existing.enter(lock)
                if case .work(let directory) = state { try directory.history.begin() }
                return state
            } catch {
                lock.release()
                throw error
            }
        }
    }

    /// What `open` would find, without changing anything: the manifest of a directory with nothing left to do.
    static func check(_ path: String, for plan: Manifest, _ opening: Opening) throws -> Manifest? {
        let existing = ExistingDirectory(path: path, plan: plan, opening: opening)
        if !opening.overwrite, let manifest = try existing.finished() { return manifest }
        try existing.requireEmptiableOrBusy()
        try existing.requireSameClaim()
        try DirectoryLock.requireNobody(in: path, opening.share)
        return nil
    }

    fileprivate init(
        _ path: String, _ plan: Manifest, _ opening: Opening, _ lock: DirectoryLock, knowsAll: Bool
    ) throws {
        (self.path, self.plan, self.share, self.lock) = (path, plan, opening.share, lock)
        let work = path + "/" + Self.workName
        own = try OwnFiles(path, work: work, rank: opening.share.rank, knowsAll: knowsAll)
        history = RunHistory(path, work: work, plan, opening)
    }

    /// Whether a folder is a stage's, finished or not.
    static func isStage(_ path: String) throws -> Bool {
        try [Manifest.name, workName + "/" + ExistingDirectory.claimName].contains {
            try fileExists(path + "/" + $0)
        }
    }

    /// What an unfinished directory is being made from; nil where it is none.
    static func claim(_ path: String) throws -> Manifest? {
        try readFile(path + "/" + workName + "/" + ExistingDirectory.claimName).flatMap {
            try? JSONDecoder().decode(Manifest.self, from: $0)
        }
    }

    package func file(_ name: String) -> String { path + "/" + name }

    /// The path of a file that is about to be written, which from now on counts as this directory's own.
    package func writing(_ name: String) throws -> String { try own.writing(name) }

    /// Whether runs of this directory have written a file of that name.
    package func knows(_ name: String) -> Bool { own.knows(name) }

    /// Files and folders (with a slash at the end) that were written otherwise and are this directory's own too.
    package func note(_ names: [String]) throws { try own.note(names) }

    /// What folders are called on the way to their names.
    package func note(temporariesOf folders: [AtomicFolder]) throws {
        try note(folders.flatMap(\.temporaries).map { ($0 as NSString).lastPathComponent + "/" })
    }

    /// Files of folders that are whole and about to take their names.
    package func note(filesOf folders: [AtomicFolder]) throws {
        try note(
            try folders.flatMap { folder in
                try Folder.files(below: folder.unfinished).map {
                    (folder.path as NSString).lastPathComponent + "/" + $0
                }
            })
    }

    /// Lets others in.
    func release() { lock.release() }

    /// Only one task at a time: whoever comes second finds the manifest and need not repeat the work.
    package func exclusively<T>(_ context: StageContext, _ body: () throws -> T) throws -> T {
        try DirectoryLock.inTurn(path, share, context) {
            let result = try body()
            // Whoever finishes it, perhaps in the next turn, finds how this process has ended.
            history.end(.done)
            return result
        }
    }

    /// Notes how this process has ended where the directory is unfinished.
    func end(_ status: ExitStatus) {
        guard !share.isWhole else { return history.end(status) }
        guard let turn = DirectoryLock.turn(path) else { return }
        history.end(status)
        turn.release()
    }

    /// Writes the record of the run and then, last of all, the manifest; forgets the pieces.
    /// `inputs`: those of the plan where it knew all their digests.
    package func finish(
        inputs: [Manifest.File]? = nil, outputs: [Manifest.File], counts: [String: Int],
        measures: [String: Double]? = nil
    ) throws -> Manifest {
        var manifest = plan
        manifest.inputs = inputs ?? plan.inputs
        manifest.outputs = outputs
        manifest.counts = counts
        manifest.measures = measures
        // Ours, or not there: that was seen when this run began.
        try note([RunRecord.name])
        try AtomicFile.write(try history.finished(), to: file(RunRecord.name))
        try manifest.write(to: path)
        try StageEmptying(directory: path).removeWork()
        return manifest
    }

    /// Arrow metadata that every table of this stage carries. `inputs`: those of this table, else all of the stage.
    package func tableMetadata(
        inputs: [Manifest.File]? = nil, recipeDigest: String = "", evidence: [String] = []
    ) -> [String: String] {
        let digests = (inputs ?? plan.inputs).compactMap(\.digest)
        return [
            "crux.stage": plan.stage, "crux.version": plan.version, "crux.inputs": digests.joined(separator: " "),
            "crux.recipe_sha256": recipeDigest, "crux.evidence": evidence.joined(separator: " "),
        ]
    }
}

/// What lies at the place where a directory is to be made.
private struct ExistingDirectory {
    let path: String
    let plan: Manifest
    let opening: StageDirectory.Opening

    static let claimName = "configuration.json"
    private var workPath: String { path + "/" + StageDirectory.workName }
    private var claimPath: String { workPath + "/" + Self.claimName }
    private var isShared: Bool { !opening.share.isWhole }

    /// Its manifest where nothing is left to do. Throws (5) where it was made from something else.
    func finished() throws -> Manifest? {
        guard let manifest = try Manifest.read(path) else { return nil }
        let isFinished = try manifest.outputs.allSatisfy(isInPlace) && opening.isEnough(manifest)
        try requireSame(manifest, isFinished: isFinished)
        guard isFinished else { return nil }
        // Whoever wrote it may have failed to, as the last thing.
        try syncFolder(of: path + "/" + Manifest.name)
        return manifest
    }

    /// Takes away what a run left behind that was killed after its manifest was in place. Where others are at work, or
    /// nothing may be written, it stays: the directory is finished all the same.
    func tidy() {
        guard let names = try? Folder.names(path),
            names.contains(where: { DirectoryLock.isLock($0) || $0 == StageDirectory.workName })
        else { return }
        DirectoryLock.ifAlone(in: path) { try StageEmptying(directory: path).removeWork() }
    }

    /// With the lock: another run may have changed everything since.
    func enter(_ lock: DirectoryLock) throws -> StageDirectory.State {
        if opening.overwrite { try empty(lock) }
        if let found = try finished() {
            if !lock.hasCompany { try StageEmptying(directory: path).removeWork() }
            lock.release()
            return .done(found)
        }
        if !lock.hasCompany { try sweep() }
        let isNew = try fileStatus(workPath) == nil
        try Folder.create(workPath)
        try claim(lock)
        let directory = try StageDirectory(path, plan, opening, lock, knowsAll: try isNew || hasNotes())
        guard let found = try Manifest.read(path) else { return .work(directory) }
        // Unfinished again; what it held stays known as its own.
        try directory.note(found.outputs.map(\.path) + [RunRecord.name])
        try StageEmptying(directory: path).unlinkFile(Manifest.name)
        return .work(try StageDirectory(path, plan, opening, lock, knowsAll: true))
    }

    private func hasNotes() throws -> Bool { try Folder.names(workPath).contains { $0.hasPrefix(OwnFiles.prefix) } }

    /// What a killed run was writing. Nobody else is at work.
    private func sweep() throws {
        // Folders below as well, but for stage directories there, which sweep for themselves.
        let below = try Folder.names(path).map { path + "/" + $0 }.filter {
            try Folder.isFolder($0, following: false) && !StageDirectory.isStage($0)
        }
        for folder in [path] + below {
            for name in try Folder.names(folder) where AtomicFile.isTemporary(name) {
                try StageEmptying(directory: folder).unlinkFile(name)
            }
        }
    }

    // MARK: --overwrite

    /// Throws (5) where `--overwrite` would empty a folder that isn't one of this stage.
    func requireEmptiable() throws {
        guard opening.overwrite, try fileStatus(path) != nil else { return }
        if let stage = try Manifest.read(path)?.stage ?? (try readClaim())?.stage {
            guard stage == plan.stage else {
                throw StageError(
                    .otherConfiguration,
                    "\(path): found a directory of crux-\(stage); crux-\(plan.stage) --overwrite empties only its own. Choose another --output."
                )
            }
            return
        }
        if try Folder.names(path).contains(where: { !DirectoryLock.isLock($0) && $0 != StageDirectory.workName }) {
            throw StageError(
                .otherConfiguration,
                "\(path): --overwrite empties only directories that a stage made; this one is not. Choose another --output."
            )
        }
    }

    /// The same, where others may be at work: a directory that one of them is emptying looks like nobody's for a moment, and is
    /// theirs (75).
    func requireEmptiableOrBusy() throws {
        do { try requireEmptiable() } catch let refusal as StageError {
            try DirectoryLock.requireNobody(in: path, opening.share)
            throw refusal
        }
    }

    /// Tasks that share the work empty it once: a directory of the same configuration is what one of them has begun.
    private func empty(_ lock: DirectoryLock) throws {
        try requireEmptiable()
        if isShared {
            guard let earlier = try Manifest.read(path) ?? (try readClaim()), !differences(earlier).isEmpty else {
                return
            }
            if lock.hasCompany {
                throw StageError(
                    .otherConfiguration,
                    "\(path): other tasks are at work there with another configuration; --overwrite has to wait for them"
                )
            }
        }
        let emptying = StageEmptying(directory: path)
        let names =
            (try Manifest.read(path)?.outputs.map(\.path) ?? []) + (try OwnFiles.noted(workPath))
            + (try emptying.ownRecord())
        // The manifest goes first: from then on the directory counts as unfinished.
        try emptying.unlinkFile(Manifest.name)
        try emptying.remove(names)
        try emptying.removeWork()
    }

    // MARK: configuration

    /// An unfinished directory remembers what it is being made from, so that another configuration can't go on with it.
    /// Where nothing has been made yet, there is nothing to keep.
    private func claim(_ lock: DirectoryLock) throws {
        if let earlier = try readClaim(), try !isBare() || lock.hasCompany { return try requireSame(earlier) }
        for (name, text) in opening.documents { try AtomicFile.write(text, to: documentPath(name)) }
        try AtomicFile.write(try plan.encoded(), to: claimPath)
    }

    func requireSameClaim() throws {
        if !opening.overwrite, let earlier = try readClaim(), try !isBare() { try requireSame(earlier) }
    }

    private func readClaim() throws -> Manifest? { try StageDirectory.claim(path) }

    private func documentPath(_ name: String) -> String { workPath + "/" + name + ".document" }

    /// Whether no run has begun to write anything here.
    private func isBare() throws -> Bool {
        guard try OwnFiles.noted(workPath).isEmpty else { return false }
        return try Folder.names(path).allSatisfy {
            DirectoryLock.isLock($0) || $0 == StageDirectory.workName || AtomicFile.isTemporary($0)
        }
    }

    private func requireSame(_ earlier: Manifest, isFinished: Bool = false) throws {
        let found = differences(earlier, besides: isFinished ? Self.keysOfUnfinished : [])
        guard !found.isEmpty else { return }
        let shown = found.prefix(Self.shownDifferences).joined(separator: "; ")
        let rest = found.count > Self.shownDifferences ? "; and \(found.count - Self.shownDifferences) more" : ""
        throw StageError(
            .otherConfiguration,
            "\(path): made with another configuration (\(shown)\(rest)). Choose another --output, or --overwrite.")
    }

    private static let shownDifferences = 8
    /// Keys of earlier versions that say nothing about the result.
    private static let forgottenKeys: Set<String> = ["folders", "tokenizer"]
    /// Keys that results depend on where a run goes on in the middle; what is finished is finished.
    private static let keysOfUnfinished: Set<String> = ["threads"]

    /// By length alone: an output that someone cut off or deleted is made again; digests are for who uses it.
    private func isInPlace(_ output: Manifest.File) throws -> Bool {
        guard let status = try fileStatus(path + "/" + output.path) else { return false }
        // None of these is ever empty: earlier versions could finish with one that another run had cut off.
        if status.st_size == 0, [".arrow", ".zst", ".safetensors"].contains(where: output.path.hasSuffix) {
            return false
        }
        return output.bytes == nil || output.bytes == Int(status.st_size)
    }

    private func differences(_ earlier: Manifest, besides ignored: Set<String> = []) -> [String] {
        guard earlier.stage == plan.stage else { return ["it is a directory of crux-\(earlier.stage)"] }
        var found: [String] = []
        let keys = Set(earlier.configuration.keys).union(plan.configuration.keys).subtracting(Self.forgottenKeys)
            .subtracting(ignored)
        for key in keys.sorted() {
            let (old, new) = (earlier.configuration[key], plan.configuration[key])
            if old != new { found += documentDifferences(key) ?? [Self.difference(key, old, new)] }
        }
        if earlier.version != plan.version { found.append(Self.difference("version", earlier.version, plan.version)) }
        return found + inputDifferences(earlier)
    }

    private static func difference(_ key: String, _ old: String?, _ new: String?) -> String {
        "\(key) was \(old.map(short) ?? "unset"), now \(new.map(short) ?? "unset")"
    }

    private static func short(_ value: String) -> String {
        value.count <= 80 ? value : value.prefix(60) + "…" + value.suffix(16)
    }

    /// The keys that differ between two JSON texts of which the configuration has the digests.
    private func documentDifferences(_ key: String) -> [String]? {
        let old =
            FileManager.default.contents(atPath: path + "/" + key + ".resolved.json")
            ?? FileManager.default.contents(atPath: documentPath(key))
        guard let old, let new = opening.documents[key], let earlier = Self.leaves(old),
            let now = Self.leaves(Data(new.utf8))
        else { return nil }
        let keys = Set(earlier.keys).union(now.keys).filter { earlier[$0] != now[$0] }.sorted()
        return keys.isEmpty ? nil : keys.map { Self.difference("\(key): \($0)", earlier[$0], now[$0]) }
    }

    private static func leaves(_ json: Data) -> [String: String]? {
        guard let object = try? JSONSerialization.jsonObject(with: json) as? [String: Any] else { return nil }
        var leaves: [String: String] = [:]
        func collect(_ value: Any, _ key: String) {
            if let map = value as? [String: Any], !map.isEmpty {
                for (name, value) in map { collect(value, key.isEmpty ? name : key + "." + name) }
            } else {
                leaves[key] =
                    (try? JSONSerialization.data(withJSONObject: value, options: [.fragmentsAllowed, .sortedKeys])).map
                {
                    String(decoding: $0, as: UTF8.self)
                }
            }
        }
        collect(object, "")
        return leaves
    }

    private func inputDifferences(_ earlier: Manifest) -> [String] {
        guard earlier.inputs.count == plan.inputs.count else {
            let old = Set(earlier.inputs.map(\.fileName)), new = Set(plan.inputs.map(\.fileName))
            let gone = old.subtracting(new).sorted().prefix(3).map { "without \($0)" },
                added = new.subtracting(old).sorted().prefix(3).map { "with \($0)" }
            return [
                "it had \(earlier.inputs.count) input files, now \((["\(plan.inputs.count)"] + gone + added).joined(separator: ", "))"
            ]
        }
        return zip(earlier.inputs, plan.inputs).filter { !$0.mayEqual($1) }.map { old, new in
            "input \(new.path) is not what it was (\(old.identity), now \(new.identity))"
        }
    }
}
