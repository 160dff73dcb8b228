import Files
import Foundation
import Scratch

/// Files of executions lie in memory.
enum FuzzFolder {
    /// A folder that goes when the process ends by itself; what was killed leaves it behind.
    static func make() throws -> String {
        let parent = try Folder.isFolder("/dev/shm") ? "/dev/shm" : NSTemporaryDirectory()
        var template = Array((parent + "/crux-fuzz-XXXXXX").utf8CString)
        guard mkdtemp(&template) != nil else { throw IOError.fromErrno(parent, "make a folder in it") }
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        madeFolder = path
        atexit { if let madeFolder { try? FileManager.default.removeItem(atPath: madeFolder) } }
        return path
    }
}

/// Here, because what runs at a process's exit can't know more.
nonisolated(unsafe) private var madeFolder: String?

extension UnsafeRawBufferPointer {
    /// Makes them a file's contents.
    func write(to path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw IOError.fromErrno(path, "open it") }
        defer { close(descriptor) }
        guard Foundation.write(descriptor, baseAddress, count) == count else {
            throw IOError.fromErrno(path, "write it")
        }
    }

    /// The first byte, and the bytes behind it.
    var choice: (first: Int, rest: UnsafeRawBufferPointer) {
        guard let first else { return (0, self) }
        return (Int(first), UnsafeRawBufferPointer(rebasing: self[1...]))
    }
}

/// The repository's fixtures, from the folder that the fuzzer was built in.
func fixture(_ name: String) -> String {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    return root.path + "/fixtures/" + name
}
