import Credit
import Foundation
import Recipes
import Scratch
import StageSupport

/// What one pass over the small columns of a dump tells: which rows can take part, and what the plan must know of them.
struct FirstPass: Sendable {
    let facts: RolloutFacts
    /// Rows of the dump that take part: the plan's rows, by their place in the dump.
    let eligible: ScratchArray<Int32>
    /// Rows of the dump that can't, with their reason.
    let dropped: DroppedRows
    let labels: RowLabels
    /// Rows that take part and have no log-probabilities that the update would read, ascending.
    let lackingLogprobs: ScratchArray<Int32>

    /// `space`: for what grows with the rows.
    init(_ rollouts: ScoredRollouts, _ needs: RowRequirements, _ space: ScratchSpace, _ passes: any Passes) throws {
        let reader = RowReader(rollouts, columns: Self.columns(needs)), batches = rollouts.batches
        let scanned = ScannedColumns(needs), views = ColumnReader(rollouts, scanned.views)
        var found = try FirstPassWriter(space, components: needs.recipe.credit.reward.components)
        try passes.inOrder(batches.count) { index in
            var part = RowScan(rows: batches[index].count)
            func read(_ row: Int) throws {
                _ = try reader.read(CollectionOfOne(row)) { try part.add($0, row: Int32(row), needs) }
            }
            guard needs.readsNoTokens else {
                for row in batches[index] { try read(row) }
                return part
            }
            try views.forEach(batches[index]) { row in
                guard row.ingest.hasText(of: row.scores, ScannedColumns.rolloutID) else {
                    throw rollouts.mismatchError(row.number)
                }
                if !part.add(row, scanned) { try read(row.number) }
            }
            return part
        } _: {
            try found.add($1)
            space.releasePages(after: batches[$0].count)
        }
        (eligible, lackingLogprobs) = (try found.eligible.finish(), try found.lackingLogprobs.finish())
        (facts, dropped, labels) = (try found.facts.finish(), try found.dropped.finish(), try found.labels.finish())
    }

    /// What is read, and what is only looked for.
    private static func columns(_ needs: RowRequirements) -> RowColumns {
        var columns = RowColumns(tokens: needs.scannedColumns), recipe = needs.recipe.credit
        columns.rollouts.formUnion(["group_id", "policy_version", "finish_reason", "evidence"])
        columns.scores.formUnion(["reward", "correct", "verdict", "evidence"])
        if recipe.reward.components != nil { columns.scores.insert("rewards") }
        if needs.checksSampling { columns.rollouts.formUnion(["top_p", "extras", "support_offsets"]) }
        if needs.readsRoles { columns.rollouts.formUnion(["token_ids", "token_roles"]) }
        if !needs.endTokens.isEmpty { columns.rollouts.insert("token_ids") }
        if recipe.readsGreedy { columns.rollouts.insert("extras") }
        if recipe.readsTeacherPrompt { columns.scores.insert("teacher_prompt") }
        let wanted = recipe.columns.union(needs.rewardColumns).union([.entropy, .entropyLow])
        let update = needs.updateColumns, isOfIngest = { TokenColumn(rawValue: $0)?.isOfIngest ?? false }
        columns.lookedFor = (
            Set(wanted.filter(\.isOfIngest).flatMap(\.fileColumns) + update.filter(isOfIngest)).sorted(),
            Set(wanted.filter { !$0.isOfIngest }.flatMap(\.fileColumns) + update.filter { !isOfIngest($0) }).sorted()
        )
        return columns
    }
}

/// A first pass in the making, chunk of rows behind chunk of rows.
private struct FirstPassWriter {
    var facts: RolloutFactsBuilder
    var eligible: ScratchWriter<Int32>
    var dropped: DroppedRowsWriter
    var lackingLogprobs: ScratchWriter<Int32>
    var labels: RowLabelsWriter

    init(_ space: ScratchSpace, components: RewardComponents?) throws {
        facts = try RolloutFactsBuilder(space, components: components)
        (eligible, dropped) = (ScratchWriter(space), DroppedRowsWriter(space))
        (lackingLogprobs, labels) = (ScratchWriter(space), try RowLabelsWriter(space))
    }

    mutating func add(_ part: RowScan) throws {
        for row in part.lackingLogprobs { try lackingLogprobs.append(Int32(eligible.count) + row) }
        try part.eligible.withUnsafeBufferPointer { try eligible.append(contentsOf: $0) }
        for row in part.dropped { try dropped.append(row.row, row.reason) }
        try facts.add(part.facts, groupNames: part.groups.names, components: part.components)
        try labels.add(part)
    }
}
