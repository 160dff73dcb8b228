import Arrow
import Files
import Formats
import StageSupport

/// Right rollouts of each group, for a teacher to show: the first two by sample index, so that each rollout has one that
/// isn't itself. Found in a pass over the whole dump, because a group's rollouts may lie in several files; only names and
/// places are kept.
struct Demonstrations {
    private struct Candidate {
        let rolloutID: String
        let sampleIndex: Int32
        let file: Int
        let row: Int
    }

    private var byGroup: [String: [Candidate]] = [:]
    private let files: [TableRows<RolloutRow>]
    /// Groups of the dump, those without a right rollout too.
    private(set) var groups = 0
    var groupsWithout: Int { groups - byGroup.count }

    private static let chunkRows = 1 << 10

    init(_ paths: [String], judge: Judge, _ context: StageContext) throws {
        let tables = try paths.map { try ArrowTableReader(path: $0, table: Tables.rollouts) }
        files = tables.map { TableRows($0) }
        var names = Set<String>()
        for (file, table) in tables.enumerated() {
            var chunk: [RolloutRow] = [], next = 0
            func take() throws {
                try context.checkInterruption()
                for (row, outcome) in zip(chunk, try judge.judge(chunk)) {
                    names.insert(row.groupID)
                    // A reward of 1 where nobody says right or wrong: what SDPO takes for success.
                    if outcome.correct ?? ((outcome.reward ?? 0) >= 1) { add(row, file: file, row: next) }
                    next += 1
                }
                chunk = []
            }
            try table.forEachRow { row in
                chunk.append(row)
                if chunk.count == Self.chunkRows { try take() }
            }
            try take()
        }
        groups = names.count
    }

    private mutating func add(_ row: RolloutRow, file: Int, row number: Int) {
        var known = byGroup[row.groupID] ?? []
        known.append(
            Candidate(rolloutID: row.rolloutID, sampleIndex: row.sampleIndex, file: file, row: number))
        // Whatever stands first in the dump is first among equals.
        known.sort { ($0.sampleIndex, $0.file, $0.row) < ($1.sampleIndex, $1.file, $1.row) }
        byGroup[row.groupID] = Array(known.prefix(2))
    }

    /// nil where no other rollout of the group is right.
    func demonstration(for rollout: RolloutRow) throws -> RolloutRow? {
        guard let shown = byGroup[rollout.groupID]?.first(where: { $0.rolloutID != rollout.rolloutID }) else {
            return nil
        }
        return try files[shown.file].row(shown.row)
    }
}
