import Files
import Foundation

/// A file of a report: one that stands by itself, without a manifest that would say whose it is. What lies under its
/// name is therefore kept, unless it is the same or `--overwrite` says that it may go.
package struct ReportFile: Sendable {
    package let path: String
    package let text: String

    package init(path: String, text: String) { (self.path, self.text) = (path, text) }

    /// - Throws: (5) before anything is written where one of them would take another file's place.
    package static func write(_ files: [ReportFile], _ options: StageOptions) throws {
        for file in files { try file.requireFree(options) }
        for file in files {
            try Folder.create(file.folder)
            try AtomicFile.write(file.text, to: file.path)
        }
    }

    private var folder: String {
        let folder = parentFolder(path)
        return folder.isEmpty ? "." : folder
    }

    private func requireFree(_ options: StageOptions) throws {
        guard !options.overwrite, let found = try readFile(path), found != Data(text.utf8) else { return }
        throw StageError(
            .otherConfiguration,
            "\(path): found another file than this report would write. Choose another --output, or --overwrite.")
    }
}
