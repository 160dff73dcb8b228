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
            if try Folder.isFolder(folder), try isFinished(folder) { return folder }
            folder = parentFolder(folder)
        }
        return nil
    }

    /// A manifest of something else is none.
    private func isFinished(_ folder: String) throws -> Bool {
        do { return try Manifest.read(folder) != nil } catch is FormatError { return false }
    }

    /// Directories of runs that have written a file of this digest, as far as they are there.
    private func sources(of digest: String) throws -> [String] {
        try (catalog?.runs(withOutput: digest) ?? []).filter(isFinished)
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
        let record = try? RunRecord.read(directory)
        let links = try parallelMap(manifest.inputs.count, threads: context.threads) {
            try link(manifest.inputs[$0], directory, record)
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

    private func link(_ input: Manifest.File, _ directory: String, _ record: RunRecord?) throws -> LineageLink {
        func found(_ state: LineageLink.State, _ place: String?) throws -> LineageLink {
            let source = state == .same ? try place.flatMap { try maker(of: $0, input) } : nil
            return LineageLink(name: input.path, digest: input.digest, state: state, place: place, source: source)
        }
        let lay = try record.map { try places(of: input, directory, $0) } ?? []
        guard let digest = input.digest else { return try found(.unknown, lay.first) }
        let copies = try sources(of: digest).flatMap { try outputs(of: $0, digest) }
        if let same = try (lay + copies).first(where: { try holds($0, input) }) { return try found(.same, same) }
        return try found(lay.isEmpty ? .missing : .differs, lay.first)
    }

    /// Whether it lies at a place with the content that it had. `--no-verify` looks at its length alone.
    private func holds(_ path: String, _ input: Manifest.File) throws -> Bool {
        guard let file = try? MappedFile(path: path) else { return false }
        // Manifests are small, and all that follows hangs on them.
        guard context.options.noVerify, !path.hasSuffix("/" + Manifest.name) else { return input.isContent(of: file) }
        return input.bytes.map { $0 == file.bytes.count } ?? true
    }

    /// Files of the input's name where the run has read, now that run and inputs may have moved together.
    private func places(of input: Manifest.File, _ directory: String, _ record: RunRecord) throws -> [String] {
        let name = (input.path as NSString).lastPathComponent
        var places: [String] = []
        for read in record.reads.flatMap({ [$0, MovedPath($0, from: record.place).beside(directory)] }) {
            let isFolder = (try? Folder.isFolder(read)) ?? false
            let candidates =
                isFolder
                ? [read + "/" + name] + (try outputs(of: read, input.digest))
                : (read as NSString).lastPathComponent == name ? [read] : []
            for path in candidates where try !places.contains(path) && fileExists(path) { places.append(path) }
        }
        return places
    }

    /// Files that a stage directory lists with this digest.
    private func outputs(of directory: String, _ digest: String?) throws -> [String] {
        guard let digest, try isFinished(directory), let manifest = try Manifest.read(directory) else { return [] }
        let listed = manifest.outputs.filter { $0.digest == digest }.map { directory + "/" + $0.path }
        let own = directory + "/" + Manifest.name
        return listed + (try SHA256Digest.ofFile(own) == digest ? [own] : [])
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
