import Files

/// What a safetensors file has otherwise than another with the same header: a safetensors file itself, which has for
/// each tensor NAME with other elements `NAME.positions`, where they are in it (I32, or I64 of tensors from 2^31 elements
/// on; ascending), and `NAME.values`, what they are now, in the tensor's own type. Its metadata have the SHA-256 of both
/// files. Elements are compared bit by bit.
package struct SafetensorsDelta {
    private let file: SafetensorsFile
    /// By the tensor's name.
    private let changes: [String: Change]
    /// Of the files before and after, in lower-case hex.
    package let base: String, result: String

    /// Where a tensor's positions and values are in the delta's file.
    private struct Change {
        let positions: TensorInfo
        let values: TensorInfo
    }

    private enum Key {
        static let format = "format", base = "base_sha256", result = "result_sha256"
    }
    private static let format = "crux-delta-1", positions = ".positions", values = ".values"

    /// Elements that differ, and all.
    package struct Count: Equatable, Sendable {
        package var changed = 0
        package var elements = 0
        package init() {}
        package static func += (sum: inout Count, next: Count) {
            (sum.changed, sum.elements) = (sum.changed + next.changed, sum.elements + next.elements)
        }
    }

    // MARK: writing

    /// Writes at `path` what `result` has otherwise than `base`. Both must have the same header, byte by byte.
    package static func write(from base: SafetensorsFile, to result: SafetensorsFile, at path: String) throws {
        guard base.headerBytes == result.headerBytes else {
            throw FormatError(
                file: result.path, place: "header", found: "other tensors, types or metadata than in \(base.path)",
                expected: "the same header, of which a delta has the values that differ")
        }
        let changed = base.header.tensors.map { tensor in
            var count = 0
            forEachDifference(base, result, tensor) { _, _ in count += 1 }
            return (tensor: tensor, count: count)
        }.filter { $0.count > 0 }
        let header = SafetensorsHeader(
            laying: changed.flatMap { [info(ofPositions: $0.tensor, $0.count), info(ofValues: $0.tensor, $0.count)] },
            metadata: [
                Key.format: format, Key.base: try SHA256Digest.ofFile(base.path),
                Key.result: try SHA256Digest.ofFile(result.path),
            ])
        let writer = try SafetensorsWriter(path: path, header: header)
        for (tensor, _) in changed {
            let wide = positionType(tensor) == .i64
            try append(to: writer) { pending in
                try forEachDifference(base, result, tensor) { position, _ in
                    if wide { try pending.append(Int64(position)) } else { try pending.append(Int32(position)) }
                }
            }
            try append(to: writer) { pending in
                try forEachDifference(base, result, tensor) { try pending.append($1) }
            }
        }
        try writer.finish()
    }

    private static func positionType(_ tensor: TensorInfo) -> DType {
        tensor.elementCount > Int(Int32.max) ? .i64 : .i32
    }

    private static func info(ofPositions tensor: TensorInfo, _ count: Int) -> TensorInfo {
        TensorInfo(name: tensor.name + positions, dtype: positionType(tensor), shape: [count])
    }

    private static func info(ofValues tensor: TensorInfo, _ count: Int) -> TensorInfo {
        TensorInfo(name: tensor.name + values, dtype: tensor.dtype, shape: [count])
    }

    /// Elements that are compared at a time.
    private static let comparedAtOnce = 1 << 20

    /// Calls `body` with the position and the new bytes of each element that `result` has otherwise, in order.
    private static func forEachDifference(
        _ base: SafetensorsFile, _ result: SafetensorsFile, _ tensor: TensorInfo,
        _ body: (Int, UnsafeRawBufferPointer) throws -> Void
    ) rethrows {
        let count = tensor.elementCount
        for start in stride(from: 0, to: count, by: comparedAtOnce) {
            let range = start..<min(start + comparedAtOnce, count)
            try base.withElements(range, of: tensor) { old in
                try result.withElements(range, of: tensor) { new in
                    switch tensor.dtype.size {
                    case 1: try compare(old, new, UInt8.self, from: start, body)
                    case 2: try compare(old, new, UInt16.self, from: start, body)
                    case 4: try compare(old, new, UInt32.self, from: start, body)
                    default: try compare(old, new, UInt64.self, from: start, body)
                    }
                }
            }
        }
    }

    private static func compare<Bits: FixedWidthInteger>(
        _ old: UnsafeRawBufferPointer, _ new: UnsafeRawBufferPointer, _: Bits.Type, from start: Int,
        _ body: (Int, UnsafeRawBufferPointer) throws -> Void
    ) rethrows {
        let size = MemoryLayout<Bits>.size
        // A file's data need not begin at a multiple of an element's size.
        for place in stride(from: 0, to: old.count, by: size)
        where old.loadUnaligned(fromByteOffset: place, as: Bits.self)
            != new.loadUnaligned(fromByteOffset: place, as: Bits.self)
        {
            try body(start + place / size, UnsafeRawBufferPointer(rebasing: new[place..<place + size]))
        }
    }

    private static func append(
        to writer: SafetensorsWriter, _ body: (inout PendingBytes) throws -> Void
    ) throws {
        var pending = PendingBytes(writer: writer)
        try body(&pending)
        try pending.flush()
    }

    /// Small pieces on their way to a file.
    private struct PendingBytes {
        let writer: SafetensorsWriter
        private var bytes: [UInt8] = []

        init(writer: SafetensorsWriter) { self.writer = writer }

        private static let mostBytes = 1 << 18

        mutating func append(_ number: some FixedWidthInteger) throws {
            try withUnsafeBytes(of: number.littleEndian) { try append($0) }
        }

        mutating func append(_ piece: UnsafeRawBufferPointer) throws {
            bytes.append(contentsOf: piece)
            if bytes.count >= Self.mostBytes { try flush() }
        }

        mutating func flush() throws {
            try bytes.withUnsafeBytes { try writer.append($0) }
            bytes.removeAll(keepingCapacity: true)
        }
    }

    // MARK: reading

    /// Opens and checks a delta as far as it can be without the file that it is of.
    package init(path: String) throws {
        let file = try SafetensorsFile(path: path)
        let metadata = file.header.metadata
        guard metadata[Key.format] == Self.format, let base = metadata[Key.base], let result = metadata[Key.result]
        else {
            throw FormatError(
                file: path, place: "metadata", found: "format '\(metadata[Key.format] ?? "none")'",
                expected: "\(Self.format) with \(Key.base) and \(Key.result), as crux-update --delta writes it")
        }
        var changes: [String: Change] = [:]
        for positions in file.header.tensors where positions.name.hasSuffix(Self.positions) {
            let name = String(positions.name.dropLast(Self.positions.count))
            guard let values = file.header[name + Self.values], values.shape == positions.shape,
                positions.shape.count == 1, positions.dtype == .i32 || positions.dtype == .i64
            else {
                throw FormatError(
                    file: path, place: "tensor '\(positions.name)'",
                    found: "\(positions.dtype.rawValue) \(positions.shape)",
                    expected: "I32 or I64 and one value for each in '\(name + Self.values)'")
            }
            changes[name] = Change(positions: positions, values: values)
        }
        guard 2 * changes.count == file.header.tensors.count else {
            throw FormatError(
                file: path, place: "header",
                found: "\(file.header.tensors.count) tensors, \(changes.count) of them positions",
                expected: "positions and values, two by two")
        }
        (self.file, self.changes, self.base, self.result) = (file, changes, base, result)
    }

    /// What of the file that it is of differs.
    package func count(of base: SafetensorsFile) -> Count {
        var count = Count()
        count.elements = base.header.tensors.reduce(0) { $0 + $1.elementCount }
        count.changed = changes.values.reduce(0) { $0 + $1.positions.elementCount }
        return count
    }

    // MARK: applying

    /// Writes at `path` the file that this is the difference to. Throws, and leaves a file that nobody may take for it
    /// there, where the result is another than the one that the delta was made of.
    package func apply(to base: SafetensorsFile, writing path: String) throws {
        let digest = try SHA256Digest.ofFile(base.path)
        guard digest == self.base else {
            throw FormatError(
                file: base.path, place: "", found: "SHA-256 \(digest)", expected: "\(self.base) by \(file.path)",
                remedy: "Give the checkpoint that the update began with.")
        }
        try requirePlaces(in: base)
        let writer = try SafetensorsWriter(
            path: path, headerBytes: base.headerBytes, dataBytes: base.header.dataBytes)
        for tensor in base.header.tensors { try append(tensor, of: base, to: writer) }
        try writer.finish()
        let made = try SHA256Digest.ofFile(path)
        guard made == result else {
            throw FormatError(
                file: file.path, place: "", found: "a file of SHA-256 \(made) by these positions and values",
                expected: result, remedy: "The delta is damaged; copy it again.")
        }
    }

    private func append(_ tensor: TensorInfo, of base: SafetensorsFile, to writer: SafetensorsWriter) throws {
        let count = tensor.elementCount, size = tensor.dtype.size, change = changes[tensor.name]
        var next = 0, place = 0
        for start in stride(from: 0, to: count, by: Self.comparedAtOnce) {
            let range = start..<min(start + Self.comparedAtOnce, count)
            var piece = base.withElements(range, of: tensor) { [UInt8]($0) }
            while let change, next < change.positions.elementCount {
                place = position(next, change)
                guard place < range.upperBound else { break }
                let value = file.bytes(of: change.values)[next * size..<(next + 1) * size]
                piece.replaceSubrange((place - start) * size..<(place - start + 1) * size, with: value)
                next += 1
            }
            try piece.withUnsafeBytes { try writer.append($0) }
        }
    }

    private func position(_ index: Int, _ change: Change) -> Int {
        let bytes = file.bytes(of: change.positions)
        return change.positions.dtype == .i64
            ? Int(Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8 * index, as: Int64.self)))
            : Int(Int32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4 * index, as: Int32.self)))
    }

    /// Every change has its place in the file: positions ascend within a tensor of the values' type.
    private func requirePlaces(in base: SafetensorsFile) throws {
        for (name, change) in changes.sorted(by: { $0.key < $1.key }) {
            guard let tensor = base.header[name], tensor.dtype == change.values.dtype else {
                throw FormatError(
                    file: file.path, place: "tensor '\(change.values.name)'",
                    found: "values of type \(change.values.dtype.rawValue)",
                    expected: base.header[name].map { "\($0.dtype.rawValue), that of \(base.path)" }
                        ?? "a tensor of \(base.path)")
            }
            var last = -1
            for index in 0..<change.positions.elementCount {
                let place = position(index, change)
                guard place > last, place < tensor.elementCount else {
                    throw FormatError(
                        file: file.path, place: "tensor '\(change.positions.name)'",
                        found: "\(place) behind \(last)",
                        expected: "ascending positions below \(tensor.elementCount)")
                }
                last = place
            }
        }
    }
}
