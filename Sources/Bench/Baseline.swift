import Foundation
import StageSupport

/// A Python program that measures the other side: says "ready" once, then answers each line it gets with a line of
/// numbers.
final class Baseline {
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private let name: String
    /// A file that has no name any more.
    private let errors: FileHandle

    init(python: String, _ arguments: [String]) throws {
        name = ([python] + arguments).joined(separator: " ")
        errors = try Self.unnamedFile()
        // Whoever ends this process ends its peers, which would go on measuring for nobody.
        process.executableURL = URL(fileURLWithPath: "/usr/bin/setpriv")
        process.arguments = ["--pdeathsig", "KILL", python] + arguments
        process.standardInput = input
        process.standardOutput = output
        process.standardError = errors
        try process.run()
        guard try line() == "ready" else {
            throw ChildProcess.Failure(description: "\(name) did not start: \(lastWords)")
        }
    }

    private static func unnamedFile() throws -> FileHandle {
        let path = FileManager.default.temporaryDirectory.path + "/crux-bench-errors-\(UUID())"
        try Data().write(to: URL(fileURLWithPath: path))
        defer { unlink(path) }
        return try FileHandle(forUpdating: URL(fileURLWithPath: path))
    }

    /// What Python's tracebacks end with.
    private var lastWords: String {
        try? errors.seek(toOffset: 0)
        let said = (try? errors.readToEnd()).flatMap { $0 } ?? Data()
        return String(decoding: said, as: UTF8.self).split(separator: "\n").last.map(String.init) ?? "it said nothing"
    }

    deinit {
        process.terminate()
        process.waitUntilExit()
    }

    func ask(_ question: String = "") throws -> [Double] {
        try input.fileHandleForWriting.write(contentsOf: Data((question + "\n").utf8))
        let answer = try line(), numbers = answer.split(separator: " ").compactMap { Double($0) }
        guard !numbers.isEmpty else {
            throw ChildProcess.Failure(
                description: "\(name): found the answer '\(answer)', expected numbers; it said: \(lastWords)")
        }
        return numbers
    }

    var peakBytes: Int { ProcessMemory.peak(of: process.processIdentifier) }

    private func line() throws -> String {
        var bytes: [UInt8] = []
        while let byte = try output.fileHandleForReading.read(upToCount: 1)?.first, byte != 0x0a { bytes.append(byte) }
        return String(decoding: bytes, as: UTF8.self)
    }
}
