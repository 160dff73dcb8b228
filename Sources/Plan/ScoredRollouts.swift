import Arrow
import Credit
import Files
import Formats
import Foundation
import Recipes
import Scratch
import StageSupport

/// A rollout with its scores, or as much of both as was read.
struct ScoredRollout: Sendable {
    var rollout: RolloutRow
    var score: ScoreRow
    /// Columns that have a value, where they were looked for without being read.
    var present: [String]?
    /// Where it left another rollout, where an earlier round of an expansion sampled it from there.
    var branch: BaseRollout.Branch?
}

/// The rows of ingest with those of score beside them, in the files where they lie: one file after the other, as one
/// long table.
struct ScoredRollouts: Sendable {
    private final class Part: Sendable {
        let rollouts: ArrowTableReader<RolloutRow>
        let scores: ArrowTableReader<ScoreRow>
        let rows: Range<Int>

        init(_ rollouts: ArrowTableReader<RolloutRow>, _ scores: ArrowTableReader<ScoreRow>, firstRow: Int) {
            (self.rollouts, self.scores, rows) = (rollouts, scores, firstRow..<firstRow + rollouts.rowCount)
        }
    }

    let directory: String
    /// Width of the dump's logits, where it has any and they agree.
    let vocabulary: Int?
    let trainer: TrainerLogprobs
    /// Whether scores are of the whole vocabulary, whatever rows say could be drawn.
    private let ignoresSupport: Bool
    private let ignoresRoutes: Bool
    let rowCount: Int
    /// Tokens that end a sequence, where a recipe leaves them out.
    var endTokens: Set<Int32> = []
    private let parts: [Part]

    init(ingest: String, _ ingestManifest: Manifest, scores: String, _ scoreManifest: Manifest, _ context: StageContext)
        throws
    {
        try ingestManifest.verify(Self.tables(of: ingestManifest), in: ingest, context)
        try scoreManifest.verify(Self.tables(of: ingestManifest).map(Self.scoreName), in: scores, context)
        directory = scores
        vocabulary = ingestManifest.counts["vocabulary"]
        trainer = TrainerLogprobs(scoreManifest)
        ignoresSupport = ScoredSupport(scoreManifest) == .ignored
        ignoresRoutes = ScoredRoutes(scoreManifest) == .ignored
        var parts: [Part] = [], count = 0
        for name in Self.tables(of: ingestManifest) {
            let scoreName = Self.scoreName(name)
            let rollouts = try ArrowTableReader(path: ingest + "/" + name, table: Tables.rollouts)
            let scoreTable = try ArrowTableReader(
                path: scores + "/" + scoreName, table: Tables.scores.adding([Tables.sumPSquared]))
            guard rollouts.rowCount == scoreTable.rowCount else {
                throw Self.mismatchError(scoreTable.path, "\(scoreTable.rowCount) rows", rollouts)
            }
            parts.append(Part(rollouts, scoreTable, firstRow: count))
            count += rollouts.rowCount
        }
        self.parts = parts
        rowCount = count
    }

    private static func tables(of ingest: Manifest) -> [String] {
        ingest.outputs.map(\.path).filter { $0.hasPrefix("rollouts-") }
    }

    private static func scoreName(_ name: String) -> String { "scores-" + name.dropFirst("rollouts-".count) }

    private static func mismatchError(_ file: String, _ found: String, _ rollouts: ArrowTableReader<RolloutRow>)
        -> FormatError
    {
        FormatError(
            file: file, place: "",
            found: "\(found) that are not those of \((rollouts.path as NSString).lastPathComponent)",
            expected: "its \(rollouts.rowCount) rows in the same order", remedy: "Score this ingest directory.")
    }

    /// What is wrong where a row has two names.
    func mismatchError(_ row: Int) -> FormatError {
        let part = part(holding: row)
        return Self.mismatchError(part.scores.path, "rows", part.rollouts)
    }

    /// Rows of each batch of the ingest files.
    var batches: [Range<Int>] {
        parts.flatMap { part in
            part.rollouts.batches.map { $0.lowerBound + part.rows.lowerBound..<$0.upperBound + part.rows.lowerBound }
        }
    }

    /// Where the batches of the score files begin, ascending.
    var scoreBatches: [Int] {
        parts.flatMap { part in part.scores.batches.map { $0.lowerBound + part.rows.lowerBound } }
    }

    private func part(holding row: Int) -> Part { parts.first { $0.rows.contains(row) }! }

    /// One place in the table, where columns are only looked at.
    fileprivate final class ColumnCursor {
        private let rollouts: ScoredRollouts
        private let columns: ColumnViews
        private var part: Part?
        private var ingest: ArrowColumnCursor<RolloutRow>?
        private var scores: ArrowColumnCursor<ScoreRow>?

        init(_ rollouts: ScoredRollouts, _ columns: ColumnViews) { (self.rollouts, self.columns) = (rollouts, columns) }

        func holds(_ row: Int) -> Bool { part.map { scores?.holds(row - $0.rows.lowerBound) ?? false } ?? false }

        /// Rows around one that lie in one batch of either file.
        func chunk(around row: Int) throws -> RowStretch {
            let part = enter(row), place = row - part.rows.lowerBound
            guard let ingest, let scores else { preconditionFailure("a part was entered without its cursors") }
            return RowStretch(
                first: part.rows.lowerBound, ingest: try ingest.chunk(around: place),
                scores: try scores.chunk(around: place))
        }

        /// Numbers of a list of scores in the batch at hand, without mapping them.
        func copy(_ list: ArrowList, _ places: Range<Int>, into target: UnsafeMutablePointer<Float>) {
            scores?.copy(list, places, into: target)
        }

        /// Says that a list of a column of scores in the batch at hand won't be looked at again.
        func leaveBehind(_ list: ArrowList, of column: Int) { scores?.leaveBehind(list, of: column) }

        private func enter(_ row: Int) -> Part {
            if let part, part.rows.contains(row) { return part }
            let next = rollouts.part(holding: row)
            (ingest, scores) = (
                ArrowColumnCursor(next.rollouts, columns.ingest), ArrowColumnCursor(next.scores, columns.scores)
            )
            part = next
            return next
        }
    }

    /// One place in the table, with the batches around it.
    fileprivate final class Cursor {
        private let rollouts: ScoredRollouts
        private let columns: RowColumns?
        private var part: Part?
        private var rolloutCursor: ArrowRowCursor<RolloutRow>?
        private var scoreCursor: ArrowRowCursor<ScoreRow>?

        init(_ rollouts: ScoredRollouts, _ columns: RowColumns?) { (self.rollouts, self.columns) = (rollouts, columns) }

        func holds(_ row: Int) -> Bool { part.map { rolloutCursor?.holds(row - $0.rows.lowerBound) ?? false } ?? false }

        func row(_ row: Int) throws -> ScoredRollout {
            let part = try part(holding: row), place = row - part.rows.lowerBound
            guard let rolloutCursor, let scoreCursor else {
                preconditionFailure("a part was entered without its cursors")
            }
            var scored = ScoredRollout(rollout: try rolloutCursor.row(place), score: try scoreCursor.row(place))
            guard scored.rollout.rolloutID.isSameBytes(as: scored.score.rolloutID) else {
                throw rollouts.mismatchError(row)
            }
            try scored.score.require(scored.rollout, file: part.scores.path)
            if rollouts.ignoresSupport { scored.rollout.support = nil }
            if rollouts.ignoresRoutes { scored.rollout.routes = nil }
            guard let looked = columns?.lookedFor else { return scored }
            scored.present =
                try looked.rollouts.filter { try rolloutCursor.isPresent($0, place) }
                + looked.scores.filter { try scoreCursor.isPresent($0, place) }
            return scored
        }

        private func part(holding row: Int) throws -> Part {
            if let part, part.rows.contains(row) { return part }
            let next = rollouts.part(holding: row)
            rolloutCursor =
                columns.map { next.rollouts.reading($0.rollouts) }.map { $0.cursor() } ?? next.rollouts.cursor()
            scoreCursor = columns.map { next.scores.reading($0.scores) }.map { $0.cursor() } ?? next.scores.cursor()
            part = next
            return next
        }
    }
}

/// What is looked at of either file.
struct ColumnViews: Hashable, Sendable {
    var ingest: [ArrowColumnView]
    var scores: [ArrowColumnView]
}

/// Rows that lie in one batch of either file.
private struct RowStretch {
    /// Of the table, where the files begin.
    let first: Int
    let ingest: ArrowChunk
    let scores: ArrowChunk
    let rows: Range<Int>

    init(first: Int, ingest: ArrowChunk, scores: ArrowChunk) {
        (self.first, self.ingest, self.scores) = (first, ingest, scores)
        let both = ingest.rows.clamped(to: scores.rows)
        rows = both.lowerBound + first..<both.upperBound + first
    }

    func row(_ row: Int) -> RowView {
        RowView(number: row, ingest: ingest.row(row - first), scores: scores.row(row - first))
    }
}

/// A row whose columns are looked at where they lie, by their number among the views.
struct RowView {
    /// In the table.
    let number: Int
    let ingest: ArrowRowView
    let scores: ArrowRowView
}

/// Looks at rows from any thread without making rows of them.
struct ColumnReader: Sendable {
    private let rollouts: ScoredRollouts
    private let columns: ColumnViews
    private let cursors = IdlePool<ScoredRollouts.ColumnCursor>()

    init(_ rollouts: ScoredRollouts, _ columns: ColumnViews) { (self.rollouts, self.columns) = (rollouts, columns) }

    func forEach(_ rows: some Collection<Int>, _ body: (RowView) throws -> Void) throws {
        try forEach(rows) { row, _ in try body(row) }
    }

    /// The same for a pass over all numbers of the first columns of scores, which are lists: what has gone by doesn't
    /// stay in memory.
    func forEach(_ rows: some Collection<Int>, leavingBehind lists: Int, _ body: (RowView) throws -> Void) throws {
        try forEach(rows) { cursor, row in
            try body(row)
            for column in 0..<lists { if let list = row.scores.list(column) { cursor.leaveBehind(list, of: column) } }
        }
    }

    /// Copies numbers of a row's list of scores at some places.
    typealias Copy = (ArrowList, Range<Int>, UnsafeMutablePointer<Float>) -> Void

    /// `body` may also copy a few numbers without mapping where they lie.
    func forEach(_ rows: some Collection<Int>, _ body: (RowView, Copy) throws -> Void) throws {
        try forEach(rows) { cursor, row in try body(row) { cursor.copy($0, $1, into: $2) } }
    }

    private func forEach(_ rows: some Collection<Int>, _ body: (ScoredRollouts.ColumnCursor, RowView) throws -> Void)
        throws
    {
        guard let first = rows.first else { return }
        let cursor = cursors.take { $0.holds(first) } ?? ScoredRollouts.ColumnCursor(rollouts, columns)
        defer { cursors.give(cursor) }
        var chunk = try cursor.chunk(around: first)
        for row in rows {
            if !chunk.rows.contains(row) { chunk = try cursor.chunk(around: row) }
            try body(cursor, chunk.row(row))
        }
    }
}

/// Names of the columns that are read, and of those that are only looked for.
struct RowColumns: Sendable {
    var rollouts: Set<String> = ["rollout_id"]
    var scores: Set<String> = ["rollout_id"]
    var lookedFor: (rollouts: [String], scores: [String])?
}

/// Reads rows with the same columns from any thread. Cursors are kept between calls, so that what one thread has
/// decoded is not decoded again for its next chunk.
struct RowReader: Sendable {
    private let rollouts: ScoredRollouts
    private let columns: RowColumns?
    private let cursors = IdlePool<ScoredRollouts.Cursor>()

    /// nil: all columns.
    init(_ rollouts: ScoredRollouts, columns: RowColumns?) { (self.rollouts, self.columns) = (rollouts, columns) }

    func read<Value>(_ rows: some Sequence<Int>, _ body: (ScoredRollout) throws -> Value) throws -> [Value] {
        var cursor: ScoredRollouts.Cursor?
        defer { if let cursor { cursors.give(cursor) } }
        return try rows.map { row in
            let current = cursor ?? cursors.take { $0.holds(row) } ?? ScoredRollouts.Cursor(rollouts, columns)
            cursor = current
            return try body(try current.row(row))
        }
    }
}

extension ScoredRollout {
    /// A per-token column by its name; nil where this row has none.
    func column(_ column: TokenColumn) -> [Float]? {
        switch column {
        case .entropy: score.entropy
        case .entropyLow: score.entropyLow
        case .entropyHigh: score.entropyHigh
        case .oldLogprobs: score.oldLogprobs
        case .rolloutLogprobs: rollout.rolloutLogprobs
        case .advantages: rollout.advantages
        case .referenceLogprobs: score.referenceLogprobs
        case .teacherLogprobs: teacherLogprobs
        case .values: score.values
        case .processRewards: processRewards
        case .referenceKL: score.referenceKL
        case .expectedQ: score.expectedQ
        case .sumPSquared: score.sumPSquared
        }
    }

    /// What its entropies came from. Scores of earlier versions don't say: the dump's own grade, then.
    var evidence: String { score.evidence ?? rollout.evidence }

    func has(_ column: TokenColumn) -> Bool {
        guard let present else { return self.column(column) != nil }
        return column.isOneOfFileColumns
            ? column.fileColumns.contains(where: present.contains) : column.fileColumns.allSatisfy(present.contains)
    }

    var hasProcessReference: Bool {
        present?.contains("process_reference_logprobs") ?? (score.processReferenceLogprobs != nil)
    }

    /// A token that the teacher excludes counts as very unlikely, not as impossible.
    private var teacherLogprobs: [Float]? {
        (score.teacherLogprobs ?? score.referenceLogprobs).map {
            $0.map { $0 < TeacherTerm.least ? TeacherTerm.least : $0 }
        }
    }

    private var processRewards: [Float]? {
        guard let policy = score.processLogprobs, let reference = score.processReferenceLogprobs else { return nil }
        return zip(policy, reference).map { $0 - $1 }
    }

    /// Why a row can't take part; nil where it can.
    func dropReason(readsRewards: Bool = true) -> DropReason? {
        Self.dropReason(verdict: score.verdict, reward: score.reward, readsRewards: readsRewards)
    }

    static func dropReason(verdict: String, reward: Float?, readsRewards: Bool) -> DropReason? {
        verdict.hasPrefix("invalid_")
            ? .unusable(verdict: verdict) : reward == nil && readsRewards ? .noReward : nil
    }

    /// Whether its metadata say that it was decoded greedily.
    var isGreedy: Bool { GreedyMark.isSaid(inExtras: rollout.extras) }

    /// Whether its teacher was told more than the policy, as far as scores say what it read.
    var isPrivileged: Bool { score.teacherPrompt != "own" }

    /// Whether the sampler drew from less than the whole distribution, and its log-probabilities aren't known to be of
    /// what it drew from.
    var isOfUnknownSupport: Bool {
        rollout.supportOffsets == nil ? wasTruncatedSampling : rollout.logprobKind != .support
    }

    /// Whether it did, and nobody knows from what.
    var lacksSupport: Bool { rollout.supportOffsets == nil && wasTruncatedSampling }

    private var wasTruncatedSampling: Bool {
        if rollout.topP < 1 { return true }
        guard rollout.extras.contains("top_k") else { return false }
        let extras = (try? JSONSerialization.jsonObject(with: Data(rollout.extras.utf8)) as? [String: Any]) ?? [:]
        let topK = (extras["top_k"] as? String).flatMap { Int($0) } ?? extras["top_k"] as? Int ?? 0
        return topK > 0
    }
}

extension TokenColumn {
    /// What it is made of in the files of ingest and score.
    var fileColumns: [String] {
        switch self {
        case .processRewards: ["process_logprobs", "process_reference_logprobs"]
        case .teacherLogprobs: ["teacher_logprobs", "reference_logprobs"]
        default: [rawValue]
        }
    }

    /// Whether one of those is enough, the first that is there.
    var isOneOfFileColumns: Bool { self == .teacherLogprobs }

    /// Whether ingest has it; score has all others.
    var isOfIngest: Bool { self == .rolloutLogprobs || self == .advantages }
}

extension RowColumns {
    /// Masks and these columns.
    init(tokens columns: Set<TokenColumn>) {
        rollouts.insert("loss_mask")
        for column in columns {
            if column.isOfIngest {
                rollouts.formUnion(column.fileColumns)
            } else {
                scores.formUnion(column.fileColumns)
            }
        }
    }
}

extension RolloutRow {
    /// What stands before each turn of a mask, by digest; nil where the tokens were not read.
    func turnStates(_ mask: [Bool]) -> [String]? {
        guard tokenIDs.count == mask.count else { return nil }
        return mask.turnStarts.map { start in
            let before = mask[..<start].lastIndex(of: true).map { $0 + 1 } ?? 0
            return prefixDigest(tokenIDs[before..<start])
        }
    }
}
