import CZstd
import Files
import Foundation

/// What a walk over a shard finds: frames, and chunks that are none.
package enum ShardEntry: Equatable, Sendable {
    case frame(FrameSpan)
    case broken(FrameSpan, reason: RejectReason)

    package var span: FrameSpan {
        switch self {
        case .frame(let span), .broken(let span, _): span
        }
    }
}

/// A rollout shard: concatenated zstd frames, one rollout each. Frames are found by their block headers, without
/// decompressing anything.
package struct RolloutShard: Sendable {
    package let file: MappedFile
    package let entries: [ShardEntry]

    package init(path: String) throws {
        file = try MappedFile(path: path)
        entries = Self.walk(file)
    }

    package func compressed(_ span: FrameSpan) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: file.bytes[span.offset..<span.offset + span.length])
    }

    /// Block headers that may be read in search of frames that turn out to be none. Real damage takes a few thousand;
    /// bytes made for it could have every position begin a walk through all that follows.
    private static let mostFutileHeaders = 1 << 24

    private static func walk(_ file: MappedFile) -> [ShardEntry] {
        let bytes = file.bytes
        var entries: [ShardEntry] = [], position = 0, futile = 0
        while position < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[position...])
            if let size = frameLength(at: position, in: file, &futile),
                !swallows(file, position..<position + size, &futile)
            {
                if !isSkippable(rest) { entries.append(.frame(FrameSpan(offset: position, length: size))) }
                position += size
            } else {
                // Boundaries are lost: go on at the next frame magic, so that one flipped bit costs one rollout.
                let next = nextFrame(file, after: position + 1, &futile) ?? bytes.count
                let reason: RejectReason = next == bytes.count ? .truncatedFrame : .damagedFrame
                entries.append(.broken(FrameSpan(offset: position, length: next - position), reason: reason))
                position = next
            }
        }
        return entries
    }

    /// By its block headers, as ZSTD_findFrameCompressedSize does it. But reading a header maps the pages around it,
    /// and so in the end the whole shard into this process's memory: they are given back on the way. Nil where no whole
    /// frame begins. Headers read in vain are counted in `futile`.
    private static func frameLength(at start: Int, in file: MappedFile, _ futile: inout Int) -> Int? {
        let rest = UnsafeRawBufferPointer(rebasing: file.bytes[start...])
        guard magic(rest) == ZSTD_MAGICNUMBER else {
            let size = ZSTD_findFrameCompressedSize(rest.baseAddress, rest.count)
            return ZSTD_isError(size) == 0 && size > 0 ? size : nil
        }
        // The second largest value means an invalid header.
        guard ZSTD_getFrameContentSize(rest.baseAddress, rest.count) != UInt64.max - 1, rest.count > 4 else {
            return nil
        }
        var position = headerLength(descriptor: rest[4]), released = 0, isLast = false, headers = 0, isWhole = false
        defer { if !isWhole { futile += headers } }
        while !isLast {
            headers += 1
            guard position + 3 <= rest.count, futile + headers <= mostFutileHeaders else { return nil }
            let header = Int(rest[position]) | Int(rest[position + 1]) << 8 | Int(rest[position + 2]) << 16,
                type = header >> 1 & 3
            // Type 1 is a byte to be repeated, 3 is reserved.
            guard type != 3 else { return nil }
            isLast = header & 1 == 1
            position += 3 + (type == 1 ? 1 : header >> 3)
            if position - released >= 64 << 20 || isLast {
                file.release(start + released..<start + min(position, rest.count))
                released = position
            }
        }
        let end = position + (rest[4] & 4 == 0 ? 0 : 4)
        isWhole = end <= rest.count
        return isWhole ? end : nil
    }

    /// Magic number, descriptor, and what that says follows: window, dictionary, content size (RFC 8878, 3.1.1.1).
    private static func headerLength(descriptor: UInt8) -> Int {
        let isSingleSegment = descriptor & 0x20 != 0, dictionary = [0, 1, 2, 4][Int(descriptor & 3)]
        return 5 + (isSingleSegment ? 0 : 1) + dictionary + [isSingleSegment ? 1 : 0, 2, 4, 8][Int(descriptor >> 6)]
    }

    /// A damaged block length can lead the walk through later frames to an end by chance. A true end is the end of the
    /// shard or another frame's start; where it is neither, a whole frame inside proves the length wrong.
    private static func swallows(_ file: MappedFile, _ frame: Range<Int>, _ futile: inout Int) -> Bool {
        let rest = UnsafeRawBufferPointer(rebasing: file.bytes[frame.upperBound...])
        if rest.count < 4 || magic(rest) == ZSTD_MAGICNUMBER || isSkippable(rest) { return false }
        return nextFrame(file, after: frame.lowerBound + 1, &futile).map(frame.contains) ?? false
    }

    private static func magic(_ bytes: UnsafeRawBufferPointer) -> UInt32? {
        bytes.count < 4 ? nil : UInt32(littleEndian: bytes.loadUnaligned(as: UInt32.self))
    }

    private static func isSkippable(_ bytes: UnsafeRawBufferPointer) -> Bool {
        magic(bytes).map { $0 & 0xffff_fff0 == UInt32(ZSTD_MAGIC_SKIPPABLE_START) } ?? false
    }

    /// The next place that bears the magic number and from which a whole frame can be walked.
    private static func nextFrame(_ file: MappedFile, after start: Int, _ futile: inout Int) -> Int? {
        let bytes = file.bytes
        guard let base = bytes.baseAddress else { return nil }
        var position = start
        while position + 4 <= bytes.count, futile < mostFutileHeaders,
            let hit = memchr(base + position, 0x28, bytes.count - position)
        {
            position = UnsafeRawPointer(hit) - base
            let found = UnsafeRawBufferPointer(rebasing: bytes[position...])
            if magic(found) == ZSTD_MAGICNUMBER, frameLength(at: position, in: file, &futile) != nil { return position }
            position += 1
        }
        return nil
    }
}
