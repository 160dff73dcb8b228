import Foundation
import Scratch

/// A folder that appears under its name only when it is whole: filled under a temporary name beside it, then renamed.
/// What stood under the name before goes when the new one stands.
package struct AtomicFolder: Sendable {
    package let path: String

    /// Where its files are written.
    package var unfinished: String { path + AtomicFile.temporarySuffix }
    private var replaced: String { path + ".old" + AtomicFile.temporarySuffix }

    /// Names that it has on the way.
    package var temporaries: [String] { [unfinished, replaced] }

    /// An empty folder to fill; what a killed run left behind is cleared away.
    package init(_ path: String) throws {
        self.path = path
        if try exists(replaced) {
            // Killed between two renames: what stood there stands there again.
            if try exists(path) { try Folder.remove(replaced) } else { try move(replaced, to: path) }
        }
        try Folder.remove(unfinished)
        try Folder.create(unfinished)
    }

    /// Removes what stands under its name.
    package func clear() throws { try Folder.remove(path) }

    /// Takes its name, unless a file that was read has changed meanwhile.
    package func commit() throws {
        try MappedFiles.requireUnchanged()
        if try exists(path) { try move(path, to: replaced) }
        try move(unfinished, to: path)
        try syncFolder(of: path)
        try Folder.remove(replaced)
    }

    private func exists(_ path: String) throws -> Bool { try fileStatus(path) != nil }

    private func move(_ source: String, to target: String) throws {
        guard uninterrupted({ rename(source, target) }) == 0 else {
            throw IOError.fromErrno(target, "rename the finished folder")
        }
    }
}
