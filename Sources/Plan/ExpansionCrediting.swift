import Credit
import Formats
import Scratch
import StageSupport

/// Base after base: what came back from its states → what the method makes of it.
struct ExpansionCrediting {
    let firstPass: ExpandedFirstPass
    let expansion: any Expansion
    /// Result rows of each state that is told from others, by its number.
    private let outcomes: Groups
    private let reader: RowReader

    private var rows: ExpandedRows { firstPass.rows }
    private var index: JobIndex { rows.index }

    /// What is said of the credit of all bases.
    struct Figures {
        private(set) var states = 0
        private(set) var values = Mean()
        /// Values strictly between 0 and 1.
        private(set) var mixed = 0
        private(set) var factors = Mean()

        fileprivate mutating func add(_ credit: ExpansionCredit) {
            states += credit.values.count
            for value in credit.values.compactMap({ $0 }) {
                values.add(value)
                mixed += value > 0 && value < 1 ? 1 : 0
            }
            credit.factors.forEach { factors.add($0) }
        }
    }

    struct Mean {
        private(set) var count = 0
        private var sum = 0.0
        /// 0 of nothing.
        var value: Double { count == 0 ? 0 : sum / Double(count) }

        mutating func add(_ value: Double) { (count, sum) = (count + 1, sum + value) }
    }

    init(_ firstPass: ExpandedFirstPass, _ expansion: any Expansion) throws {
        (self.firstPass, self.expansion) = (firstPass, expansion)
        let rows = firstPass.rows, results = rows.results, index = rows.index
        outcomes = try Groups(
            firstPass.facts.space, of: results.count,
            in: expansion.sharesPrefixes ? index.prefixCount : index.stateCount
        ) {
            let job = Int(results[$0].job)
            return expansion.sharesPrefixes ? index.jobs[job].prefix : index.state(of: job)
        }
        reader = RowReader(rows.rollouts, columns: RowColumns(rollouts: ["rollout_id", "loss_mask"]))
    }

    func run(threads: Int) throws -> (credited: CreditedRows, figures: Figures) {
        var credited = try CreditedRowsWriter(firstPass.facts.space, rows: rows.count), figures = Figures()
        let together = try self.together
        try parallelInOrder(together.count, threads: threads) {
            expansion.credit(group: try together[$0].map(expanded))
        } consume: { _, credits in
            for credit in credits {
                try credited.add(credit)
                figures.add(credit)
            }
        }
        // A base that isn't trained on is no row that could be left out.
        let trained = expansion.trainsBases ? rows.count : rows.results.count
        firstPass.facts.space.forEach(0..<trained) { row in
            if let reason = firstPass.dropReason(row) {
                credited.drop(row, reason)
            } else if row < rows.results.count, !credited.knows(row) {
                credited.drop(row, .valuesOnly)
            }
        }
        return (try credited.finish(), figures)
    }

    /// Bases that are credited together: neighbours of one group, where the method compares them, else each alone.
    private var together: [Range<Int>] {
        get throws {
            guard expansion.comparesBases else { return (0..<index.baseCount).map { $0..<$0 + 1 } }
            var ranges: [Range<Int>] = [], last = ""
            for number in 0..<index.baseCount {
                let group = try index.base(number).rollout.groupID
                if !ranges.isEmpty, group == last {
                    ranges[ranges.count - 1] = ranges[ranges.count - 1].lowerBound..<number + 1
                } else {
                    ranges.append(number..<number + 1)
                }
                last = group
            }
            return ranges
        }
    }

    private func expanded(_ number: Int) throws -> ExpandedBase {
        let base = try index.base(number), row = rows.number(ofBase: number), fact = firstPass.facts.rows[row]
        let states = try self.states(of: base, number)
        var expanded = ExpandedBase(
            base: BaseRollout(
                ScoredRollout(base), reward: fact.reward, correct: fact.correct, thoughtEnd: base.thoughtEnd),
            row: row, states: states,
            outcomes: try states.indices.map { try self.outcomes(of: base, number, $0, states[$0]) })
        expanded.isBaseRejected = firstPass.dropReason(row) != nil
        return expanded
    }

    private func states(of base: BaseRow, _ number: Int) throws -> [ExpansionState] {
        try base.statePositions.enumerated().map { state, position in
            let job = try index.firstJob(base: number, state: state).map { try index.job($0) }
            return ExpansionState(
                position: Int(position), injected: job?.injectedTokenIDs ?? [], anchorEntropy: job?.anchorEntropy)
        }
    }

    /// What came back from a state and can be judged.
    private func outcomes(of base: BaseRow, _ number: Int, _ index: Int, _ state: ExpansionState) throws -> [Outcome] {
        let group: Int?
        if expansion.sharesPrefixes {
            group = self.index.number(
                ofPrefix: prefixDigest(base.rollout.tokenIDs[..<state.position] + state.injected))
        } else {
            group = self.index.state(index, ofBase: number)
        }
        guard let group else { return [] }
        return try outcomes[group].filter { firstPass.dropReason(Int($0)) == nil }.map { result in
            let fact = firstPass.facts.rows[Int(result)]
            let mask = try reader.read([Int(rows.results[Int(result)].row)]) { $0.rollout.lossMask }[0]
            return Outcome(row: Int(result), reward: fact.reward, correct: fact.correct, mask: mask)
        }
    }
}
