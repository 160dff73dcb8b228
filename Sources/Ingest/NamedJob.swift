import Formats

/// A job that a result names, with its base.
struct NamedJob {
    let number: Int
    let job: JobRow
    let base: BaseRow
    let prefix: [Int32]

    /// nil where no job has this custom_id or job_id.
    init?(_ id: String, in index: JobIndex) throws {
        guard let number = index.number(of: id) else { return nil }
        self.number = number
        job = try index.job(number)
        base = try index.base(Int(index.jobs[number].base))
        prefix = index.prefix(job, of: base)
    }

    /// As a result's reader sees it.
    var request: SamplingRequest { SamplingRequest(id: job.customID, prompt: prefix) }

    /// What is known of its rollout before its tokens.
    var row: RolloutRow {
        var row = RolloutRow()
        row.rolloutID = job.customID
        row.jobID = job.jobID
        row.groupID = job.groupID
        row.sampleIndex = job.replicate
        row.prompt = base.rollout.prompt
        row.referenceAnswer = base.rollout.referenceAnswer
        row.dataSource = base.rollout.dataSource
        row.policyVersion = base.rollout.policyVersion
        row.temperature = base.rollout.temperature
        row.topP = base.rollout.topP
        return row
    }

    /// The whole response's text, as far as texts tell: the prefix's and the continuation's.
    func completion(_ continuation: String) -> String { (job.completionPrefix ?? "") + continuation }
}
