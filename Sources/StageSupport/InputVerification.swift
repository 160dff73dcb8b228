import Files
import Formats
import Foundation

extension Manifest {
    /// Throws where a file of this finished directory isn't what the stage that made it wrote: by its length, and by
    /// its digest unless `--no-verify`. What the manifest doesn't tell of a file can't be compared.
    package func verify(_ name: String, in directory: String, _ options: StageOptions) throws {
        guard let written = outputs.first(where: { $0.path == name }) else { return }
        let path = directory + "/" + name, file = try MappedFile(path: path)
        if let bytes = written.bytes, bytes != file.bytes.count {
            throw changed(path, "\(file.bytes.count) bytes", "\(bytes)")
        }
        guard !options.noVerify, let sha256 = written.sha256 else { return }
        file.noteDigest()
        let digest = SHA256Digest.of(file)
        guard digest != sha256 else { return }
        throw changed(path, "SHA-256 \(digest.prefix(16))…", "\(sha256.prefix(16))…")
    }

    /// The same for several files at once.
    package func verify(_ names: [String], in directory: String, _ context: StageContext) throws {
        _ = try parallelMap(names.count, threads: context.threads) {
            try verify(names[$0], in: directory, context.options)
        }
    }

    private func changed(_ path: String, _ found: String, _ expected: String) -> FormatError {
        FormatError(
            file: path, place: "", found: found,
            expected: "\(expected) by \(Self.name): it was changed or damaged after crux-\(stage) wrote it",
            remedy: "Copy it again, or run crux-\(stage) again with --overwrite.")
    }
}

extension JobDirectory {
    /// Holds files of a jobs folder, all of them where none are named, against the manifest of the plan that it lies
    /// in. A folder that was taken out of its plan has none.
    package func verify(only names: [String]? = nil, _ context: StageContext) throws {
        let folder = URL(fileURLWithPath: path).standardizedFileURL, plan = folder.deletingLastPathComponent().path
        guard let manifest = try Manifest.read(plan), manifest.stage == "plan" else {
            return context.say("\(path): no \(Manifest.name) of a plan beside it, so its digests are not compared")
        }
        let inside = folder.lastPathComponent + "/", all = manifest.outputs.map(\.path).filter { $0.hasPrefix(inside) }
        try manifest.verify(names.map { $0.map { inside + $0 } } ?? all, in: plan, context)
    }
}
