import Credit
import Formats
import Scratch

/// A plan's jobs and bases, to look results up in.
struct JobTable {
    /// What tells states apart: base and index, or the prefix alone where bases share it.
    enum StateKey: Hashable { case state(base: ByteText, index: Int), prefix(String) }

    let bases: [BaseRow]
    let jobCount: Int
    /// Where each base's response begins.
    private let responseStarts: [ByteText: Int]
    private let jobs: [ByteText: JobRow]
    private let baseByID: [ByteText: BaseRow]
    private let sharesPrefixes: Bool
    private let trainsPrefixes: Bool
    /// First job of each state.
    private let stateJobs: [StateKey: JobRow]

    init(_ directory: JobDirectory, _ expansion: any Expansion) throws {
        let (rows, bases) = try directory.contents()
        self.bases = bases
        jobCount = rows.count
        (sharesPrefixes, trainsPrefixes) = (expansion.sharesPrefixes, expansion.trainsPrefixes)
        responseStarts = Dictionary(
            bases.map { (ByteText($0.rollout.rolloutID), $0.rollout.lossMask.firstIndex(of: true) ?? 0) }
        ) { first, _ in first }
        jobs = Dictionary(rows.map { (ByteText($0.jobID), $0) }) { first, _ in first }
        baseByID = Dictionary(bases.map { (ByteText($0.rollout.rolloutID), $0) }) { first, _ in first }
        stateJobs = Dictionary(
            rows.map { (.state(base: ByteText($0.baseRolloutID), index: Int($0.stateIndex)), $0) }
        ) { first, _ in first }
    }

    func job(_ row: RolloutRow) -> JobRow? { row.jobID.flatMap { jobs[ByteText($0)] } }

    /// Where a base's response begins.
    func responseStart(of base: String) -> Int? { responseStarts[ByteText(base)] }

    func key(_ job: JobRow) -> StateKey {
        sharesPrefixes
            ? .prefix(job.prefixSHA256) : .state(base: ByteText(job.baseRolloutID), index: Int(job.stateIndex))
    }

    func key(_ base: BaseRow, state index: Int, _ state: ExpansionState) -> StateKey {
        guard sharesPrefixes else { return .state(base: ByteText(base.rollout.rolloutID), index: index) }
        return .prefix(prefixDigest(base.rollout.tokenIDs[..<state.position] + state.injected))
    }

    func states(of base: BaseRow) -> [ExpansionState] {
        base.statePositions.enumerated().map { index, position in
            let job = stateJobs[.state(base: ByteText(base.rollout.rolloutID), index: index)]
            return ExpansionState(
                position: Int(position), injected: job?.injectedTokenIDs ?? [], anchorEntropy: job?.anchorEntropy)
        }
    }

    /// A base as a row of its own.
    func scored(_ base: BaseRow) -> ScoredRollout {
        var score = ScoreRow()
        score.rolloutID = base.rollout.rolloutID
        (score.reward, score.correct) = (base.reward, base.correct)
        (score.entropy, score.oldLogprobs, score.referenceLogprobs) = (
            base.entropy, base.oldLogprobs, base.referenceLogprobs
        )
        return ScoredRollout(rollout: base.rollout, score: score)
    }

    /// A result with what its base knows of the tokens before the cut, so that a method may train on them too. What
    /// only one of the two knows is not known then.
    func overlaid(_ result: ScoredRollout) -> ScoredRollout {
        guard let job = job(result.rollout), let base = baseByID[ByteText(job.baseRolloutID)] else { return result }
        var result = result
        let end = Int(job.anchorPosition)
        func laid(_ own: [Float]?, _ known: [Float]?) -> [Float]? {
            guard let own, let known, end <= min(own.count, known.count) else { return trainsPrefixes ? nil : own }
            return Array(known[..<end]) + own[end...]
        }
        result.rollout.rolloutLogprobs = laid(result.rollout.rolloutLogprobs, base.rollout.rolloutLogprobs)
        result.score.oldLogprobs = laid(result.score.oldLogprobs, base.oldLogprobs)
        result.score.entropy = laid(result.score.entropy, base.entropy)
        result.score.referenceLogprobs = laid(result.score.referenceLogprobs, base.referenceLogprobs)
        return result
    }
}
