import Foundation

/// A folder of its own for a test, gone when the last reference is.
package final class TemporaryDirectory: Sendable {
    package let path: String

    package init() throws {
        path = FileManager.default.temporaryDirectory.path + "/crux-test-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    package func callAsFunction(_ name: String) -> String { path + "/" + name }

    /// Makes a folder inside and returns its path.
    package func folder(_ name: String) throws -> String {
        try FileManager.default.createDirectory(atPath: self(name), withIntermediateDirectories: true)
        return self(name)
    }
}

/// The package's root, where `fixtures/` is.
package let repositoryRoot = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().path

package func repository(_ name: String) -> String { repositoryRoot + "/" + name }

package func fixture(_ name: String) -> String { repositoryRoot + "/fixtures/" + name }

/// Every file below a folder with its bytes, by its path within: two folders are the same when these are. Without the
/// records of runs, which are there to tell equal runs apart.
package func contents(of folder: String) throws -> [String: Data] {
    var files: [String: Data] = [:]
    for name in try FileManager.default.subpathsOfDirectory(atPath: folder)
    where (name as NSString).lastPathComponent != "run.json" {
        // Folders give nil here.
        files[name] = FileManager.default.contents(atPath: folder + "/" + name)
    }
    return files
}

package func readBytes(_ path: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path))) }

/// As another file under the same name: who has mapped the one that was there before still reads that.
package func writeBytes(_ bytes: some Sequence<UInt8>, to path: String) throws {
    try Data(bytes).write(to: URL(fileURLWithPath: path), options: .atomic)
}
