import Credit
import Formats
import Foundation
import Recipes
import StageSupport

/// What one pass over the small columns of a dump tells: which rows can take part, and what the plan must know of them.
struct Survey: Sendable {
    private(set) var facts = PlanFacts()
    /// Rows of the dump that take part: the plan's rows, by their place in the dump.
    private(set) var eligible: [Int32] = []
    /// Rows that can't, with their reason.
    private(set) var dropped: [(row: Int32, reason: String)] = []
    private(set) var labels = RowLabels()

    init(_ rollouts: ScoredRollouts, _ needs: RowRequirements, threads: Int) throws {
        let reader = RowReader(rollouts, columns: Self.columns(needs)), batches = rollouts.batches
        try parallelInOrder(batches.count, threads: threads) { index in
            try reader.read(batches[index]) { try Finding($0, needs) }
        } consume: { index, findings in for (row, finding) in zip(batches[index], findings) { add(finding, row: Int32(row)) } }
    }

    private mutating func add(_ finding: Finding, row: Int32) {
        guard let fact = finding.fact else { return dropped.append((row, finding.reason)) }
        facts.add(fact, groupID: finding.group)
        eligible.append(row)
        labels.add(version: finding.version, evidence: finding.evidence)
    }

    /// One row in brief.
    private struct Finding: Sendable {
        var fact: PlanFacts.Row?
        var reason = ""
        var group = ""
        var version = ""
        var evidence = ""

        init(_ row: ScoredRollout, _ needs: RowRequirements) throws {
            if let reason = row.dropReason {
                self.reason = reason
                return
            }
            try needs.check(row)
            (group, version, evidence) = (row.rollout.groupID, row.rollout.policyVersion, row.evidence)
            let input = try needs.creditInput(row, columns: needs.rewardColumns)
            fact = PlanFacts.Row(
                input, reward: needs.recipe.credit.shapedReward(input), entropy: row.has(.entropyLow) ? .interval : row.has(.entropy) ? .exact : .none)
        }
    }

    /// What is read, and what is only looked for.
    private static func columns(_ needs: RowRequirements) -> RowColumns {
        var columns = RowColumns(tokens: needs.rewardColumns), recipe = needs.recipe.credit
        columns.rollouts.formUnion(["group_id", "policy_version", "finish_reason", "evidence"])
        columns.scores.formUnion(["reward", "correct", "verdict", "evidence"])
        if recipe.correction.isOn { columns.rollouts.formUnion(["top_p", "extras"]) }
        let wanted = recipe.columns.union(needs.rewardColumns).union([.entropy, .entropyLow])
        columns.lookedFor = (
            wanted.filter(\.isOfIngest).flatMap(\.fileColumns).sorted(), wanted.filter { !$0.isOfIngest }.flatMap(\.fileColumns).sorted()
        )
        return columns
    }
}

/// What each of the plan's rows is called by policy version and evidence, names once.
struct RowLabels: Sendable {
    private var versions = Names()
    private var evidence = Names()

    private struct Names: Sendable {
        var names: [String] = []
        var numbers: [Int32] = []

        mutating func add(_ name: String) {
            let number = names.firstIndex(of: name) ?? names.count
            if number == names.count { names.append(name) }
            numbers.append(Int32(number))
        }

        func counts(_ rows: [KeptRow]) -> [String: Int] {
            rows.reduce(into: [:]) { $0[names[Int(numbers[Int($1.row)])], default: 0] += 1 }
        }
    }

    mutating func add(version: String, evidence grade: String) {
        versions.add(version)
        evidence.add(grade)
    }

    /// How often each occurs among kept rows.
    func versions(_ kept: [KeptRow]) -> [String: Int] { versions.counts(kept) }
    func evidence(_ kept: [KeptRow]) -> [String: Int] { evidence.counts(kept) }
}

/// The plan's rows as they lie in the dump's files.
final class DumpTokens: TokenSource, PlannedRows, @unchecked Sendable {
    private let rollouts: ScoredRollouts
    private let needs: RowRequirements
    private let eligible: [Int32]
    private let threads: Int
    private let lock = NSLock()
    private var readers: [Set<TokenColumn>: RowReader] = [:]
    private let whole: RowReader

    init(_ rollouts: ScoredRollouts, _ needs: RowRequirements, eligible: [Int32], threads: Int) {
        (self.rollouts, self.needs, self.eligible, self.threads) = (rollouts, needs, eligible, threads)
        whole = RowReader(rollouts, columns: Self.planned(needs))
    }

    func inputs(of rows: ArraySlice<Int32>, reading columns: Set<TokenColumn>) throws -> [CreditInput] {
        let columns = columns.union(needs.rewardColumns)
        return try reader(columns).read(rows.lazy.map { [eligible] in Int(eligible[Int($0)]) }) { try needs.creditInput($0, columns: columns) }
    }

    private func reader(_ columns: Set<TokenColumn>) -> RowReader {
        lock.withLock {
            if let reader = readers[columns] { return reader }
            let reader = RowReader(rollouts, columns: RowColumns(tokens: columns))
            readers[columns] = reader
            return reader
        }
    }

    func inOrder<Value: Sendable>(_ count: Int, _ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void) throws {
        try parallelInOrder(count, threads: threads, produce: produce, consume: consume)
    }

    // MARK: rows to write

    func planned(_ rows: ArraySlice<Int32>) throws -> [(ScoredRollout, CreditInput)] {
        try whole.read(rows.lazy.map { [eligible] in Int(eligible[Int($0)]) }) { row in
            try needs.requireLogprobs(row)
            return (row, try needs.creditInput(row))
        }
    }

    /// What `plan.arrow` and the credit of a row are made of.
    private static func planned(_ needs: RowRequirements) -> RowColumns {
        let credit = needs.recipe.credit
        var columns = RowColumns(tokens: credit.columns.union(needs.rewardColumns).union([.oldLogprobs, .rolloutLogprobs, .referenceLogprobs, .values]))
        columns.rollouts.formUnion(["group_id", "token_ids", "temperature", "evidence", "finish_reason"])
        columns.scores.formUnion(["reward", "correct", "evidence"])
        if needs.recipe.objective.reference == .process { columns.scores.insert("process_reference_logprobs") }
        return columns
    }
}
