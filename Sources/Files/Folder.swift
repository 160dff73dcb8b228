import Foundation
import Scratch

/// What folders hold, and how they come and go, with the system's own word where that fails. Foundation's listings take
/// an error on the way for the end: half of a folder would pass for all of it.
package enum Folder {
    /// Names in a folder, hidden ones included, sorted by their bytes.
    package static func names(_ path: String) throws -> [String] {
        guard let folder = openFolder(path) else { throw unreadable(path, "list the folder") }
        defer { closedir(folder) }
        var names: [String] = []
        while let name = try nextName(folder, path) { if name != ".", name != ".." { names.append(name) } }
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    private static func openFolder(_ path: String) -> OpaquePointer? {
        while true {
            if let folder = opendir(path) { return folder }
            guard errno == EINTR else { return nil }
        }
    }

    private static func nextName(_ folder: OpaquePointer, _ path: String) throws -> String? {
        // Nothing but this tells the end from an error.
        errno = 0
        guard let entry = readdir(folder) else {
            guard errno == 0 else { throw IOError.fromErrno(path, "list the folder") }
            return nil
        }
        let start = MemoryLayout<dirent>.offset(of: \dirent.d_name) ?? 0
        return String(cString: (UnsafeRawPointer(entry) + start).assumingMemoryBound(to: CChar.self))
    }

    /// Files below a folder, at any depth, by their paths within it, sorted folder by folder. Symbolic links to folders
    /// are not followed.
    package static func files(below path: String) throws -> [String] {
        try names(path).flatMap { name in
            let inside = path + "/" + name
            guard try isFolder(inside, following: false) else { return [name] }
            return try files(below: inside).map { name + "/" + $0 }
        }
    }

    /// Makes a folder and those above it that are missing.
    package static func create(_ path: String) throws {
        if uninterrupted({ mkdir(path, 0o777) }) == 0 { return }
        let code = errno, above = parentFolder(path)
        switch code {
        case ENOENT where !above.isEmpty && above != path:
            try create(above)
            // Somebody else may have made it meanwhile.
            if uninterrupted({ mkdir(path, 0o777) }) != 0, errno != EEXIST {
                throw IOError.fromErrno(path, "create the folder")
            }
        case EEXIST where try isFolder(path): break
        default: throw IOError(file: path, action: "create the folder", code: code)
        }
    }

    /// Removes a file, or a folder with all that it holds; nothing where there is none. A symbolic link goes, not what
    /// it points to.
    package static func remove(_ path: String) throws {
        if uninterrupted({ unlink(path) }) == 0 || errno == ENOENT { return }
        let code = errno
        guard try isFolder(path, following: false) else { throw IOError(file: path, action: "remove it", code: code) }
        for name in try names(path) { try remove(path + "/" + name) }
        if uninterrupted({ rmdir(path) }) != 0, errno != ENOENT { throw IOError.fromErrno(path, "remove it") }
    }

    /// Whether there is a folder of that name.
    package static func isFolder(_ path: String, following: Bool = true) throws -> Bool {
        try fileStatus(path, following: following).map { $0.st_mode & S_IFMT == S_IFDIR } ?? false
    }
}

/// What the system says of a file or folder; nil where there is none.
package func fileStatus(_ path: String, following: Bool = true) throws -> stat? {
    var status = stat()
    guard uninterrupted({ following ? stat(path, &status) : lstat(path, &status) }) != 0 else { return status }
    if errno == ENOENT || errno == ENOTDIR { return nil }
    throw unreadable(path, "look at it")
}

/// Whether there is a file or folder of that name. An error that hides it (EIO, EACCES) is thrown, never taken for its
/// absence.
package func fileExists(_ path: String) throws -> Bool { try fileStatus(path) != nil }

/// All bytes of a file that fits in memory, or the first of them, at least `limit`; nil where there is none.
package func readFile(_ path: String, upTo limit: Int = .max) throws -> Data? {
    let descriptor = uninterrupted { open(path, O_RDONLY | O_CLOEXEC) }
    if descriptor < 0, errno == ENOENT || errno == ENOTDIR { return nil }
    guard descriptor >= 0 else { throw unreadable(path) }
    defer { close(descriptor) }
    var bytes = Data(), piece = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        let count = uninterrupted { read(descriptor, &piece, piece.count) }
        guard count >= 0 else { throw unreadable(path) }
        guard count > 0, bytes.count < limit else { return bytes }
        guard bytes.count + count <= mostBytes else {
            throw FormatError(
                file: path, place: "", found: "more than \(mostBytes) bytes",
                expected: "a file of text that fits in memory")
        }
        bytes.append(contentsOf: piece[..<count])
    }
}

/// Far more than any manifest, recipe or record.
private let mostBytes = 1 << 30

/// Why a file or folder can't be read, from `errno`: the user's own affair where it isn't there, isn't allowed or isn't
/// one, else the system's failure, which says nothing about what the file holds.
package func unreadable(_ path: String, _ action: String = "read it") -> any Error {
    switch errno {
    case ENOENT, ENOTDIR, EISDIR, EACCES, EPERM, ELOOP, ENAMETOOLONG:
        FormatError(
            file: path, place: "", found: String(cString: strerror(errno)).lowercased(), expected: "a readable file",
            remedy: "Check the path and its permissions.")
    default: IOError.fromErrno(path, action)
    }
}
