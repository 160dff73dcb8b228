import Formats
import RunViews
import StageSupport

/// What a plan takes of one rollout.
struct PlannedShare {
    var kept = 0
    var advantages = 0.0
    /// Σ |w|.
    var weight = 0.0
    var squaredWeight = 0.0

    init() {}

    init(_ row: PlanRow?) {
        guard let row else { return }
        for t in row.lossMask.indices where row.keeps(t) {
            let size = abs(Double(row.tokenWeights[t]))
            (kept, advantages) = (kept + 1, advantages + Double(row.advantages[t]))
            (weight, squaredWeight) = (weight + size, squaredWeight + size * size)
        }
    }

    /// Of kept tokens; nil of none.
    var advantageMean: Double? { kept == 0 ? nil : advantages / Double(kept) }

    /// (Σ |w|)² / (n Σ w²): the share of n equal tokens that would count as much; nil where nothing counts.
    var effectiveShare: Double? {
        squaredWeight == 0 ? nil : weight * weight / (Double(kept) * squaredWeight)
    }

    mutating func add(_ other: PlannedShare) {
        (kept, advantages) = (kept + other.kept, advantages + other.advantages)
        (weight, squaredWeight) = (weight + other.weight, squaredWeight + other.squaredWeight)
    }
}

/// One rollout in two plans.
struct RolloutDifference {
    let rolloutID: String
    let first: PlannedShare
    let second: PlannedShare
    let firstState: String
    let secondState: String
    private(set) var bothKeep = 0
    /// Of tokens that both keep.
    private(set) var signsDiffer = 0
    private(set) var advantagesDiffer = 0
    private(set) var weightsDiffer = 0
    private(set) var largestAdvantageDifference: Float = 0
    /// Σ | |w₁| - |w₂| |, a plan that leaves a token out giving it 0.
    private(set) var movedWeight = 0.0

    init(_ rolloutID: String, _ one: PlanEntry, _ two: PlanEntry) {
        let rows = (one.rows.first, two.rows.first)
        (self.rolloutID, first, second) = (rolloutID, PlannedShare(rows.0), PlannedShare(rows.1))
        (firstState, secondState) = (Self.state(one), Self.state(two))
        guard let row = rows.0 ?? rows.1 else { return }
        for t in row.lossMask.indices { compare(rows.0, rows.1, t) }
    }

    private static func state(_ entry: PlanEntry) -> String {
        switch entry {
        case .kept: "kept"
        case .dropped(let reason): reason
        case .missing: "missing"
        }
    }

    private mutating func compare(_ one: PlanRow?, _ two: PlanRow?, _ t: Int) {
        func weight(_ row: PlanRow?) -> Double { row.map { $0.keeps(t) ? abs(Double($0.tokenWeights[t])) : 0 } ?? 0 }
        movedWeight += abs(weight(one) - weight(two))
        guard let one, let two, one.keeps(t), two.keeps(t) else { return }
        let difference = abs(one.advantages[t] - two.advantages[t])
        bothKeep += 1
        signsDiffer += one.advantages[t] * two.advantages[t] < 0 ? 1 : 0
        advantagesDiffer += difference > 0 ? 1 : 0
        weightsDiffer += one.tokenWeights[t] != two.tokenWeights[t] ? 1 : 0
        largestAdvantageDifference = max(largestAdvantageDifference, difference)
    }

    var isKeptByFirst: Bool { firstState == "kept" }
    var isKeptBySecond: Bool { secondState == "kept" }
    var differs: Bool {
        firstState != secondState || bothKeep != first.kept || bothKeep != second.kept || advantagesDiffer > 0
            || weightsDiffer > 0
    }
}

/// Two plans of one dump, summed over its rollouts. A rollout with several rows, in pairs, counts by its first.
struct PlanDifference {
    private(set) var first = PlannedShare()
    private(set) var second = PlannedShare()
    private(set) var rolloutsOfBoth = 0
    private(set) var rolloutsOfFirst = 0
    private(set) var rolloutsOfSecond = 0
    private(set) var bothKeep = 0
    private(set) var signsDiffer = 0
    private(set) var advantagesDiffer = 0
    private(set) var weightsDiffer = 0
    private(set) var largestAdvantageDifference: Float = 0
    private(set) var movedWeight = 0.0

    mutating func add(_ next: RolloutDifference) {
        first.add(next.first)
        second.add(next.second)
        rolloutsOfBoth += next.isKeptByFirst && next.isKeptBySecond ? 1 : 0
        rolloutsOfFirst += next.isKeptByFirst && !next.isKeptBySecond ? 1 : 0
        rolloutsOfSecond += !next.isKeptByFirst && next.isKeptBySecond ? 1 : 0
        (bothKeep, signsDiffer) = (bothKeep + next.bothKeep, signsDiffer + next.signsDiffer)
        (advantagesDiffer, weightsDiffer) = (
            advantagesDiffer + next.advantagesDiffer, weightsDiffer + next.weightsDiffer
        )
        largestAdvantageDifference = max(largestAdvantageDifference, next.largestAdvantageDifference)
        movedWeight += next.movedWeight
    }

    /// Jaccard's index of the kept tokens; nil where neither plan keeps any.
    var overlap: Double? {
        let either = first.kept + second.kept - bothKeep
        return either == 0 ? nil : Double(bothKeep) / Double(either)
    }
}

extension PlanDifference {
    /// Rollouts that either plan keeps: those of the first in its order, then those of the second alone.
    static func forEachRollout(
        _ first: PlanView, _ second: PlanView, _ body: (RolloutDifference) throws -> Void
    ) throws {
        for number in 0..<first.rowCount {
            let id = try first.row(number).rolloutID
            guard first.rowNumbers(of: id).first == number else { continue }
            try body(RolloutDifference(id, try first.entry(of: id), try second.entry(of: id)))
        }
        for number in 0..<second.rowCount {
            let id = try second.row(number).rolloutID
            guard first.rowNumbers(of: id).isEmpty, second.rowNumbers(of: id).first == number else { continue }
            try body(RolloutDifference(id, try first.entry(of: id), try second.entry(of: id)))
        }
    }
}
