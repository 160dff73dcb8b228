import Formats
import Foundation

/// Streams rows into a rollouts table whose metadata tells the evidence grades of all its rows. That is known only at the end,
/// but stands at the beginning: the first row's grade is taken for all, and where others follow the table is written twice.
struct RolloutTableWriter {
    typealias Metadata = (_ evidence: Set<String>) -> [String: String]

    private let path: String
    private let metadata: Metadata
    private var writer: ArrowTableWriter<RolloutRow>?
    private var assumed: Set<String> = []
    private var seen: Set<String> = []

    init(path: String, metadata: @escaping Metadata) {
        self.path = path
        self.metadata = metadata
    }

    mutating func append(_ row: RolloutRow) throws {
        if writer == nil {
            assumed = [row.evidence]
            writer = try Self.open(path, metadata(assumed))
        }
        seen.insert(row.evidence)
        try writer?.append(row)
    }

    mutating func finish() throws {
        var writer = try writer ?? Self.open(path, metadata([]))
        try writer.finish()
        if seen != assumed { try Self.rewrite(path, metadata: metadata) { _ in true } }
    }

    /// Writes the table again with those of its rows that `keep` wants.
    static func rewrite(_ path: String, metadata: Metadata, keep: (RolloutRow) -> Bool) throws {
        let old = try ArrowTableReader(path: path, table: Tables.rollouts)
        var evidence: Set<String> = []
        try old.forEachRow { if keep($0) { evidence.insert($0.evidence) } }
        var new = try open(path, metadata(evidence))
        try old.forEachRow { if keep($0) { try new.append($0) } }
        try new.finish()
    }

    private static func open(_ path: String, _ metadata: [String: String]) throws -> ArrowTableWriter<RolloutRow> {
        try ArrowTableWriter(path: path, table: Tables.rollouts, metadata: metadata)
    }
}
