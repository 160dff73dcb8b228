import Arrow
import Files

/// A table whose metadata tells the evidence of all its rows, each kind once.
package struct EvidenceTable<Row> {
    package typealias Metadata = (_ evidence: Set<String>) -> [String: String]

    fileprivate let path: String
    fileprivate let table: Table<Row>
    fileprivate let evidenceOf: (Row) -> String
    fileprivate let metadata: Metadata

    package init(path: String, table: Table<Row>, evidenceOf: @escaping (Row) -> String, metadata: @escaping Metadata) {
        (self.path, self.table, self.evidenceOf, self.metadata) = (path, table, evidenceOf, metadata)
    }

    /// Writes the table again with those of its rows that `keep` wants.
    package func rewrite(keep: (Row) -> Bool) throws -> WrittenFile {
        let old = try ArrowTableReader(path: path, table: table)
        var evidence: Set<String> = []
        try old.forEachRow { if keep($0) { evidence.insert(evidenceOf($0)) } }
        var new = try open(evidence)
        try old.forEachRow { if keep($0) { try new.append($0) } }
        return try new.finish()
    }

    fileprivate func open(_ evidence: Set<String>) throws -> ArrowTableWriter<Row> {
        try ArrowTableWriter(path: path, table: table, metadata: metadata(evidence))
    }
}

/// Streams rows into such a table. The evidence of all is known only at the end, but is written at the beginning:
/// the first row's is taken for all, and where others follow the table is written twice.
package struct EvidenceTableWriter<Row> {
    private let table: EvidenceTable<Row>
    private var writer: ArrowTableWriter<Row>?
    private var assumed: Set<String> = []
    private var seen: Set<String> = []

    package init(_ table: EvidenceTable<Row>) { self.table = table }

    package mutating func append(_ row: Row) throws {
        let evidence = table.evidenceOf(row)
        if writer == nil {
            assumed = [evidence]
            writer = try table.open(assumed)
        }
        seen.insert(evidence)
        try writer?.append(row)
    }

    @discardableResult
    package mutating func finish() throws -> WrittenFile {
        var writer = try writer ?? table.open([])
        let written = try writer.finish()
        return seen == assumed ? written : try table.rewrite { _ in true }
    }
}
