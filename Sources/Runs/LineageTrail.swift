import Catalog
import Files
import Foundation
import StageSupport

/// A run on the way back, with what it was made from.
struct LineageRun: Sendable {
    let directory: String
    let stage: String
    let manifestSHA256: String
    let outputs: Int
    /// What of its outputs isn't as the run wrote it.
    let problems: [String]
    var links: [LineageLink] = []
}

/// An input of a run, as it is now.
struct LineageLink: Sendable {
    enum State: String, Sendable {
        case same
        /// Something else lies where it lay.
        case differs
        case missing
        /// Its digest isn't known, so that nothing can be said.
        case unknown
    }

    /// As the manifest names it.
    let name: String
    let digest: String?
    let state: State
    /// Where it lies.
    let place: String?
    /// The stage directory that has made it.
    let source: String?
}

/// Goes from run to run by digests: first where a run's record says that its inputs lay, then where the catalog knows
/// the same content.
struct LineageTrail {
    let catalog: CatalogDatabase?
    let context: StageContext

    /// The stage directory that something lies in, or was copied from.
    func directory(of path: String) throws -> String? {
        if let around = try enclosing(path) { return around }
        let files = try Folder.isFolder(path) ? Folder.files(below: path).map { path + "/" + $0 } : [path]
        let weights = files.filter { $0.hasSuffix(".safetensors") }
        for file in weights.isEmpty ? files : weights {
            if let found = try sources(of: SHA256Digest.ofFile(file)).first { return found }
        }
        return nil
    }

    /// The nearest finished stage directory at a path or above it.
    private func enclosing(_ path: String) throws -> String? {
        var folder = path
        while folder != "/" {
            if try Folder.isFolder(folder), try WrittenFiles.manifest(folder) != nil { return folder }
            folder = parentFolder(folder)
        }
        return nil
    }

    /// Directories of runs that have written a file of this digest, as far as they are there.
    private func sources(of digest: String) throws -> [String] {
        try (catalog?.runs(withOutput: digest) ?? []).filter { try WrittenFiles.manifest($0) != nil }
    }

    /// The run, and all that it was made from, each once, the nearest first.
    func follow(_ start: String) throws -> [LineageRun] {
        var runs: [LineageRun] = [], waiting = [start], seen: Set<String> = [start]
        while !waiting.isEmpty {
            try context.checkInterruption()
            let run = try look(waiting.removeFirst())
            runs.append(run)
            for source in run.links.compactMap(\.source) where seen.insert(source).inserted { waiting.append(source) }
        }
        return runs
    }

    private func look(_ directory: String) throws -> LineageRun {
        guard let manifest = try Manifest.read(directory) else {
            throw StageError(.invalidInput, "\(directory): found its manifest gone, expected a finished run")
        }
        // Without a record only the catalog tells where inputs lie.
        let read = try ReadPlaces(try? RunRecord.read(directory), directory)
        let links = try parallelMap(manifest.inputs.count, threads: context.threads) {
            try link(manifest.inputs[$0], read)
        }
        return LineageRun(
            directory: directory, stage: manifest.stage,
            manifestSHA256: try SHA256Digest.ofFile(directory + "/" + Manifest.name), outputs: manifest.outputs.count,
            problems: try problems(manifest, directory), links: links)
    }

    private func problems(_ manifest: Manifest, _ directory: String) throws -> [String] {
        try parallelMap(manifest.outputs.count, threads: context.threads) { index -> String? in
            do {
                try manifest.verify(manifest.outputs[index].path, in: directory, context.options)
                return nil
            } catch let error as FormatError { return error.description }
        }.compactMap { $0 }
    }

    // MARK: links

    private func link(_ input: Manifest.File, _ read: ReadPlaces) throws -> LineageLink {
        func found(_ state: LineageLink.State, _ place: String?) throws -> LineageLink {
            let source = state == .same ? try place.flatMap { try maker(of: $0, input) } : nil
            return LineageLink(name: input.path, digest: input.digest, state: state, place: place, source: source)
        }
        let lay = try places(of: input, read)
        guard let digest = input.digest else { return try found(.unknown, lay.first) }
        if let same = try lay.first(where: { try holds($0, input) }) { return try found(.same, same) }
        // An update has copied its checkpoint's small files itself.
        let copies = try sources(of: digest).filter { $0 != read.directory }.flatMap { try outputs(of: $0, digest) }
        if let same = try copies.first(where: { try holds($0, input) }) { return try found(.same, same) }
        return try found(lay.isEmpty ? .missing : .differs, lay.first)
    }

    /// All stages' manifests have one name; an input's is that of the stage that it is called by.
    private func places(of input: Manifest.File, _ read: ReadPlaces) throws -> [String] {
        let name = (input.path as NSString).lastPathComponent
        let lay = read.places(named: name, digest: input.digest)
        guard name == Manifest.name else { return lay }
        return try lay.filter { try WrittenFiles.manifest(parentFolder($0))?.stage == parentFolder(input.path) }
    }

    /// Whether it lies at a place with the content that it had. `--no-verify` looks at its length alone.
    private func holds(_ path: String, _ input: Manifest.File) throws -> Bool {
        let file: MappedFile
        do { file = try MappedFile(path: path) } catch is FormatError { return false }
        // Manifests are small, and all that follows hangs on them.
        guard context.options.noVerify, !path.hasSuffix("/" + Manifest.name) else { return input.isContent(of: file) }
        return input.bytes.map { $0 == file.bytes.count } ?? true
    }

    /// Files that a stage directory has written with this digest, its manifest included.
    private func outputs(of directory: String, _ digest: String) throws -> [String] {
        try WrittenFiles(directory).places[digest] ?? []
    }

    /// The stage directory that has written what lies at a place.
    private func maker(of place: String, _ input: Manifest.File) throws -> String? {
        if let around = try enclosing(parentFolder(place)) {
            let name = String(place.dropFirst(around.count + 1))
            if name == Manifest.name { return around }
            if try Manifest.read(around)?.outputs.contains(where: { $0.path == name }) == true { return around }
        }
        return try input.digest.flatMap { try sources(of: $0).first }
    }
}

/// What a stage directory says that it has written.
private struct WrittenFiles {
    /// By digest.
    private(set) var places: [String: [String]] = [:]

    /// Nothing where it is none.
    init(_ directory: String) throws {
        guard let manifest = try Self.manifest(directory) else { return }
        let own = directory + "/" + Manifest.name
        places[try SHA256Digest.ofFile(own)] = [own]
        for file in manifest.outputs {
            if let digest = file.digest { places[digest, default: []].append(directory + "/" + file.path) }
        }
    }

    /// nil where the folder is unfinished or no stage directory: a manifest of something else is none.
    static func manifest(_ folder: String) throws -> Manifest? {
        do { return try Manifest.read(folder) } catch is FormatError { return nil }
    }
}

/// Where a run has read, as far as there is something: as it lay then, and as it lies now that run and inputs may have
/// moved together.
private struct ReadPlaces {
    /// Of the run.
    let directory: String
    private var folders: [String] = []
    private var files: [String: [String]] = [:]
    private var written: [String: [String]] = [:]

    init(_ record: RunRecord?, _ directory: String) throws {
        self.directory = directory
        guard let record else { return }
        var seen = Set<String>()
        for read in record.reads.flatMap({ [$0, MovedPath($0, from: record.place).beside(directory)] })
        where seen.insert(read).inserted {
            guard let isFolder = try? Folder.isFolder(read) else { continue }
            guard isFolder else {
                files[(read as NSString).lastPathComponent, default: []].append(read)
                continue
            }
            folders.append(read)
            written.merge(try WrittenFiles(read).places) { $0 + $1 }
        }
    }

    /// Files that are there: of the name, and what stage directories have written with the digest.
    func places(named name: String, digest: String?) -> [String] {
        let named = (files[name] ?? []) + folders.map { $0 + "/" + name }
        var seen = Set<String>()
        return (named + (digest.flatMap { written[$0] } ?? [])).filter {
            seen.insert($0).inserted && (try? fileExists($0)) == true
        }
    }
}

/// A path as it lies to a directory.
private struct MovedPath {
    private let up: Int
    private let down: [Substring]

    init(_ path: String, from directory: String) {
        let path = path.split(separator: "/"), base = directory.split(separator: "/")
        let common = zip(path, base).prefix { $0 == $1 }.count
        (up, down) = (base.count - common, Array(path.dropFirst(common)))
    }

    /// The path that lies to another directory as this one to the first.
    func beside(_ directory: String) -> String {
        let base = directory.split(separator: "/").dropLast(up)
        return "/" + (base + down).joined(separator: "/")
    }
}
