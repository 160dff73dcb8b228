import StageSupport

/// Bytes as the manifest.json of a directory, and as its run.json.
final class ManifestFuzz: FuzzTarget {
    static let name = "manifest", subject = "a manifest.json or run.json"
    private let folder: String

    init(folder: String) { self.folder = folder }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        try bytes.write(to: folder + "/" + Manifest.name)
        try bytes.write(to: folder + "/" + RunRecord.name)
        do { _ = try Manifest.read(folder)?.encoded() } catch {}
        _ = try RunRecord.read(folder)
    }
}
