import Arrow
import Credit
import Foundation
import Quantiles
import Scratch
import StageSupport

/// The plan's rows as they lie in the dump's files.
final class DumpTokens: TokenSource, PlanRowSource, @unchecked Sendable {
    private let rollouts: ScoredRollouts
    private let needs: RowRequirements
    private let eligible: ScratchArray<Int32>
    private let passes: any Passes
    private let lock = NSLock()
    private var readers: [Set<TokenColumn>: RowReader] = [:]
    private var columnReaders: [[TokenColumn]: ColumnReader] = [:]
    private let scratch = IdlePool<FloatScratch>()
    private let scoreBatches: [Int]
    /// Rows whose entropies are known to be finite. A row is one thread's at a time; what another doesn't see yet is
    /// looked at again.
    private let finite: ScratchTable<Bool>
    private let whole: RowReader

    init(
        _ rollouts: ScoredRollouts, _ needs: RowRequirements, eligible: ScratchArray<Int32>, _ space: ScratchSpace,
        _ passes: any Passes
    ) throws {
        (self.rollouts, self.needs, self.eligible, self.passes) = (rollouts, needs, eligible, passes)
        whole = RowReader(rollouts, columns: Self.planned(needs))
        scoreBatches = rollouts.scoreBatches
        finite = try ScratchTable(space, count: rollouts.rowCount)
    }

    func inputs(of rows: ArraySlice<Int32>, reading columns: Set<TokenColumn>) throws -> [CreditInput] {
        let columns = columns.union(needs.rewardColumns)
        return try reader(columns).read(rows.lazy.map { [eligible] in Int(eligible[Int($0)]) }) {
            try needs.creditInput($0, columns: columns)
        }
    }

    private func reader(_ columns: Set<TokenColumn>) -> RowReader {
        lock.withLock {
            if let reader = readers[columns] { return reader }
            var wanted = RowColumns(tokens: columns)
            if !needs.endTokens.isEmpty || needs.recipe.credit.readsTurns { wanted.rollouts.insert("token_ids") }
            let reader = RowReader(rollouts, columns: wanted)
            readers[columns] = reader
            return reader
        }
    }

    // MARK: passes

    /// Those of a batch of the scores.
    func together(with row: Int32) -> Range<Int32> {
        let next = partitionPoint(of: scoreBatches.count) { scoreBatches[$0] > Int(eligible[Int(row)]) }
        let end = next < scoreBatches.count ? scoreBatches[next] : rollouts.rowCount, start = scoreBatches[next - 1]
        return Int32(firstRow(from: start))..<Int32(firstRow(from: end))
    }

    /// The plan's first row that doesn't stand before a place of the dump.
    private func firstRow(from place: Int) -> Int { partitionPoint(of: eligible.count) { Int(eligible[$0]) >= place } }

    func trainable(
        _ rows: ArraySlice<Int32>, _ columns: [TokenColumn],
        _ body: (_ place: Int, [UnsafeBufferPointer<Float>]) throws -> Void
    ) throws {
        guard needs.endTokens.isEmpty else { return try forEachInput(rows, columns, body) }
        let memory = scratch.take() ?? FloatScratch()
        defer { scratch.give(memory) }
        let (reader, last) = readerWithEntropy(columns)
        var place = 0
        try reader.forEach(rows.lazy.map { [eligible] in Int(eligible[Int($0)]) }, leavingBehind: columns.count) {
            row in
            guard let mask = row.ingest.list(0) else { preconditionFailure("a mask is never null") }
            let values = try columns.indices.map { index in
                try numbers(
                    row, columns[index], row.scores.list(index) ?? row.scores.list(last), mask,
                    memory.buffer(index, mask.count))
            }
            try body(place, values)
            place += 1
        }
    }

    func readUnchecked(
        _ rows: ArraySlice<Int32>, _ column: TokenColumn,
        _ body: (_ place: Int, UnsafeBufferPointer<Float>) throws -> Void
    ) throws {
        guard needs.endTokens.isEmpty else { return try forEachInput(rows, [column]) { try body($0, $1[0]) } }
        let memory = scratch.take() ?? FloatScratch()
        defer { scratch.give(memory) }
        let (reader, last) = readerWithEntropy([column])
        var place = 0
        try reader.forEach(rows.lazy.map { [eligible] in Int(eligible[Int($0)]) }, leavingBehind: 1) { row in
            guard let mask = row.ingest.list(0) else { preconditionFailure("a mask is never null") }
            try body(
                place,
                try marked(row, column, row.scores.list(0) ?? row.scores.list(last), mask, memory.buffer(0, mask.count))
            )
            place += 1
        }
    }

    func gather(_ ranges: [GatherRange], _ column: TokenColumn, into target: UnsafeMutablePointer<Float>) throws {
        guard needs.endTokens.isEmpty else {
            for gather in ranges {
                try forEachInput([Int32(gather.row)], [column]) { gather.copy($1[0], into: target) }
            }
            return
        }
        let (reader, last) = readerWithEntropy([column])
        var next = 0
        try reader.forEach(ranges.lazy.map { [eligible] in Int(eligible[$0.row]) }) { row, copy in
            guard let mask = row.ingest.list(0) else { preconditionFailure("a mask is never null") }
            let gather = ranges[next]
            next += 1
            guard let list = row.scores.list(0) ?? row.scores.list(last) else { return }
            if list.count != mask.count { try refuse(row.number, column) }
            var place = gather.target
            mask.places(ofTrues: gather.values) {
                copy(list, $0, target + place)
                place += $0.count
            }
        }
    }

    /// Row by row, where a row's trainable tokens are not those of the file.
    private func forEachInput(
        _ rows: ArraySlice<Int32>, _ columns: [TokenColumn],
        _ body: (_ place: Int, [UnsafeBufferPointer<Float>]) throws -> Void
    ) throws {
        let wanted = Set(columns).union([.entropy])
        for (place, row) in rows.enumerated() {
            try inputs(of: [row], reading: wanted)[0].withTrainable(columns) { try body(place, $0) }
        }
    }

    private func numbers(
        _ row: RowView, _ column: TokenColumn, _ list: ArrowList?, _ mask: ArrowList,
        _ scratch: UnsafeMutablePointer<Float>
    ) throws -> UnsafeBufferPointer<Float> {
        let values = try marked(row, column, list, mask, scratch)
        if column == .entropy { try requireFinite(values, row.number) }
        return values
    }

    private func marked(
        _ row: RowView, _ column: TokenColumn, _ list: ArrowList?, _ mask: ArrowList,
        _ scratch: UnsafeMutablePointer<Float>
    ) throws -> UnsafeBufferPointer<Float> {
        guard let list else { return UnsafeBufferPointer(start: scratch, count: 0) }
        if list.count != mask.count { try refuse(row.number, column) }
        return mask.marked(list, scratch: scratch)
    }

    /// Once for each row, in whichever pass comes first: to look again would cost as much as the pass itself.
    private func requireFinite(_ entropy: UnsafeBufferPointer<Float>, _ row: Int) throws {
        guard !finite[row] else { return }
        guard entropy.areFinite else { return try refuse(row, .entropy) }
        finite[row] = true
    }

    /// Reads a row as others are read: that says what is wrong with it.
    private func refuse(_ row: Int, _ column: TokenColumn) throws {
        _ = try reader([.entropy, column]).read([row]) {
            _ = try needs.creditInput($0, columns: [.entropy, column])
            // An empty list passes for none there.
            throw needs.wrongLength(column, $0.column(column)?.count ?? 0, $0)
        }
    }

    /// The entropy goes along, as the list of this number: it takes the place of bounds where a row has none.
    private func readerWithEntropy(_ columns: [TokenColumn]) -> (reader: ColumnReader, entropy: Int) {
        columns == [.entropy] ? (columnReader(columns), 0) : (columnReader(columns + [.entropy]), columns.count)
    }

    private func columnReader(_ columns: [TokenColumn]) -> ColumnReader {
        lock.withLock {
            if let reader = columnReaders[columns] { return reader }
            let views = ColumnViews(ingest: [.values("loss_mask")], scores: columns.map { .values($0.rawValue) })
            let reader = ColumnReader(rollouts, views)
            columnReaders[columns] = reader
            return reader
        }
    }

    func inOrder<Value: Sendable>(
        _ count: Int, _ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void
    ) throws {
        try passes.inOrder(count, produce, consume)
    }

    // MARK: rows to write

    /// Throws where a kept row has no log-probabilities that the update will read. `lacking`: rows of the plan that
    /// have none, ascending.
    func requireLogprobs(_ kept: ScratchArray<PlannedRow>, lacking: ScratchArray<Int32>) throws {
        guard !lacking.isEmpty, let row = kept.first(where: { lacking.holds($0.row) })?.row else { return }
        _ = try whole.read([Int(eligible[Int(row)])]) { try needs.requireLogprobs($0) }
    }

    func planned(_ rows: ArraySlice<Int32>) throws -> [(ScoredRollout, CreditInput)] {
        try whole.read(rows.lazy.map { [eligible] in Int(eligible[Int($0)]) }) { row in
            try needs.requireLogprobs(row)
            return (row, try needs.creditInput(row))
        }
    }

    /// What `plan.arrow` and the credit of a row are made of.
    private static func planned(_ needs: RowRequirements) -> RowColumns {
        let credit = needs.recipe.credit
        var columns = RowColumns(
            tokens: credit.rowColumns.union([.oldLogprobs, .rolloutLogprobs, .referenceLogprobs, .values]))
        columns.rollouts.formUnion(["group_id", "token_ids", "temperature", "evidence", "finish_reason"])
        columns.rollouts.formUnion(["support_token_ids", "support_offsets", "routed_experts", "routed_experts_shape"])
        if needs.readsRoles { columns.rollouts.insert("token_roles") }
        columns.scores.formUnion(["reward", "correct", "evidence"])
        if credit.readsTeacherPrompt { columns.scores.insert("teacher_prompt") }
        if needs.recipe.objective.reference == .process { columns.scores.insert("process_reference_logprobs") }
        return columns
    }
}

/// Memory that one thread gathers numbers in, row after row.
private final class FloatScratch {
    private var buffers: [UnsafeMutableBufferPointer<Float>] = []

    /// Room for `count` numbers of a row's column of that number; what the row before left there is gone.
    func buffer(_ column: Int, _ count: Int) -> UnsafeMutablePointer<Float> {
        while buffers.count <= column { buffers.append(.allocate(capacity: 4096)) }
        if buffers[column].count < count {
            buffers[column].deallocate()
            buffers[column] = .allocate(capacity: max(count, 2 * buffers[column].count))
        }
        return buffers[column].baseAddress!
    }

    deinit { buffers.forEach { $0.deallocate() } }
}

extension ScratchArray<Int32> {
    /// Whether it has a number; numbers ascend.
    fileprivate func holds(_ wanted: Int32) -> Bool {
        let place = partitionPoint(of: count) { self[$0] >= wanted }
        return place < count && self[place] == wanted
    }
}
