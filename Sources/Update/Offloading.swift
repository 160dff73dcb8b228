import Foundation
import Gang
import Models
import Scratch
import StageSupport
import Tensors

/// `--offload`: a folder on whose disk lies what memory would otherwise have to hold, in files without a name, and what
/// that has cost.
///
/// Everything is written and read by the one thread that drives a step.
final class Offloading {
    let folder: String
    private(set) var bytesWritten = 0
    private(set) var bytesRead = 0
    private(set) var seconds = 0.0

    init(folder: String) { self.folder = folder }

    /// The seconds, and what the system adds later to those of others: written pages reach the disk when it sees fit.
    private func timed(_ body: () throws -> Void) rethrows {
        let start = DispatchTime.now().uptimeNanoseconds
        defer { seconds += Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9 }
        try body()
    }

    func write(_ values: UnsafeRawBufferPointer, to file: UnnamedFile, at offset: Int) throws {
        try timed { try file.write(values, at: offset) }
        bytesWritten += values.count
    }

    func read(into target: UnsafeMutableRawBufferPointer, from file: UnnamedFile, at offset: Int) throws {
        try timed { try file.read(into: target, at: offset) }
        bytesRead += target.count
    }

    /// A line for the user.
    var text: String {
        "offloaded to \(folder): \(MemorySize.text(bytesWritten)) written, \(MemorySize.text(bytesRead)) read, in "
            + String(format: "%.1f s", seconds)
    }

    /// The same for machines.
    var summary: [String: any Sendable] {
        ["bytes_written": bytesWritten, "bytes_read": bytesRead, "seconds": seconds]
    }
}

/// Moments in a file, brought in a stretch of parameters at a time. The same arithmetic on the same numbers: the bytes of
/// a step are those of moments in memory.
final class MomentsInFile: Moments {
    let held: Range<Int>
    private let file: UnnamedFile
    private let offloading: Offloading
    private let stretch: [Buffer]

    /// Parameters whose moments are in memory at a time: what goes to another rank goes in one piece.
    private static let stretchFloats = ExchangeRoom.floats

    /// Bytes of memory.
    static func memoryBytes(count: Int) -> Int { 2 * 4 * min(count, stretchFloats) }

    /// A disk without room for them is told at once.
    init(_ held: Range<Int>, _ offloading: Offloading) throws {
        let count = held.count
        (self.held, self.offloading) = (held, offloading)
        file = try UnnamedFile(folder: offloading.folder)
        try file.extend(to: 2 * 4 * count)
        stretch = Moment.allCases.map { _ in Buffer(uninitialized: min(count, Self.stretchFloats)) }
    }

    private func offset(_ moment: Moment, _ parameter: Int) -> Int {
        4 * (moment.rawValue * held.count + parameter - held.lowerBound)
    }

    private func memory(_ moment: Moment, _ count: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: stretch[moment.rawValue].pointer, count: 4 * count)
    }

    private func forEachStretch(of range: Range<Int>, _ body: (Range<Int>) throws -> Void) rethrows {
        for start in Swift.stride(from: range.lowerBound, to: range.upperBound, by: Self.stretchFloats) {
            try body(start..<min(start + Self.stretchFloats, range.upperBound))
        }
    }

    private func bring(_ moment: Moment, _ range: Range<Int>) throws {
        try offloading.read(
            into: memory(moment, range.count), from: file, at: offset(moment, range.lowerBound))
    }

    func forEachRange(
        _ body: (Range<Int>, _ first: UnsafeMutablePointer<Float>, _ second: UnsafeMutablePointer<Float>) -> Void
    ) throws {
        try forEachStretch(of: held) { range in
            for moment in Moment.allCases { try bring(moment, range) }
            body(range, stretch[Moment.first.rawValue].pointer, stretch[Moment.second.rawValue].pointer)
            for moment in Moment.allCases {
                try write(moment, from: range.lowerBound, UnsafeRawBufferPointer(memory(moment, range.count)))
            }
        }
    }

    func read(_ moment: Moment, _ range: Range<Int>, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        try forEachStretch(of: range) { range in
            try bring(moment, range)
            try body(UnsafeRawBufferPointer(memory(moment, range.count)))
        }
    }

    func write(_ moment: Moment, from start: Int, _ values: UnsafeRawBufferPointer) throws {
        try offloading.write(values, to: file, at: offset(moment, start))
    }
}

/// Activations of layers in a file; each layer has a place there, which the next pass writes again.
final class ActivationsInFile: ActivationStore {
    private let file: UnnamedFile
    private let offloading: Offloading

    init(_ offloading: Offloading) throws {
        self.offloading = offloading
        file = try UnnamedFile(folder: offloading.folder)
    }

    /// With the place in the file of each array, one after the other; all layers that come here have the same arrays.
    private func forEachPlace(
        _ arrays: [Buffer], layer: Int, _ body: (UnsafeMutableRawBufferPointer, _ offset: Int) throws -> Void
    ) rethrows {
        var offset = layer * arrays.reduce(0) { $0 + 4 * $1.count }
        for array in arrays where array.count > 0 {
            try body(UnsafeMutableRawBufferPointer(start: array.pointer, count: 4 * array.count), offset)
            offset += 4 * array.count
        }
    }

    func write(_ arrays: [Buffer], layer: Int) throws {
        try forEachPlace(arrays, layer: layer) {
            try offloading.write(UnsafeRawBufferPointer($0), to: file, at: $1)
        }
    }

    func read(into arrays: [Buffer], layer: Int) throws {
        try forEachPlace(arrays, layer: layer) { try offloading.read(into: $0, from: file, at: $1) }
    }
}
