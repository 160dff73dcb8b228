import Arrow

/// Every table that stages hand to each other, each written down once in a file of its own: the row, the columns with
/// what stands in them, and what a reader holds a row to. A newcomer adds a column as one line.
///
/// Every list of one entry per token has the length of `token_ids` and holds 0 where the loss mask is false; position t
/// describes token t (not the prediction made at t).
package enum Tables {
    /// In the order in which a run writes them: what documentation is printed from.
    package static let all = [
        TableDescription(
            rollouts, files: "ingest/rollouts-%05d.arrow",
            words: [ColumnWords("evidence", EntropySource.self), finishReasons]),
        TableDescription(
            rejected, files: "ingest/rejected.arrow", words: [ColumnWords("reason", RejectReason.self)]),
        TableDescription(measures, files: "ingest/measures-%05d.arrow"),
        TableDescription(
            scores, files: "score/scores-%05d.arrow", optional: [sumPSquared] + topK,
            words: [ColumnWords("verdict", Verdict.self)]),
        TableDescription(plan, files: "plan/plan.arrow"),
        TableDescription(dropped, files: "plan/dropped.arrow"),
        TableDescription(jobs, files: "plan/jobs/jobs.arrow"),
        TableDescription(bases, files: "plan/jobs/bases.arrow"),
        TableDescription(metrics, files: "update/metrics.arrow"),
        TableDescription(loop, files: "metrics.arrow of crux-loop"),
    ]

    /// Engines' words, by what they are taken for.
    private static let finishReasons = ColumnWords(
        "finish_reason", FinishReason.allCases.map { ($0.words, $0.documentation) })
}

/// A table without its rows.
package struct TableDescription: Sendable {
    package struct Column: Sendable {
        package let name: String
        /// As the house writes types: `list<float32>`.
        package let type: String
        package let isNullable: Bool
        /// There only when asked for.
        package let isOptional: Bool
        package let documentation: String
    }

    package let name: String
    /// Where it lies, seen from a run's folder.
    package let files: String
    package let writer: String
    package let documentation: String
    package let columns: [Column]
    /// Of the columns whose text is one of a few words.
    package let words: [ColumnWords]

    init<Row>(_ table: Table<Row>, files: String, optional: [Arrow.Column<Row>] = [], words: [ColumnWords] = []) {
        self.words = words
        (name, self.files, writer, documentation) = (table.name, files, table.writer, table.documentation)
        let describe = { (column: Arrow.Column<Row>, isOptional: Bool) in
            Column(
                name: column.name, type: "\(column.type)", isNullable: column.nullable, isOptional: isOptional,
                documentation: column.documentation)
        }
        columns = table.columns.map { describe($0, false) } + optional.map { describe($0, true) }
    }
}
