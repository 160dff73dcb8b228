import Arrow
import Files

/// A table whose metadata tells the evidence grades of all its rows.
package struct GradedTable<Row> {
    package typealias Metadata = (_ grades: Set<String>) -> [String: String]

    fileprivate let path: String
    fileprivate let table: Table<Row>
    fileprivate let grade: (Row) -> String
    fileprivate let metadata: Metadata

    package init(path: String, table: Table<Row>, grade: @escaping (Row) -> String, metadata: @escaping Metadata) {
        (self.path, self.table, self.grade, self.metadata) = (path, table, grade, metadata)
    }

    /// Writes the table again with those of its rows that `keep` wants.
    package func rewrite(keep: (Row) -> Bool) throws -> WrittenFile {
        let old = try ArrowTableReader(path: path, table: table)
        var grades: Set<String> = []
        try old.forEachRow { if keep($0) { grades.insert(grade($0)) } }
        var new = try open(grades)
        try old.forEachRow { if keep($0) { try new.append($0) } }
        return try new.finish()
    }

    fileprivate func open(_ grades: Set<String>) throws -> ArrowTableWriter<Row> {
        try ArrowTableWriter(path: path, table: table, metadata: metadata(grades))
    }
}

/// Streams rows into such a table. Their grades are known only at the end, but stand at the beginning: the first row's
/// grade is taken for all, and where others follow the table is written twice.
package struct GradedTableWriter<Row> {
    private let graded: GradedTable<Row>
    private var writer: ArrowTableWriter<Row>?
    private var assumed: Set<String> = []
    private var seen: Set<String> = []

    package init(_ graded: GradedTable<Row>) { self.graded = graded }

    package mutating func append(_ row: Row) throws {
        let grade = graded.grade(row)
        if writer == nil {
            assumed = [grade]
            writer = try graded.open(assumed)
        }
        seen.insert(grade)
        try writer?.append(row)
    }

    @discardableResult
    package mutating func finish() throws -> WrittenFile {
        var writer = try writer ?? graded.open([])
        let written = try writer.finish()
        return seen == assumed ? written : try graded.rewrite { _ in true }
    }
}
