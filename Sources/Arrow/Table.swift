/// A file's columns and how to begin a row.
package struct Table<Row>: Sendable {
    package let name: String
    /// What a row is, and who reads it.
    package let documentation: String
    package let columns: [Column<Row>]
    package let make: @Sendable () -> Row
    /// Roughly how many bytes a row adds to a batch: batches are cut by it, so files have the same bytes on every run.
    let weight: @Sendable (Row) -> Int
    /// The command that writes it, and may be run again where a file of it is damaged.
    package let writer: String
    /// What a row is called in messages.
    let nameOf: (@Sendable (Row) -> String)?
    /// What all its rows keep.
    let rules: [RowRule<Row>]

    package init(
        name: String, documentation: String, columns: [Column<Row>], make: @escaping @Sendable () -> Row,
        weight: @escaping @Sendable (Row) -> Int, writer: String, nameOf: (@Sendable (Row) -> String)? = nil,
        rules: [RowRule<Row>] = []
    ) {
        (self.name, self.documentation, self.columns, self.writer) = (name, documentation, columns, writer)
        (self.make, self.weight, self.nameOf, self.rules) = (make, weight, nameOf, rules)
    }

    package func adding(_ more: [Column<Row>]) -> Table {
        Table(
            name: name, documentation: documentation, columns: columns + more, make: make, weight: weight,
            writer: writer, nameOf: nameOf, rules: rules)
    }

    /// What to do about a damaged file.
    var remedy: String { "Run \(writer) again with --overwrite." }
}
