import Files
import Foundation

/// The header of a safetensors file or blob: an 8-byte length, then JSON with each tensor's type, shape and place.
package struct SafetensorsHeader: Equatable, Sendable {
    /// In the order of their bytes.
    package let tensors: [TensorInfo]
    package let metadata: [String: String]

    /// Far beyond any file; sums of a few such sizes are numbers still.
    private static let mostBytes = 1 << 56

    /// The format's own limit on the JSON's length.
    package static let maximumBytes = 100_000_000

    package var dataBytes: Int { tensors.last?.end ?? 0 }

    package subscript(name: String) -> TensorInfo? { tensors.first { $0.name == name } }

    /// Lays tensors out back to back in the given order.
    package init(laying tensors: [TensorInfo], metadata: [String: String]) {
        var position = 0
        self.tensors = tensors.map {
            var tensor = $0
            tensor.begin = position
            position += tensor.elementCount * tensor.dtype.size
            tensor.end = position
            return tensor
        }
        self.metadata = metadata
    }

    /// Checks every rule of the format: known types, sizes that match shapes, no gap, no overlap, no duplicate.
    package init(json: Data, file: String, place: String) throws {
        let (found, metadata) = try json.withUnsafeBytes {
            try SafetensorsHeaderParser.parse($0, file: file, place: place)
        }
        self.metadata = metadata
        tensors = found.sorted { ($0.begin, $0.end, $0.name) < ($1.begin, $1.end, $1.name) }
        var position = 0
        for tensor in tensors {
            try Self.check(tensor, begins: position) { FormatError(file: file, place: place, found: $0, expected: $1) }
            position = tensor.end
        }
    }

    private static func check(
        _ tensor: TensorInfo, begins position: Int, _ fail: (_ found: String, _ expected: String) -> FormatError
    ) throws {
        guard tensor.begin == position, tensor.end >= tensor.begin else {
            throw fail(
                "tensor '\(tensor.name)' at bytes \(tensor.begin)..<\(tensor.end)",
                "it at byte \(position) on: neither gap nor overlap")
        }
        guard tensor.end < mostBytes else {
            throw fail("tensors of \(tensor.end) bytes up to '\(tensor.name)'", "fewer than \(mostBytes)")
        }
        guard let bytes = byteCount(tensor.shape, tensor.dtype) else {
            throw fail("tensor '\(tensor.name)' of shape \(tensor.shape)", "sizes whose product fits")
        }
        guard tensor.end - tensor.begin == bytes else {
            throw fail(
                "tensor '\(tensor.name)' \(tensor.dtype.rawValue)\(tensor.shape) in \(tensor.end - tensor.begin) bytes",
                "\(bytes) bytes")
        }
    }

    private static func byteCount(_ shape: [Int], _ dtype: DType) -> Int? {
        // A zero makes the tensor empty, whatever the other sizes are.
        if shape.contains(0) { return 0 }
        var count = dtype.size
        for size in shape {
            let (product, overflow) = count.multipliedReportingOverflow(by: size)
            guard !overflow, product < mostBytes else { return nil }
            count = product
        }
        return count
    }

    /// Length and JSON, padded with spaces so that the data area begins at a multiple of 8.
    package func encoded() -> [UInt8] {
        var entries = tensors.map { tensor in
            let shape = tensor.shape.map { "\($0)" }.joined(separator: ",")
            return (
                tensor.name,
                #"{"data_offsets":[\#(tensor.begin),\#(tensor.end)],"dtype":"\#(tensor.dtype.rawValue)","shape":[\#(shape)]}"#
            )
        }
        if !metadata.isEmpty { entries.append(("__metadata__", Self.object(metadata.map { ($0, Self.quoted($1)) }))) }
        var json = Array(Self.object(entries).utf8)
        json += [UInt8](repeating: 0x20, count: (8 - json.count % 8) % 8)
        return withUnsafeBytes(of: UInt64(json.count).littleEndian) { Array($0) } + json
    }

    // By hand, because a shard has a header for each of its rollouts and Foundation's writer takes longer than sampling
    // one.

    private static func object(_ entries: [(key: String, value: String)]) -> String {
        "{" + entries.sorted { $0.key < $1.key }.map { quoted($0.key) + ":" + $0.value }.joined(separator: ",") + "}"
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case _ where scalar.value < 0x20:
                result += "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

/// A mapped safetensors file.
package final class SafetensorsFile: Sendable {
    package let path: String
    package let header: SafetensorsHeader
    /// Length field and JSON as they stand in the file: who writes the same layout can write the same bytes.
    package let headerBytes: [UInt8]
    private let file: MappedFile

    package init(path: String) throws {
        self.path = path
        file = try MappedFile(path: path)
        let (json, end) = try Self.headerRange(file)
        header = try SafetensorsHeader(json: Data(file.bytes[json]), file: path, place: "header")
        headerBytes = Array(file.bytes[..<end])
        guard file.bytes.count - end == header.dataBytes else {
            throw FormatError(
                file: path, place: "data area", found: "\(file.bytes.count - end) bytes",
                expected: "\(header.dataBytes) by the header",
                remedy: "The file is cut off or damaged; copy it again.")
        }
    }

    private static func headerRange(_ file: MappedFile) throws -> (json: Range<Int>, end: Int) {
        guard file.bytes.count >= 8 else {
            throw FormatError(
                file: file.path, place: "header", found: "\(file.bytes.count) bytes", expected: "a safetensors file")
        }
        let length = UInt64(littleEndian: file.bytes.loadUnaligned(as: UInt64.self))
        guard length <= UInt64(min(SafetensorsHeader.maximumBytes, file.bytes.count - 8)) else {
            throw FormatError(
                file: file.path, place: "header", found: "a header length of \(length)",
                expected: "at most the file's \(file.bytes.count - 8) bytes")
        }
        return (8..<8 + Int(length), 8 + Int(length))
    }

    package func tensor(_ name: String) throws -> TensorInfo {
        guard let tensor = header[name] else {
            throw FormatError(
                file: path, place: "", found: "no tensor '\(name)'",
                expected: "it among \(header.tensors.count) tensors")
        }
        return tensor
    }

    package func bytes(of tensor: TensorInfo) -> UnsafeRawBufferPointer {
        let start = headerBytes.count
        return UnsafeRawBufferPointer(rebasing: file.bytes[start + tensor.begin..<start + tensor.end])
    }

    /// A tensor's bytes in order, whole elements at a time; what was read does not count against this process any more.
    package func forEachPiece(of tensor: TensorInfo, _ body: (UnsafeRawBufferPointer) throws -> Void) rethrows {
        let first = headerBytes.count + tensor.begin, end = headerBytes.count + tensor.end
        for start in stride(from: first, to: end, by: Self.pieceBytes) {
            let range = start..<min(start + Self.pieceBytes, end)
            try body(UnsafeRawBufferPointer(rebasing: file.bytes[range]))
            file.release(range)
        }
    }

    /// Some elements of a tensor; what was read does not count against this process any more.
    package func withElements<Result>(
        _ range: Range<Int>, of tensor: TensorInfo, _ body: (UnsafeRawBufferPointer) throws -> Result
    ) rethrows -> Result {
        let first = headerBytes.count + tensor.begin, size = tensor.dtype.size
        let bytes = first + range.lowerBound * size..<first + range.upperBound * size
        defer { file.release(bytes) }
        return try body(UnsafeRawBufferPointer(rebasing: file.bytes[bytes]))
    }

    private static let pieceBytes = 16 << 20
}

/// Streams a safetensors file: the header first, then the tensors in its order; it appears under its name when whole.
package struct SafetensorsWriter {
    private let file: AtomicFile
    private let end: Int

    package init(path: String, header: SafetensorsHeader) throws {
        try self.init(path: path, headerBytes: header.encoded(), dataBytes: header.dataBytes)
    }

    package init(path: String, headerBytes: [UInt8], dataBytes: Int) throws {
        file = try AtomicFile(path)
        end = headerBytes.count + dataBytes
        try file.write(headerBytes)
    }

    package func append(_ bytes: UnsafeRawBufferPointer) throws { try file.write(bytes) }

    package func finish() throws {
        precondition(file.position == end, "wrote \(file.position) bytes of a safetensors file of \(end)")
        try file.commit()
    }
}
