import Formats

/// A file of rollouts, entry by entry: frames of a shard, or lines of another program's dump.
protocol RolloutSource: Sendable {
    var count: Int { get }
    /// An entry's number and first byte in the file.
    func position(of entry: Int) -> (number: Int, offset: Int)
    /// What its rollouts become. Throws only when the run is interrupted.
    func examine(_ entry: Int) throws -> [Outcome]
    /// `path`: where frames are to be laid down for score, if they have to be, in the ingest directory.
    func framePlace(_ path: String, copies: Bool) throws -> FramePlace
}

struct ShardSource: RolloutSource {
    private let shard: RolloutShard
    private let examiner: FrameExaminer

    init(_ path: String, _ examiner: FrameExaminer) throws {
        (shard, self.examiner) = (try RolloutShard(path: path), examiner)
        try FrameExaminer.requireFrames(shard)
    }

    var count: Int { shard.entries.count }
    func position(of entry: Int) -> (number: Int, offset: Int) { (entry, shard.entries[entry].span.offset) }
    func examine(_ entry: Int) throws -> [Outcome] { [try examiner.examine(shard, entry: entry)] }
    func framePlace(_ path: String, copies: Bool) throws -> FramePlace { try FramePlace(shard, path, copies: copies) }
}

extension LineExaminer: RolloutSource {
    var count: Int { file.lines.count }
    func position(of entry: Int) -> (number: Int, offset: Int) { (file.lines[entry].number, file.lines[entry].bytes.lowerBound) }
    func framePlace(_ path: String, copies: Bool) throws -> FramePlace { FramePlace(framesAt: path) }
}
