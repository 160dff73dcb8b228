import CKernels
import Foundation

/// Shape and type of a rollout's raw logits, [rows, vocabulary]; row k produced the k-th masked-in token.
package struct LogitsInfo: Equatable, Sendable {
    package let dtype: DType
    package let rows: Int
    package let vocabulary: Int
    /// The two bytes of a 16-bit logit lie apart, in the planes `logits_high` and `logits_low`.
    package let isSplit: Bool

    package init(dtype: DType, rows: Int, vocabulary: Int, isSplit: Bool = false) {
        self.dtype = dtype
        self.rows = rows
        self.vocabulary = vocabulary
        self.isSplit = isSplit
    }

    /// Both bytes counted where they lie apart.
    package var rowBytes: Int { vocabulary * dtype.size }

    package var kernelType: crux_dtype { dtype == .bf16 ? CRUX_BF16 : dtype == .f16 ? CRUX_F16 : CRUX_F32 }

    /// Metadata key that says what the planes are halves of, and its values.
    package static let typeKey = "logits_dtype"
    package static let splitTypes: [String: DType] = ["bf16": .bf16, "f16": .f16]
    /// What the key says of these logits; nil where their tensor says it.
    var typeName: String? { isSplit ? Self.splitTypes.first { $0.value == dtype }?.key : nil }
}

/// One row of logits where it lies in memory, for as long as the call that brings it takes.
package struct LogitsRow {
    package let info: LogitsInfo
    package let index: Int
    private let values: UnsafeRawPointer?
    private let low: UnsafeRawPointer?

    /// `values` are the high bytes where `low` has the others.
    init(_ info: LogitsInfo, _ index: Int, values: UnsafeRawPointer?, low: UnsafeRawPointer? = nil) {
        (self.info, self.index, self.values, self.low) = (info, index, values, low)
    }

    /// As the kernels take it.
    package var kernelRow: crux_logits {
        crux_logits(
            values: values, low: low?.assumingMemoryBound(to: UInt8.self), n: info.vocabulary, dtype: info.kernelType)
    }

    /// Why no softmax can be taken of the row; nil where one can.
    package var fault: LogitsFault? {
        var logits = kernelRow
        return switch crux_scan_logits(&logits) {
        case CRUX_ROW_OK: nil
        case CRUX_ROW_NAN: .notANumber
        case CRUX_ROW_POSITIVE_INFINITY: .positiveInfinity
        default: .empty
        }
    }

    /// The row's bytes; not of split rows.
    package var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: values, count: info.rowBytes) }

    /// The bytes of some elements, whole ones also where the row has them in halves.
    package func elements(_ ids: ArraySlice<Int32>) -> [UInt8] {
        var bytes: [UInt8] = []
        guard let values else { return bytes }
        let size = info.dtype.size
        bytes.reserveCapacity(ids.count * size)
        for id in ids {
            if let low {
                bytes.append(low.load(fromByteOffset: Int(id), as: UInt8.self))
                bytes.append(values.load(fromByteOffset: Int(id), as: UInt8.self))
            } else {
                bytes.append(contentsOf: UnsafeRawBufferPointer(start: values + Int(id) * size, count: size))
            }
        }
        return bytes
    }

    /// Sees each row, once, in order.
    package typealias Consumer = (LogitsRow) throws -> Void
}

/// What a row of logits may be that is none.
package enum LogitsFault: Sendable {
    case notANumber
    case positiveInfinity
    /// -inf throughout: no token was possible.
    case empty
}

/// Memory for planes of split logits, shared by the frames that are decoded at the same time and handed on from one to
/// the next: taking it anew for each would cost a tenth of the decoding in page faults.
package final class PlaneMemory: @unchecked Sendable {
    /// Bytes of the largest plane that is held. The rows of a larger one are decoded a second time beside those of the
    /// other plane.
    package let limit: Int
    private let lock = NSLock()
    private var free: [UnsafeMutableRawBufferPointer] = []

    package init(limit: Int) { self.limit = limit }

    /// What a budget for the whole process leaves for each of its threads' planes, beside the tables and the decoders'
    /// own buffers.
    package convenience init(budget: Int, threads: Int) {
        self.init(limit: max(0, budget - Self.elsewhere - threads * Self.decoderBytes) / threads)
    }

    private static let elsewhere = 128 << 20
    private static let decoderBytes = 16 << 20

    deinit { free.forEach { $0.deallocate() } }

    /// Nil for more than the limit. To be given back.
    func take(_ count: Int) -> UnsafeMutableRawBufferPointer? {
        guard count <= limit else { return nil }
        let old = lock.withLock { free.popLast() }
        if let old, old.count >= count { return old }
        old?.deallocate()
        return .allocate(byteCount: count, alignment: 64)
    }

    func give(_ plane: UnsafeMutableRawBufferPointer) { lock.withLock { free.append(plane) } }
}

/// Brings a frame's logits row by row, in whichever form and order it has them.
final class LogitsReading {
    private let info: LogitsInfo
    private let stream: FrameStream
    private let memory: PlaneMemory
    private let consume: LogitsRow.Consumer?
    private var first: FirstPlane?

    /// The plane that came first: all of it, or where in the blob it begins.
    private struct FirstPlane {
        let isHigh: Bool
        let held: UnsafeMutableRawBufferPointer?
        let position: Int
    }

    init(_ info: LogitsInfo, from stream: FrameStream, memory: PlaneMemory, consume: LogitsRow.Consumer?) {
        (self.info, self.stream, self.memory, self.consume) = (info, stream, memory, consume)
    }

    deinit { if let held = first?.held { memory.give(held) } }

    /// A tensor of logits that the stream stands before.
    func take(_ tensor: TensorInfo) throws {
        guard let consume else { return try stream.skip(tensor.end - tensor.begin) }
        guard info.isSplit else { return try takeWhole(consume) }
        if let first {
            try takePair(first, consume)
        } else {
            first = try takeFirst(isHigh: tensor.name == "logits_high")
        }
    }

    private func takeWhole(_ consume: LogitsRow.Consumer) throws {
        try withRow(info.rowBytes) { row in
            for index in 0..<info.rows {
                try stream.read(into: row)
                try consume(LogitsRow(info, index, values: row.baseAddress))
            }
        }
    }

    private func takeFirst(isHigh: Bool) throws -> FirstPlane {
        let position = stream.produced, count = info.rows * info.vocabulary
        guard let plane = memory.take(count) else {
            try stream.skip(count)
            return FirstPlane(isHigh: isHigh, held: nil, position: position)
        }
        do { try stream.read(into: UnsafeMutableRawBufferPointer(rebasing: plane[..<count])) } catch {
            memory.give(plane)
            throw error
        }
        return FirstPlane(isHigh: isHigh, held: plane, position: position)
    }

    private func takePair(_ first: FirstPlane, _ consume: LogitsRow.Consumer) throws {
        func bring(_ index: Int, _ one: UnsafeRawPointer?, _ other: UnsafeRawPointer?) throws {
            try consume(LogitsRow(info, index, values: first.isHigh ? one : other, low: first.isHigh ? other : one))
        }
        try withRow(info.vocabulary) { second in
            if let held = first.held {
                for index in 0..<info.rows {
                    try stream.read(into: second)
                    try bring(
                        index, held.baseAddress.map { UnsafeRawPointer($0) + index * info.vocabulary },
                        second.baseAddress)
                }
                return
            }
            // A second look at the frame, one plane behind.
            let behind = try stream.again()
            try behind.skip(first.position)
            try withRow(info.vocabulary) { row in
                for index in 0..<info.rows {
                    try behind.read(into: row)
                    try stream.read(into: second)
                    try bring(index, row.baseAddress, second.baseAddress)
                }
            }
        }
    }

    private func withRow(_ count: Int, _ body: (UnsafeMutableRawBufferPointer) throws -> Void) throws {
        let row = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 64)
        defer { row.deallocate() }
        try body(row)
    }
}
