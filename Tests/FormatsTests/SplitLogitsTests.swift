import Formats
import Foundation
import TestSupport
import Testing

/// Logits whose two bytes lie apart: the same rows as whole ones, whatever the memory and the order of the planes.
@Suite struct SplitLogitsTests {
    private let folder: TemporaryDirectory
    private var path: String { folder("x.rollouts.zst") }
    static let rows = 3
    static let vocabulary = 11

    init() throws { folder = try TemporaryDirectory() }

    static let bits: [UInt16] = (0..<rows * vocabulary).map { UInt16(truncatingIfNeeded: 0x3f00 + $0 * 331) & 0x7f7f }

    /// Every bit of every element, row by row.
    private func read(memory: Int, file: String? = nil, place: String = "") throws -> (
        frame: RolloutFrame, rows: [[UInt16]]
    ) {
        let shard = try RolloutShard(path: file ?? path)
        var rows: [[UInt16]] = []
        let stream = try FrameStream(shard.entries[0].span, in: shard.file, place: place)
        let frame = try RolloutFrameReader.read(stream, file: "x", place: place, memory: PlaneMemory(limit: memory)) {
            row in
            #expect(row.index == rows.count)
            rows.append(elements(row))
        }
        return (frame, rows)
    }

    private func elements(_ row: LogitsRow) -> [UInt16] {
        let logits = row.kernelRow
        return (0..<row.info.vocabulary).map { i in
            guard let low = logits.low else {
                return logits.values.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self)
            }
            return UInt16(logits.values.load(fromByteOffset: i, as: UInt8.self)) << 8 | UInt16(low[i])
        }
    }

    private func rollout(_ dtype: DType, split: Bool) -> RolloutFrame {
        var frame = TinyRollout(prompt: 2, completion: Self.rows).frame
        frame.logits = LogitsInfo(dtype: dtype, rows: Self.rows, vocabulary: Self.vocabulary, isSplit: split)
        return frame
    }

    private func write(_ frame: RolloutFrame) throws {
        try writeShard(
            blobs: [try RolloutShardWriter.blob(frame, logits: Self.bits.withUnsafeBytes { Array($0) })], to: path)
    }

    @Test(arguments: [DType.bf16, .f16], [true, false]) func bothFormsBringTheSameRows(_ dtype: DType, _ split: Bool)
        throws
    {
        try write(rollout(dtype, split: split))
        // With room for a plane, without any (the frame is decoded twice, one plane behind), and one byte short of it.
        for memory in [1 << 20, 0, Self.bits.count, Self.bits.count - 1] {
            let (frame, rows) = try read(memory: memory)
            #expect(
                frame.logits == LogitsInfo(dtype: dtype, rows: Self.rows, vocabulary: Self.vocabulary, isSplit: split))
            #expect(rows.flatMap { $0 } == Self.bits && rows.count == Self.rows, "memory \(memory)")
            #expect(frame.lossMask == rollout(dtype, split: split).lossMask)
            #expect(frame.metadata["logits_dtype"] == (split ? dtype.rawValue.lowercased() : nil))
        }
    }

    /// Tensors by hand: names, types, shapes and bytes as a producer may lay them out.
    struct Part: Sendable {
        var name: String
        var dtype = DType.u8
        var shape = [SplitLogitsTests.rows, SplitLogitsTests.vocabulary]
        var bytes: [UInt8]
    }

    static let high = bits.map { UInt8($0 >> 8) }
    static let low = bits.map { UInt8(truncatingIfNeeded: $0) }

    private func blob(_ logits: [Part], metadata: [String: String] = [:]) -> [UInt8] {
        let frame = rollout(.bf16, split: true)
        let mask = Part(name: "loss_mask", shape: [5], bytes: frame.lossMask.map { $0 ? 1 : 0 })
        let ids = Part(name: "token_ids", dtype: .i32, shape: [5], bytes: frame.tokenIDs.withUnsafeBytes { Array($0) })
        let parts = [ids] + logits.prefix(1) + [mask] + logits.dropFirst()
        let header = SafetensorsHeader(
            laying: parts.map { TensorInfo(name: $0.name, dtype: $0.dtype, shape: $0.shape) },
            metadata: ["rollout_id": "r"].merging(metadata) { $1 })
        return header.encoded() + parts.flatMap(\.bytes)
    }

    /// Low bytes first, and another tensor between the planes; without a type they are bfloat16.
    @Test func planesMayComeInAnyOrder() throws {
        try writeShard(
            blobs: [blob([Part(name: "logits_low", bytes: Self.low), Part(name: "logits_high", bytes: Self.high)])],
            to: path)
        for memory in [1 << 20, 0] {
            let (frame, rows) = try read(memory: memory)
            #expect(rows.flatMap { $0 } == Self.bits && frame.logits?.dtype == .bf16, "memory \(memory)")
        }
    }

    struct Fault: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let reason: RejectReason
        let found: String
        let parts: @Sendable () -> [Part]
        var metadata: [String: String] = [:]
    }

    static let faults = [
        Fault(
            testDescription: "no low half", reason: .missingTensor, found: "no tensor 'logits_low'",
            parts: { [Part(name: "logits_high", bytes: high)] }),
        Fault(
            testDescription: "no high half", reason: .missingTensor, found: "no tensor 'logits_high'",
            parts: { [Part(name: "logits_low", bytes: low)] }),
        Fault(
            testDescription: "both forms", reason: .wrongShape, found: "'logits' beside",
            parts: { pair + [Part(name: "logits", dtype: .bf16, bytes: high + low)] }),
        Fault(
            testDescription: "halves of two bytes", reason: .wrongDType, found: "'logits_low' of dtype U16",
            parts: { [pair[0], Part(name: "logits_low", dtype: .u16, bytes: low + low)] }),
        Fault(
            testDescription: "unequal halves", reason: .wrongShape, found: "logits_high [3, 11] and logits_low [3, 10]",
            parts: { [pair[0], Part(name: "logits_low", shape: [3, 10], bytes: Array(low.dropLast(3)))] }),
        Fault(
            testDescription: "more rows than tokens", reason: .wrongShape, found: "'logits_high' of shape [33, 1]",
            parts: {
                [
                    Part(name: "logits_high", shape: [33, 1], bytes: high),
                    Part(name: "logits_low", shape: [33, 1], bytes: low),
                ]
            }),
        Fault(
            testDescription: "halves of float32", reason: .wrongDType, found: "logits_dtype 'f32'", parts: { pair },
            metadata: ["logits_dtype": "f32"]),
    ]
    static let pair = [Part(name: "logits_high", bytes: high), Part(name: "logits_low", bytes: low)]

    @Test(arguments: faults) func halvesThatDoNotBelongTogetherAreRefused(_ fault: Fault) throws {
        try writeShard(blobs: [blob(fault.parts(), metadata: fault.metadata)], to: path)
        let error = #expect(throws: FrameError.self) { try read(memory: 1 << 20) }
        #expect(
            error?.reason == fault.reason && error?.format.found.contains(fault.found) == true,
            "\(error?.description ?? "")")
    }

    /// A frame cut off in its second plane is noticed, whichever way it is read.
    @Test func aPlaneCutShortIsNoticed() throws {
        var bytes = blob(Self.pair)
        bytes.removeLast(4)
        try writeShard(blobs: [bytes], to: path)
        for memory in [1 << 20, 0] { #expect(throws: FrameError.self) { try read(memory: memory) } }
    }

    @Test(arguments: [DType.bf16, .f16]) func splittingAFrameKeepsEverything(_ dtype: DType) throws {
        var frame = rollout(dtype, split: false)
        frame.values = [0, 0, 1, 2, 3]
        try write(frame)
        let shard = try RolloutShard(path: path)
        var bytes: [UInt8] = []
        try FrameSplitting(shard.entries[0].span, in: shard.file, place: "").write { bytes += $0 }
        try writeBytes(bytes, to: folder("split"))
        let (again, rows) = try read(memory: 1 << 20, file: folder("split"))
        #expect(rows.flatMap { $0 } == Self.bits && again.logits?.isSplit == true && again.logits?.dtype == dtype)
        #expect(again.tokenIDs == frame.tokenIDs && again.lossMask == frame.lossMask && again.values == frame.values)
        var metadata = again.metadata
        #expect(
            metadata.removeValue(forKey: "logits_dtype") == dtype.rawValue.lowercased() && metadata == frame.metadata)
        #expect(
            !FrameSplitting.applies(to: again.logits)
                && !FrameSplitting.applies(to: LogitsInfo(dtype: .f32, rows: 1, vocabulary: 1)))
    }

    /// A budget is shared by the threads, and one that is too small for anything leaves no room for planes: both forms
    /// of reading give the same rows, so that is slower and nothing else.
    @Test func memoryForPlanesFollowsFromTheBudget() {
        #expect(PlaneMemory(budget: 512 << 20, threads: 2).limit == 176 << 20)
        #expect(PlaneMemory(budget: 100 << 20, threads: 2).limit == 0)
    }
}
