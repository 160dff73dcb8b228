import Credit
import Formats
import Foundation
import Scratch

/// What the first pass finds in a chunk of rows.
struct RowScan: Sendable {
    /// Of the rows that take part; groups by their number in `groups`.
    private(set) var facts: [RolloutFacts.Row] = []
    /// Where in the dump those are.
    private(set) var eligible: [Int32] = []
    /// Several rewards of each of them, where the recipe names them.
    private(set) var components: [Double] = []
    private(set) var dropped: [(row: Int32, reason: DropReason)] = []
    private(set) var groups = StringNumbering()
    private(set) var versions = StringNumbering()
    private(set) var evidence = StringNumbering()
    /// Which of the rows that take part have no log-probabilities that the update would read.
    private(set) var lackingLogprobs: [Int32] = []

    init(rows: Int) {
        // Not more than a damaged file can ask for without harm.
        facts.reserveCapacity(min(rows, 1 << 16))
        eligible.reserveCapacity(min(rows, 1 << 16))
    }

    /// Any row; throws where one that takes part lacks what credit reads.
    mutating func add(_ row: ScoredRollout, row number: Int32, _ needs: RowRequirements) throws {
        if let reason = row.dropReason(readsRewards: needs.readsRewards) { return dropped.append((number, reason)) }
        try needs.check(row)
        let input = try needs.creditInput(row, columns: needs.scannedColumns),
            reward = needs.recipe.credit.shapedReward(input)
        if let reason = needs.dropReason(input, reward: reward) { return dropped.append((number, reason)) }
        components += needs.recipe.credit.componentValues(input)
        let fact = RolloutFacts.Row(
            input, reward: reward, entropy: row.has(.entropyLow) ? .interval : row.has(.entropy) ? .exact : .none)
        add(
            fact, row: number, group: groups.add(row.rollout.groupID),
            lacksLogprobs: !needs.updateColumns.allSatisfy { row.present?.contains($0) ?? false })
        versions.add(row.rollout.policyVersion)
        evidence.add(row.evidence)
    }

    /// The same where it takes no tokens to tell; false where the row must be read to say what is wrong with it.
    mutating func add(_ row: RowView, _ columns: ScannedColumns) -> Bool {
        let reward = row.scores.float32(ScannedColumns.reward)
        if let reason = columns.dropReason(row, reward) {
            dropped.append((Int32(row.number), reason))
            return true
        }
        guard let reward = reward ?? (columns.needs.readsRewards ? nil : 0),
            let mask = row.ingest.list(ScannedColumns.mask), columns.hasCredit(row)
        else { return false }
        let isTruncated = Self.isTruncated(row), correct = row.scores.bool(ScannedColumns.correct),
            trainable = mask.trueCount
        let shaped = columns.needs.recipe.credit.shapedReward(
            score: Double(reward), isCorrect: correct, length: trainable)
        guard trainable > 0 else { return false }
        if let reason = columns.needs.dropReason(reward: shaped) {
            dropped.append((Int32(row.number), reason))
            return true
        }
        var fact = RolloutFacts.Row(
            length: mask.count, trainable: trainable, isTruncated: isTruncated, correct: correct, reward: shaped,
            entropy: columns.entropy(row))
        fact.isExcluded = row.ingest.hasText("excluded", ScannedColumns.finish)
        add(
            fact, row: Int32(row.number), group: groups.add(row.ingest.utf8(ScannedColumns.group)),
            lacksLogprobs: !columns.hasLogprobs(row))
        versions.add(row.ingest.utf8(ScannedColumns.version))
        evidence.add(row.scores.utf8(ScannedColumns.scoreEvidence) ?? row.ingest.utf8(ScannedColumns.evidence))
        return true
    }

    /// Nearly every row says one of these two words.
    private static func isTruncated(_ row: RowView) -> Bool {
        if row.ingest.hasText("stop", ScannedColumns.finish) { return false }
        return row.ingest.hasText("length", ScannedColumns.finish)
            || FinishReason.isTruncated(row.ingest.text(ScannedColumns.finish) ?? "")
    }

    private mutating func add(_ fact: RolloutFacts.Row, row: Int32, group: Int32, lacksLogprobs: Bool) {
        if lacksLogprobs { lackingLogprobs.append(Int32(eligible.count)) }
        var fact = fact
        fact.group = group
        facts.append(fact)
        eligible.append(row)
    }
}

/// The numbers of names, one after the other. A name that comes again at once, as those of a group do, costs a
/// comparison of bytes.
struct StringNumbering: Sendable {
    private(set) var names: [String] = []
    private var known: [ByteText: Int32] = [:]
    /// Of each name that was added.
    private(set) var numbers: [Int32] = []
    private var last: [UInt8] = []
    private var lastNumber: Int32 = -1

    /// Returns its number. nil is the empty name.
    @discardableResult mutating func add(_ utf8: UnsafeRawBufferPointer?) -> Int32 {
        let utf8 = utf8 ?? UnsafeRawBufferPointer(start: nil, count: 0)
        if lastNumber < 0 || !isLast(utf8) {
            lastNumber = number(of: String(decoding: utf8, as: UTF8.self))
            last = Array(utf8)
        }
        numbers.append(lastNumber)
        return lastNumber
    }

    private mutating func number(of name: String) -> Int32 {
        let key = ByteText(name)
        if let number = known[key] { return number }
        known[key] = Int32(names.count)
        names.append(name)
        return Int32(names.count - 1)
    }

    @discardableResult mutating func add(_ name: String) -> Int32 {
        var name = name
        return name.withUTF8 { add(UnsafeRawBufferPointer($0)) }
    }

    private func isLast(_ utf8: UnsafeRawBufferPointer) -> Bool {
        utf8.count == last.count
            && (utf8.isEmpty || last.withUnsafeBytes { memcmp($0.baseAddress!, utf8.baseAddress!, utf8.count) == 0 })
    }
}

/// The columns that the first pass looks at, by their number among the views.
final class ScannedColumns: Sendable {
    static let rolloutID = 0
    static let group = 1, version = 2, finish = 3, evidence = 4, mask = 5
    static let reward = 1, correct = 2, verdict = 3, scoreEvidence = 4

    let views: ColumnViews
    private let credit: [Place]
    private let update: [Place]
    private let exact: Place
    private let interval: Place
    let needs: RowRequirements

    /// A column that is only looked for.
    private struct Place: Sendable {
        let isOfIngest: Bool
        let index: Int

        func isPresent(_ row: RowView) -> Bool {
            isOfIngest ? row.ingest.isPresent(index) : row.scores.isPresent(index)
        }
    }

    init(_ needs: RowRequirements) {
        self.needs = needs
        var views = ColumnViews(
            ingest: ["rollout_id", "group_id", "policy_version", "finish_reason", "evidence", "loss_mask"].map {
                .values($0)
            },
            scores: ["rollout_id", "reward", "correct", "verdict", "evidence"].map { .values($0) })
        func place(_ name: String) -> Place {
            let isOfIngest = TokenColumn(rawValue: name)?.isOfIngest ?? false
            if isOfIngest { views.ingest.append(.presence(name)) } else { views.scores.append(.presence(name)) }
            return Place(isOfIngest: isOfIngest, index: (isOfIngest ? views.ingest : views.scores).count - 1)
        }
        credit = needs.creditColumns.flatMap(\.fileColumns).map(place)
        update = needs.updateColumns.map(place)
        (exact, interval) = (place(TokenColumn.entropy.rawValue), place(TokenColumn.entropyLow.rawValue))
        self.views = views
    }

    func dropReason(_ row: RowView, _ reward: Float?) -> DropReason? {
        guard
            reward == nil && needs.readsRewards || row.scores.hasText(ScannedColumns.verdict, startingWith: "invalid_")
        else { return nil }
        return ScoredRollout.dropReason(
            verdict: row.scores.text(ScannedColumns.verdict) ?? "", reward: reward, readsRewards: needs.readsRewards)
    }

    func entropy(_ row: RowView) -> RolloutFacts.EntropyKnowledge {
        interval.isPresent(row) ? .interval : exact.isPresent(row) ? .exact : .none
    }

    /// Whether a row has what credit reads, and what the update will.
    func hasCredit(_ row: RowView) -> Bool { credit.allSatisfy { $0.isPresent(row) } }
    func hasLogprobs(_ row: RowView) -> Bool { update.allSatisfy { $0.isPresent(row) } }
}
