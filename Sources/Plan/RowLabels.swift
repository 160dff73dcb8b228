import Credit
import Scratch

/// What each of the plan's rows is called by policy version and evidence, names once.
struct RowLabels: Sendable {
    fileprivate let versions: Labels
    fileprivate let evidence: Labels

    fileprivate struct Labels: Sendable {
        let names: InternedStrings
        /// By row; empty where there is one name.
        let numbers: ScratchArray<Int32>

        func counts(_ rows: ScratchArray<PlannedRow>, _ space: ScratchSpace) -> [String: Int] {
            guard names.count > 1 else { return rows.isEmpty ? [:] : [names[0]: rows.count] }
            var counts = [Int](repeating: 0, count: names.count)
            space.forEach(rows.indices) { counts[Int(numbers[Int(rows[$0].row)])] += 1 }
            return Dictionary(uniqueKeysWithValues: zip(names, counts).filter { $1 > 0 })
        }
    }

    /// How often each occurs among kept rows.
    func versions(_ plan: CreditPlan) -> [String: Int] { versions.counts(plan.kept, plan.facts.space) }
    func evidence(_ plan: CreditPlan) -> [String: Int] { evidence.counts(plan.kept, plan.facts.space) }
}

struct RowLabelsWriter {
    private var versions: Labels
    private var evidence: Labels

    private struct Labels {
        var names: StringInterner
        var numbers: ScratchWriter<Int32>
        var count = 0

        init(_ space: ScratchSpace) throws { (names, numbers) = (try StringInterner(space), ScratchWriter(space)) }

        mutating func add(_ part: StringNumbering) throws {
            let own = try part.names.map { try names.number(of: $0) }
            if names.count > 1 {
                while numbers.count < count { try numbers.append(0) }
                for number in part.numbers { try numbers.append(own[Int(number)]) }
            }
            count += part.numbers.count
        }

        mutating func finish() throws -> RowLabels.Labels {
            RowLabels.Labels(names: try names.finish(), numbers: try numbers.finish())
        }
    }

    init(_ space: ScratchSpace) throws { (versions, evidence) = (try Labels(space), try Labels(space)) }

    mutating func add(_ part: RowScan) throws {
        try versions.add(part.versions)
        try evidence.add(part.evidence)
    }

    mutating func finish() throws -> RowLabels {
        RowLabels(versions: try versions.finish(), evidence: try evidence.finish())
    }
}
