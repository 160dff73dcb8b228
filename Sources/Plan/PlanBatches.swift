import Arrow
import Credit

/// Rows of a plan as its table takes them.
extension CreditPlan {
    /// Where the table's batches begin and end: the writer's rule on lengths that are known already.
    var batches: [Range<Int>] {
        kept.chunks(kept.indices, facts) { ArrowBatchRule.isFull(rows: $0, weight: $1) }
    }

    /// Rows of which a thread holds the tokens at a time, and tokens from which on it takes no other.
    private static let strideRows = 64, strideTokens = 1 << 16

    /// What the kept rows at these positions get, in their order, a few of them in memory at a time.
    func forEachCredit(
        _ positions: Range<Int>, _ rows: any PlanRowSource, _ body: (TokenCredit, ScoredRollout) throws -> Void
    ) throws {
        let strides = kept.chunks(positions, facts) { rows, tokens in
            rows >= Self.strideRows || tokens >= Self.strideTokens
        }
        for part in strides {
            let planned = try rows.planned(part.map { kept[$0].row }[...])
            for (credit, source) in zip(credits(part, planned.map(\.1)), planned) { try body(credit, source.0) }
        }
    }
}
