import Formats
import Scratch

/// A plan's jobs with their bases, to look results up in.
struct JobIndex {
    let jobs: [JobRow]
    private let byID: [ByteText: Int]
    private let bases: [ByteText: BaseRow]

    init(_ directory: JobDirectory) throws {
        let (jobs, bases) = try directory.contents()
        self.jobs = jobs
        self.bases = Dictionary(bases.map { (ByteText($0.rollout.rolloutID), $0) }) { first, _ in first }
        byID = Dictionary(
            jobs.enumerated().flatMap { index, job in [(ByteText(job.customID), index), (ByteText(job.jobID), index)] }
        ) { first, _ in first }
    }

    /// By custom_id, or by job_id.
    func index(of id: String) -> Int? { byID[ByteText(id)] }

    func base(of job: JobRow) -> BaseRow { bases[ByteText(job.baseRolloutID)] ?? BaseRow() }

    /// A job as a result's reader sees it.
    func request(_ id: String) -> SamplingRequest? {
        index(of: id).map { SamplingRequest(id: jobs[$0].customID, prompt: prefix(of: jobs[$0])) }
    }

    func prefix(of job: JobRow) -> [Int32] {
        base(of: job).rollout.tokenIDs.prefix(Int(job.anchorPosition)) + job.injectedTokenIDs
    }

    /// What is known of a job's rollout before its tokens.
    func row(of job: JobRow) -> RolloutRow {
        let base = base(of: job).rollout
        var row = RolloutRow()
        row.rolloutID = job.customID
        row.jobID = job.jobID
        row.groupID = job.groupID
        row.sampleIndex = job.replicate
        row.prompt = base.prompt
        row.referenceAnswer = base.referenceAnswer
        row.dataSource = base.dataSource
        row.policyVersion = base.policyVersion
        row.temperature = base.temperature
        row.topP = base.topP
        return row
    }
}
