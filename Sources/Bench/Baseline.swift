import Foundation
import StageSupport

/// A Python program that measures the other side: says "ready" once, then answers each line it gets with a line of
/// numbers.
final class Baseline {
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private let name: String

    init(python: String, _ arguments: [String]) throws {
        name = ([python] + arguments).joined(separator: " ")
        process.executableURL = URL(fileURLWithPath: python)
        process.arguments = arguments
        process.standardInput = input
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        guard try line() == "ready" else {
            throw ChildProcess.Failure(description: "\(name) did not start: does that Python have what it imports?")
        }
    }

    deinit {
        process.terminate()
        process.waitUntilExit()
    }

    func ask(_ question: String = "") throws -> [Double] {
        try input.fileHandleForWriting.write(contentsOf: Data((question + "\n").utf8))
        let answer = try line(), numbers = answer.split(separator: " ").compactMap { Double($0) }
        guard !numbers.isEmpty else {
            throw ChildProcess.Failure(description: "\(name): found the answer '\(answer)', expected numbers")
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
