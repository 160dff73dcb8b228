import Formats
import Foundation

/// Fills in where a row's frame lies for score to find: in the shard, or in a copy of the frames that is made on the way.
struct FramePlace {
    private let shard: RolloutShard
    private let copy: AtomicFile?

    /// `copy`: path of the copy to make, if any.
    init(_ shard: RolloutShard, copy path: String?) throws {
        self.shard = shard
        copy = try path.map { try AtomicFile($0) }
    }

    /// The row comes with offset and length of its frame in the shard; a length of 0 says that score needs nothing of it.
    mutating func fill(_ row: inout RolloutRow, _ split: SplitCopy?) throws {
        guard row.logitsLength > 0 else { return }
        guard let copy else { return row.logitsPath = absolutePath(shard.file.path) }
        let begin = copy.position
        if let split {
            try split.append(to: copy)
        } else {
            try copy.write(shard.compressed(FrameSpan(offset: Int(row.logitsOffset), length: Int(row.logitsLength))))
        }
        row.logitsPath = (copy.path as NSString).lastPathComponent
        (row.logitsOffset, row.logitsLength) = (Int64(begin), Int64(copy.position - begin))
    }

    func finish() throws { try copy?.commit() }
}

/// A frame with its logits split, made by one of many threads and on disk until its turn to be copied comes.
final class SplitCopy: @unchecked Sendable {
    private let file: UnnamedFile

    init(_ span: FrameSpan, in shard: MappedFile, place: String, folder: String) throws {
        let file = try UnnamedFile(folder: folder)
        try FrameSplitting(span, in: shard, place: place).write { try file.append($0) }
        self.file = file
    }

    func append(to copy: AtomicFile) throws {
        var piece = [UInt8](repeating: 0, count: min(file.count, 1 << 20)), done = 0
        while done < file.count {
            let size = min(piece.count, file.count - done)
            try piece.withUnsafeMutableBytes { buffer in
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<size])
                try file.read(into: part, at: done)
                try copy.write(UnsafeRawBufferPointer(part))
            }
            done += size
        }
    }
}
