import Scratch

/// A rollout that is to be trained on, before anybody has looked at its tokens.
package struct PlannedRow: BitwiseCopyable, Sendable {
    /// Index into the rows of the plan.
    package let row: Int32
    package let group: Int32
    package let step: Int32
    /// Number of its pair; -1 where it is in none.
    package var pair: Int32 = -1
    /// Of every token, where rewards alone decide.
    package let advantage: Double
}

extension ScratchArray<PlannedRow> {
    /// Positions cut into chunks, each ending where it is full; the last one need not be.
    package func chunks(_ positions: Range<Int>, _ facts: RolloutFacts, isFull: (_ rows: Int, _ tokens: Int) -> Bool)
        -> [Range<Int>]
    {
        var chunks: [Range<Int>] = [], start = positions.lowerBound, tokens = 0
        facts.space.forEach(positions) { position in
            tokens += Int(facts.rows[Int(self[position].row)].length)
            guard isFull(position + 1 - start, tokens) || position + 1 == positions.upperBound else { return }
            chunks.append(start..<position + 1)
            (start, tokens) = (position + 1, 0)
        }
        return chunks
    }
}

/// What filter, estimator and schedule make of a dump: who is kept, in the order of the plan's rows, and why others are
/// not.
struct FilteredRollouts {
    var kept: ScratchArray<PlannedRow>
    var dropped: DroppedRows
    var warnings: [String] = []
    /// Groups that are worth sampling again.
    var resample = ScratchArray<Int32>([])
    /// What the estimator knows of the plan as a whole.
    var planFigures: [Double] = []

    /// By row of the plan: its position among those kept + 1; 0 where it isn't kept.
    func positions(_ facts: RolloutFacts) throws -> ScratchTable<Int32> {
        let positions = try ScratchTable<Int32>(facts.space, count: facts.rows.count)
        facts.space.forEach(kept.indices) { positions[Int(kept[$0].row)] = Int32($0 + 1) }
        return positions
    }
}
