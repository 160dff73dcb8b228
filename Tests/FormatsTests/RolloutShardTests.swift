import Formats
import Foundation
import TestSupport
import Testing

@Suite struct RolloutShardTests {
    private let folder: TemporaryDirectory
    private var path: String { folder("x.rollouts.zst") }

    init() throws { folder = try TemporaryDirectory() }

    private func shard(of rollouts: Int) throws -> [UInt8] {
        try writeShard((0..<rollouts).map { TinyRollout(id: "r-\($0)") }, to: path)
        return try readBytes(path)
    }

    private func read(_ shard: RolloutShard, _ entry: Int, row: LogitsRow.Consumer? = nil, memory: Int = 1 << 20) throws
        -> RolloutFrame
    {
        let stream = try FrameStream(shard.compressed(shard.entries[entry].span), file: "x", place: "frame \(entry)")
        return try RolloutFrameReader.read(
            stream, file: "x", place: "frame \(entry)", memory: PlaneMemory(limit: memory), logitsRow: row)
    }

    private func values(_ row: LogitsRow) -> [Float] {
        let logits = row.kernelRow, n = row.info.vocabulary
        guard row.info.dtype != .f32 else {
            return (0..<n).map { logits.values.load(fromByteOffset: 4 * $0, as: Float.self) }
        }
        let high = { (i: Int) in UInt16(logits.values.load(fromByteOffset: i, as: UInt8.self)) }
        let half = (0..<n).map {
            row.info.isSplit
                ? high($0) << 8 | UInt16(logits.low[$0])
                : logits.values.loadUnaligned(fromByteOffset: 2 * $0, as: UInt16.self)
        }
        return row.info.dtype == .bf16
            ? half.map { Float(bitPattern: UInt32($0) << 16) } : half.map { Float(Float16(bitPattern: $0)) }
    }

    private func entries(_ bytes: [UInt8]) throws -> [ShardEntry] {
        try writeBytes(bytes, to: path)
        return try RolloutShard(path: path).entries
    }

    /// Rollout ids of the frames that can still be read.
    private func survivors(_ bytes: [UInt8]) throws -> [String] {
        try writeBytes(bytes, to: path)
        let shard = try RolloutShard(path: path)
        return shard.entries.indices.compactMap { index in
            guard case .frame = shard.entries[index] else { return nil }
            return try? read(shard, index).metadata["rollout_id"]
        }
    }

    @Test func everythingWrittenIsReadBack() throws {
        var rollout = TinyRollout()
        rollout.frame.values = [0, 0, 1, 2, 3]
        rollout.frame.referenceLogprobs = [0, 0, -1, -2, -3]
        rollout.frame.topk = 2
        rollout.frame.topkTokenIDs = [1, 2, 3, 4, 5, 6]
        rollout.frame.topkLogprobs = [-1, -2, -1, -2, -1, -2]
        try writeShard([rollout], to: path)
        var rows: [[Float]] = []
        let frame = try read(RolloutShard(path: path), 0) { row in
            #expect(row.info.dtype == .f32 && row.index == rows.count)
            rows.append(values(row))
        }
        #expect(frame.metadata == rollout.frame.metadata)
        #expect(frame.tokenIDs == rollout.frame.tokenIDs && frame.lossMask == rollout.frame.lossMask)
        #expect(frame.rolloutLogprobs == rollout.frame.rolloutLogprobs)
        #expect(frame.values == rollout.frame.values && frame.referenceLogprobs == rollout.frame.referenceLogprobs)
        #expect(
            frame.topk == 2 && frame.topkTokenIDs == rollout.frame.topkTokenIDs
                && frame.topkLogprobs == rollout.frame.topkLogprobs)
        #expect(rows.flatMap { $0 } == rollout.logits)
    }

    @Test func fixtureShardsHold64FramesEach() throws {
        for index in 0..<3 {
            let shard = try RolloutShard(path: fixture("dump/rollouts-0000\(index).rollouts.zst"))
            #expect(shard.entries.count == 64)
            #expect(try read(shard, 63).trainableTokens > 0)
        }
    }

    @Test func skippableFramesArePassedOver() throws {
        let one = try shard(of: 1)
        let skippable: [UInt8] = [0x53, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 9, 9, 9]
        #expect(
            try entries(skippable + one + skippable + one) == [
                .frame(FrameSpan(offset: 11, length: one.count)),
                .frame(FrameSpan(offset: 22 + one.count, length: one.count)),
            ])
    }

    /// A crash of the producer costs the rollout it was writing, wherever it was cut.
    @Test func truncationLosesTheLastRolloutOnly() throws {
        let bytes = try shard(of: 3)
        let last = try frameOffsets(of: path)[2]
        for cut in last + 1..<bytes.count { #expect(try survivors(Array(bytes[..<cut])) == ["r-0", "r-1"]) }
    }

    @Test func aPartialFrameInTheMiddleLosesNoOther() throws {
        let bytes = try shard(of: 1)
        for cut in [1, 3, 4, 6, 20, bytes.count - 1] { #expect(try survivors(bytes[..<cut] + bytes) == ["r-0"]) }
    }

    @Test func garbageBetweenFramesLosesNone() throws {
        let bytes = try shard(of: 2), middle = try frameOffsets(of: path)[1]
        let garbage = Array("not a frame at all".utf8)
        #expect(try survivors(bytes[..<middle] + garbage + bytes[middle...]) == ["r-0", "r-1"])
    }

    /// Every single flipped bit of the first frame is noticed, by the walk or by the checksum, and never costs the
    /// rollouts after it. (Bits that leave the decoded bytes as they are may pass: the frame header has such.)
    @Test func oneFlippedBitCostsAtMostOneRollout() throws {
        let bytes = try shard(of: 4), second = try frameOffsets(of: path)[1]
        let intact = try survivors(bytes)
        for bit in 0..<8 * second {
            var damaged = bytes
            damaged[bit / 8] ^= 1 << (bit % 8)
            let left = try survivors(damaged)
            #expect(left == intact || left == Array(intact.dropFirst()), "bit \(bit): \(left)")
        }
    }

    /// The length of the first block now reaches into a later frame and ends there as if it were the last block.
    @Test func aFrameThatRunsOverOthersIsNotBelieved() throws {
        let one = try shard(of: 1)
        var liar = one
        // Magic, a descriptor without checksum and content size, window; then a raw last block that spans the next two
        // frames.
        let size = 2 * one.count + 5
        let block = UInt32(size << 3 | 1)
        liar = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x58, UInt8(block & 255), UInt8(block >> 8 & 255), UInt8(block >> 16)]
        #expect(try survivors(liar + one + one + one) == ["r-0", "r-0", "r-0"])
    }

    @Test func anEmptyShardHasNoEntries() throws { #expect(try entries([]).isEmpty) }

    @Test func bytesThatAreNoZstdAreOneBrokenStretch() throws {
        let found = try entries(Array("certainly not a shard".utf8))
        #expect(found.count == 1)
        #expect(found.first?.span == FrameSpan(offset: 0, length: 21))
    }

    private func reason(_ blob: [UInt8]) throws -> RejectReason? {
        try writeShard(blobs: [blob], to: path)
        do {
            _ = try read(RolloutShard(path: path), 0)
            return nil
        } catch let error as FrameError { return error.reason }
    }

    @Test func blobLongerThanDeclaredIsRefused() throws {
        #expect(try reason(TinyRollout().blob() + [0]) == .blobLongerThanDeclared)
    }

    @Test func blobShorterThanDeclaredIsRefused() throws {
        #expect(try reason(TinyRollout().blob().dropLast()) == .blobShorterThanDeclared)
    }

    /// 64 MiB of zeros behind a blob of a few hundred bytes, in a frame that doesn't say how much it holds: decoding
    /// must stop at the first byte too many.
    @Test func decompressionBombIsNotDecoded() throws {
        let blob = try TinyRollout().blob()
        try writeShard(blobs: [blob + [UInt8](repeating: 0, count: 64 << 20)], to: path)
        let shard = try RolloutShard(path: path)
        let stream = try FrameStream(shard.compressed(shard.entries[0].span), file: "x", place: "")
        let error = #expect(throws: FrameError.self) {
            try RolloutFrameReader.read(stream, file: "x", place: "", logitsRow: nil)
        }
        #expect(error?.reason == .blobLongerThanDeclared)
        #expect(error?.rolloutID == "r-0")
        #expect(stream.produced <= blob.count)
    }

    /// A header that promises more than any frame of this length can hold is refused before anything is decoded for it.
    @Test func promiseBeyondTheFrameIsRefused() throws {
        let json =
            #"{"token_ids":{"dtype":"I32","shape":[4000000],"data_offsets":[0,16000000]},"#
            + #""loss_mask":{"dtype":"U8","shape":[4000000],"data_offsets":[16000000,20000000]}}"#
        let blob = withUnsafeBytes(of: UInt64(json.utf8.count).littleEndian) { Array($0) } + Array(json.utf8)
        #expect(try reason(blob) == .oversized)
    }

    @Test(arguments: [UInt64.max, 1 << 50, 100_000_001, 4096])
    func headerLengthBeyondTheBlobIsRefused(length: UInt64) throws {
        #expect(
            try reason(withUnsafeBytes(of: length.littleEndian) { Array($0) } + Array("{}".utf8)) == .invalidSafetensors
        )
    }

    /// Whatever a shard is damaged into, reading it ends in frames or errors, never in a crash.
    @Test func damagedShardsNeverCrash() throws {
        let blob = try TinyRollout().blob()
        var random = SplitMix(seed: 11)
        for _ in 0..<2000 {
            var damaged = blob
            for _ in 0..<Int(random.next() % 4) + 1 {
                damaged[Int(random.next() % UInt64(blob.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            _ = try reason(damaged)
        }
    }
}
