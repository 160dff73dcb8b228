import Credit
import Formats
import Scratch
import StageSupport

/// Rollouts that a plan of jobs may go back into, by their numbers: they are read a group at a time to find states, then
/// one by one to write what becomes of them, so that no more than the states' places are held between.
protocol BaseSource {
    /// Where they lie, for messages.
    var directory: String { get }
    /// Size of the vocabulary, where the dump has it.
    var vocabulary: Int? { get }
    var needs: RowRequirements { get }
    /// Rows of the dump, and rollouts among them that take part.
    var rowCount: Int { get }
    var usable: Int { get }
    /// The round of branching that is planned from them; the first is 1.
    var round: Int { get }
    /// Groups are those of the prompts.
    var facts: RolloutFacts { get }
    var dropped: any DroppedList { get }
    /// Numbers of a group's rollouts; one that was sampled from another stands behind it.
    func members(_ group: Int) -> [Int]
    func read(_ numbers: [Int]) throws -> [ScoredRollout]
}

/// Those of a dump: the first round.
struct DumpedBases: BaseSource {
    private let rollouts: ScoredRollouts
    private let firstPass: FirstPass
    private let reader: RowReader
    let needs: RowRequirements

    init(_ rollouts: ScoredRollouts, _ writer: PlanWriter) throws {
        needs = RowRequirements(jobsOf: writer.recipe, directory: rollouts.directory)
        firstPass = try FirstPass(
            rollouts, needs, ScratchSpace(folder: writer.directory.path), OwnPasses(threads: writer.context.threads))
        (self.rollouts, reader) = (rollouts, RowReader(rollouts, columns: nil))
    }

    var directory: String { rollouts.directory }
    var vocabulary: Int? { rollouts.vocabulary }
    var rowCount: Int { rollouts.rowCount }
    var usable: Int { firstPass.eligible.count }
    var round: Int { 1 }
    var facts: RolloutFacts { firstPass.facts }
    var dropped: any DroppedList { DroppedFromDump(firstPass: firstPass, plan: nil, rollouts: rollouts) }

    func members(_ group: Int) -> [Int] { facts.groups[group].map { Int(firstPass.eligible[Int($0)]) } }
    func read(_ numbers: [Int]) throws -> [ScoredRollout] { try reader.read(numbers) { $0 } }
}

/// Those of a round and what came back of it: the next round.
struct ReturnedBases: BaseSource {
    private let firstPass: ExpandedFirstPass
    let needs: RowRequirements
    let round: Int

    private var rows: ExpandedRows { firstPass.rows }

    init(_ rollouts: ScoredRollouts, _ jobs: JobDirectory, _ expansion: any Expansion, _ writer: PlanWriter) throws {
        let space = ScratchSpace(folder: writer.directory.path)
        needs = RowRequirements(jobsOf: writer.recipe, directory: rollouts.directory)
        firstPass = try ExpandedFirstPass(
            rollouts, try JobIndex(jobs, space), expansion, needs, space, threads: writer.context.threads)
        round = try jobs.round() + 1
    }

    var directory: String { rows.rollouts.directory }
    var vocabulary: Int? { rows.rollouts.vocabulary }
    var rowCount: Int { rows.rollouts.rowCount }
    var usable: Int { (0..<rows.count).count { firstPass.dropReason($0) == nil } }
    var facts: RolloutFacts { firstPass.facts }
    var dropped: any DroppedList { DroppedFromExpansion(firstPass: firstPass, plan: nil) }

    /// Bases come first: what came back was sampled from them.
    func members(_ group: Int) -> [Int] {
        let members = facts.groups[group].map { Int($0) }.filter { firstPass.dropReason($0) == nil }
        return members.filter { $0 >= rows.results.count } + members.filter { $0 < rows.results.count }
    }

    func read(_ numbers: [Int]) throws -> [ScoredRollout] { try numbers.map { try rows.branch($0) } }
}
