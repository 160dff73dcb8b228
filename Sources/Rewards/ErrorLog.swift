import Foundation

/// What a reward command says on stderr: its first megabyte to a file, its last words kept, the rest passed over.
final class ErrorLog {
    private var descriptor: Int32
    private let path: String
    private var last: [UInt8] = []
    private var isOpen = true

    private static let mostBytes = 1 << 20, tailBytes = 1 << 12

    init(descriptor: Int32, path: String) {
        (self.descriptor, self.path) = (descriptor, path)
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    }

    /// To be polled; -1, which poll passes over, when there is nothing more to come.
    var pollable: Int32 { isOpen ? descriptor : -1 }

    var tail: String { String(decoding: last, as: UTF8.self) }

    /// Takes what is there.
    func drain() {
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        // Who talks faster than that is heard again later.
        for _ in 0..<64 where isOpen {
            let count = read(descriptor, &piece, piece.count)
            if count < 0 {
                if errno == EINTR { continue }
                return
            }
            guard count > 0 else { return isOpen = false }
            keep(piece[..<count])
        }
    }

    func close() {
        if descriptor >= 0 { Glibc.close(descriptor) }
        (descriptor, isOpen) = (-1, false)
    }

    /// Workers share the file. One that can't be written loses the words and nothing else.
    private func keep(_ bytes: ArraySlice<UInt8>) {
        last = Array((last + bytes).suffix(Self.tailBytes))
        let file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard file >= 0 else { return }
        defer { Glibc.close(file) }
        var status = stat()
        guard fstat(file, &status) == 0, Int(status.st_size) < Self.mostBytes else { return }
        let part = Array(bytes.prefix(Self.mostBytes - Int(status.st_size)))
        _ = write(file, part, part.count)
    }
}
