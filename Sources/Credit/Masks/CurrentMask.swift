/// A row of an optimizer step with the entropies of the policy as it stands.
package struct CurrentRow: Sendable {
    package var groupID: String
    package var mask: [Bool]
    package var entropy: [Float]

    package init(groupID: String, mask: [Bool], entropy: [Float]) {
        (self.groupID, self.mask, self.entropy) = (groupID, mask, entropy)
    }
}

extension CreditRecipe {
    /// Factors on the planned token weights of one optimizer step, [L] per row: 0 where the mask, made anew from
    /// current entropies, leaves a token out; elsewhere what the smaller denominator makes of the weight. nil where the
    /// recipe's mask is decided in the plan.
    package func currentMask(_ rows: [CurrentRow], seed: UInt64) -> [[Double]]? {
        guard let mask, mask.policy == .current else { return nil }
        var kept = rows.map(\.mask)
        for (number, members) in scopes(mask.scope, rows).enumerated() {
            let entropies = members.flatMap { row in
                rows[row].mask.indices.filter { rows[row].mask[$0] }.map { rows[row].entropy[$0] }
            }
            var next = mask.keep(entropies, seed: seed &+ UInt64(number)).kept.makeIterator()
            for row in members {
                for t in kept[row].indices where rows[row].mask[t] { kept[row][t] = next.next() ?? false }
            }
        }
        let scales = scales(rows.map { $0.mask.count { $0 } }, kept.map { $0.count { $0 } }, mask)
        return kept.indices.map { row in kept[row].map { $0 ? scales[row] : 0 } }
    }

    private func scopes(_ scope: EntropyMask.Scope, _ rows: [CurrentRow]) -> [[Int]] {
        switch scope {
        case .step, .plan: [Array(rows.indices)]
        case .rollout: rows.indices.map { [$0] }
        case .group: grouped(rows.indices, by: { rows[$0].groupID })
        }
    }

    private func scales(_ trainable: [Int], _ kept: [Int], _ mask: EntropyMask) -> [Double] {
        var step = StepCounts(countsKept: mask.normalizer == .kept, longest: trainable.max() ?? 0)
        for (trainable, kept) in zip(trainable, kept) { step.add(trainable: trainable, kept: kept) }
        return trainable.map {
            let planned = aggregation.weight(trainable: $0, in: step.unmasked)
            return planned == 0 ? 0 : aggregation.weight(trainable: $0, in: step) / planned
        }
    }
}

/// Indices with equal keys together, in order of first appearance.
private func grouped<Key: Hashable>(_ rows: Range<Int>, by key: (Int) -> Key) -> [[Int]] {
    var order: [Key] = [], members: [Key: [Int]] = [:]
    for row in rows {
        let key = key(row)
        if members[key] == nil { order.append(key) }
        members[key, default: []].append(row)
    }
    return order.compactMap { members[$0] }
}
