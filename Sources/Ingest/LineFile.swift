import Files
import Formats
import Foundation

/// A file of JSON lines: where each begins and ends.
struct LineFile: Sendable {
    let file: MappedFile
    /// Lines with anything in them, without their ends; their numbers from 0.
    let lines: [(number: Int, bytes: Range<Int>)]
    /// Whether the last line has its end; one without may be cut off.
    let endsWhole: Bool

    init(path: String) throws {
        file = try MappedFile(path: path)
        (lines, endsWhole) = withExtendedLifetime(file) { [bytes = file.bytes] in
            if let whole = Self.indented(bytes) { return ([(0, whole)], bytes.last == 0x0a) }
            var lines: [(Int, Range<Int>)] = [], start = 0, number = 0
            while start < bytes.count {
                let end = bytes[start...].firstIndex(of: 0x0a) ?? bytes.count
                if bytes[start..<end].contains(where: { $0 > 0x20 }) { lines.append((number, start..<end)) }
                (start, number) = (end + 1, number + 1)
            }
            return (lines, bytes.last == 0x0a)
        }
    }

    /// A file that is one indented object, as a trajectory is written: all of it counts as a line. Its first line has a
    /// brace alone.
    private static func indented(_ bytes: UnsafeRawBufferPointer) -> Range<Int>? {
        guard let start = bytes.firstIndex(where: { $0 > 0x20 }), bytes[start] == UInt8(ascii: "{"),
            let end = bytes[start...].firstIndex(of: 0x0a), !bytes[(start + 1)..<end].contains(where: { $0 > 0x20 })
        else { return nil }
        return start..<bytes.count
    }

    /// A long line stays where it lies: a step's whole batch may stand on one.
    func data(_ index: Int) -> Data {
        withExtendedLifetime(file) {
            let bytes = UnsafeRawBufferPointer(rebasing: file.bytes[lines[index].bytes])
            guard bytes.count >= Self.longLine, let start = UnsafeMutableRawPointer(mutating: bytes.baseAddress) else {
                return Data(bytes)
            }
            return Data(bytesNoCopy: start, count: bytes.count, deallocator: .custom { [file] _, _ in _ = file })
        }
    }

    private static let longLine = 1 << 20

    /// Why a line is no object: the last one may have lost its end.
    func damage(_ index: Int, expected: String) -> (reason: RejectReason, detail: String) {
        let words = String(decoding: data(index).prefix(60), as: UTF8.self),
            isCutOff = index == lines.count - 1 && !endsWhole
        let what = isCutOff ? "a last line without its end: '\(words)'" : "'\(words)'"
        return (isCutOff ? .cutOffLine : .damagedLine, "found \(what), expected a whole JSON object (\(expected))")
    }
}
