import Formats

/// A file of rollouts, entry by entry: frames of a shard, or lines of another program's dump.
protocol RolloutSource: Sendable {
    var count: Int { get }
    /// What is wrong with the file as a whole; its entries are then not looked at.
    var fault: (reason: RejectReason, detail: String)? { get }
    /// An entry's number and first byte in the file.
    func position(of entry: Int) -> (number: Int, offset: Int)
    /// What its rollouts become. Throws only when the run is interrupted.
    func examine(_ entry: Int) throws -> [Outcome]
    /// `path`: where frames are to be written for score, if they have to be, in the ingest directory.
    func framePlace(_ path: String, copies: Bool) throws -> FramePlace
}

extension RolloutSource {
    /// A file without anything in it, such as a writer leaves that was stopped before its first rollout.
    fileprivate func emptiness(bytes: Int) -> (reason: RejectReason, detail: String)? {
        count > 0 ? nil : (.emptyShard, "found no rollout in a file of \(bytes) bytes, expected at least one")
    }
}

struct ShardSource: RolloutSource {
    private let shard: RolloutShard
    private let examiner: FrameExaminer

    init(_ path: String, _ examiner: FrameExaminer) throws {
        (shard, self.examiner) = (try RolloutShard(path: path), examiner)
    }

    var count: Int { shard.entries.count }
    var fault: (reason: RejectReason, detail: String)? {
        FrameExaminer.lackOfFrames(shard) ?? emptiness(bytes: shard.file.bytes.count)
    }
    func position(of entry: Int) -> (number: Int, offset: Int) { (entry, shard.entries[entry].span.offset) }
    func examine(_ entry: Int) throws -> [Outcome] { [try examiner.examine(shard, entry: entry)] }
    func framePlace(_ path: String, copies: Bool) throws -> FramePlace { try FramePlace(shard, path, copies: copies) }
}

extension LineExaminer: RolloutSource {
    var count: Int { file.lines.count }
    var fault: (reason: RejectReason, detail: String)? { emptiness(bytes: file.file.bytes.count) }
    func position(of entry: Int) -> (number: Int, offset: Int) {
        (file.lines[entry].number, file.lines[entry].bytes.lowerBound)
    }
    func framePlace(_ path: String, copies: Bool) throws -> FramePlace { FramePlace(framesAt: path) }
}
