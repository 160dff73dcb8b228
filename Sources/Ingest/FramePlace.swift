import Files
import Formats
import Foundation
import Scratch

/// A frame that lies in no shard as it shall be, to be written where score finds it.
protocol NewFrame: Sendable {
    func append(to file: AtomicFile) throws
}

/// A frame in memory.
struct FrameBytes: NewFrame {
    let bytes: [UInt8]

    func append(to file: AtomicFile) throws { try file.write(bytes) }
}

/// Fills in where a row's frame lies for score to find: in the shard, or in a file of frames that is made on the way.
struct FramePlace {
    private let shard: RolloutShard?
    private let path: String
    private var file: AtomicFile?
    /// What rows say whose frames stay in the shard.
    private let shardPath: String?

    /// `path`: that of the copy, if one is to be made, in the ingest directory.
    init(_ shard: RolloutShard, _ path: String, copies: Bool) throws {
        (self.shard, self.path) = (shard, path)
        file = copies ? try AtomicFile(path, digests: true) : nil
        shardPath =
            copies ? nil : LogitsPath.text(of: shard.file.path, in: parentFolder(path))
    }

    /// For rows that bring their frames; the file is made for the first of them.
    init(framesAt path: String) { (shard, self.path, shardPath) = (nil, path, nil) }

    /// The row comes with offset and length of its frame in the shard; a length of 0 says that score needs nothing of
    /// it.
    mutating func fill(_ row: inout RolloutRow, frame: (any NewFrame)? = nil) throws {
        guard row.logitsLength > 0 else { return }
        if let shardPath { return row.logitsPath = shardPath }
        let file = try self.file ?? AtomicFile(path, digests: true)
        self.file = file
        row.logitsPath = (file.path as NSString).lastPathComponent
        let start = file.position
        if let frame {
            try frame.append(to: file)
        } else if let shard {
            try file.write(shard.compressed(FrameSpan(offset: Int(row.logitsOffset), length: Int(row.logitsLength))))
        }
        (row.logitsOffset, row.logitsLength) = (Int64(start), Int64(file.position - start))
    }

    /// The file, if one was made.
    func finish() throws -> WrittenFile? { try file?.finish() }
}

/// A frame with its logits split, made by one of many threads and on disk until its turn to be copied comes.
final class SplitCopy: NewFrame, @unchecked Sendable {
    private let file: UnnamedFile

    init(_ span: FrameSpan, in shard: MappedFile, place: String, folder: String) throws {
        let file = try UnnamedFile(folder: folder)
        try FrameSplitting(span, in: shard, place: place).write { try file.append($0) }
        self.file = file
    }

    func append(to target: AtomicFile) throws {
        var piece = [UInt8](repeating: 0, count: min(file.count, 1 << 20)), done = 0
        while done < file.count {
            let size = min(piece.count, file.count - done)
            try piece.withUnsafeMutableBytes { buffer in
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<size])
                try file.read(into: part, at: done)
                try target.write(UnsafeRawBufferPointer(part))
            }
            done += size
        }
    }
}
