import Scratch

/// Scopes of a mask: by kept row, numbered in order of first appearance, and how many tokens each has.
struct Scopes: Sendable {
    private let kept: ScratchArray<PlannedRow>
    private let scope: EntropyMask.Scope
    /// By step or group, where those are the scopes; -1 where it has no kept row.
    private var numbers: [Int32] = []
    private(set) var counts: [Int] = []

    init(_ scope: EntropyMask.Scope, _ kept: ScratchArray<PlannedRow>, _ facts: RolloutFacts) {
        (self.scope, self.kept) = (scope, kept)
        facts.space.forEach(kept.indices) { add($0, Int(facts.rows[Int(kept[$0].row)].trainable)) }
    }

    private mutating func add(_ position: Int, _ trainable: Int) {
        let number = named(position)
        if number == counts.count { counts.append(0) }
        counts[number] += trainable
    }

    /// The next number for a key that is new.
    private mutating func named(_ position: Int) -> Int {
        guard let key = key(position) else { return number(position) }
        while numbers.count <= key { numbers.append(-1) }
        if numbers[key] < 0 { numbers[key] = Int32(counts.count) }
        return Int(numbers[key])
    }

    private func key(_ position: Int) -> Int? {
        switch scope {
        case .plan, .rollout: nil
        case .step: Int(kept[position].step)
        case .group: Int(kept[position].group)
        }
    }

    func number(_ position: Int) -> Int {
        if let key = key(position) { return Int(numbers[key]) }
        return scope == .plan ? 0 : position
    }
}
