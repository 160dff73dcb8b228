import Arrow
import Files
import Scratch

/// A plan's jobs and bases, to look results up in: for who samples, joins and credits them. Names and a few numbers of
/// each job are kept where the space has lists that grow; rows are read where they lie, from any thread.
package struct JobIndex: Sendable {
    /// What is known of a job without reading it.
    package struct Job: BitwiseCopyable, Sendable {
        /// Number of its base, and of the state within the base.
        package let base: Int32
        package let state: Int32
        /// Number of its prefix among all that differ.
        package let prefix: Int32
        /// Index in the base's tokens of the first one to be sampled anew.
        package let anchorPosition: Int32
        /// Where the base's response begins.
        package let responseStart: Int32
    }

    package let jobs: ScratchArray<Job>
    private let customIDs: StringIndex
    private let jobIDs: StringIndex
    /// Digests of prefixes.
    private let prefixes: StringIndex
    /// Where the states of each base begin among all, and behind the last.
    private let firstStates: ScratchArray<Int32>
    /// By state: number of its first job + 1; 0 where it has none.
    private let firstJobs: ScratchArray<Int32>
    private let jobRows: TableRows<JobRow>
    private let baseRows: TableRows<BaseRow>

    /// Reads both tables once, row by row, and holds them against each other: what joins results relies on it.
    ///
    /// - Throws: `FormatError` that names the job or base that doesn't fit.
    package init(_ directory: JobDirectory, _ space: ScratchSpace = .temporary) throws {
        let jobs = try directory.table(JobDirectory.jobsName, Tables.jobs),
            bases = try directory.table(JobDirectory.basesName, Tables.bases)
        let known = try BaseFacts(bases, directory, space)
        var facts = ScratchWriter<Job>(space), prefixes = try StringInterner(space)
        var customIDs = try StringInterner(space), jobIDs = try StringInterner(space)
        let firstJobs = try ScratchTable<Int32>(space, count: known.stateCount)
        try jobs.forEachRow { row in
            let number = facts.count, base = try known.base(of: row, directory)
            for (id, ids) in [
                (row.jobID, try jobIDs.number(of: row.jobID)), (row.customID, try customIDs.number(of: row.customID)),
            ]
            where Int(ids) != number {
                throw directory.bad(JobDirectory.jobsName, "job '\(id)'", "it twice", "each job once")
            }
            try facts.append(
                Job(
                    base: Int32(base), state: row.stateIndex, prefix: try prefixes.number(of: row.prefixSHA256),
                    anchorPosition: row.anchorPosition, responseStart: known.responseStarts[base]))
            let state = Int(known.firstStates[base] + row.stateIndex)
            if firstJobs[state] == 0 { firstJobs[state] = Int32(number + 1) }
        }
        (self.jobs, self.firstJobs, firstStates) = (try facts.finish(), firstJobs.array, known.firstStates)
        (self.customIDs, self.jobIDs) = (try customIDs.finishIndex(), try jobIDs.finishIndex())
        self.prefixes = try prefixes.finishIndex()
        (jobRows, baseRows) = (TableRows(jobs), TableRows(bases))
    }

    package var baseCount: Int { firstStates.count - 1 }
    package var prefixCount: Int { prefixes.count }
    package var stateCount: Int { firstJobs.count }

    /// Number of a state among those of all bases.
    package func state(_ state: Int, ofBase base: Int) -> Int { Int(firstStates[base]) + state }

    /// The same of the state that a job goes back to.
    package func state(of job: Int) -> Int32 { firstStates[Int(jobs[job].base)] + jobs[job].state }

    /// Number of the job with this custom_id or job_id.
    package func number(of id: String) -> Int? { customIDs.number(of: id) ?? jobIDs.number(of: id) }

    /// Number of the job with this job_id, which is what a joined rollout says of itself.
    package func number(ofJobID id: String) -> Int? { jobIDs.number(of: id) }

    /// Number of a prefix that some job has.
    package func number(ofPrefix digest: String) -> Int? { prefixes.number(of: digest) }

    /// The first job of a base's state; nil where it has none.
    package func firstJob(base: Int, state: Int) -> Int? {
        let job = firstJobs[self.state(state, ofBase: base)]
        return job > 0 ? Int(job) - 1 : nil
    }

    package func job(_ number: Int) throws -> JobRow { try jobRows.row(number) }
    package func base(_ number: Int) throws -> BaseRow { try baseRows.row(number) }

    /// What a job's prefix is made of: the base's own tokens, then those that the method put in.
    package func prefix(_ job: JobRow, of base: BaseRow) -> [Int32] {
        base.rollout.tokenIDs.prefix(Int(job.anchorPosition)) + job.injectedTokenIDs
    }
}

/// What a pass over the bases finds.
private struct BaseFacts {
    private let ids: StringIndex
    let responseStarts: ScratchArray<Int32>
    /// Where the states of each begin among all, and behind the last.
    let firstStates: ScratchArray<Int32>
    /// Positions of all states, base behind base.
    private let positions: ScratchArray<Int32>

    init(_ bases: ArrowTableReader<BaseRow>, _ directory: JobDirectory, _ space: ScratchSpace) throws {
        var ids = try StringInterner(space), starts = ScratchWriter<Int32>(space)
        var firstStates = ScratchWriter<Int32>(space), positions = ScratchWriter<Int32>(space)
        try bases.forEachRow { base in
            guard Int(try ids.number(of: base.rollout.rolloutID)) == starts.count else {
                throw directory.bad(
                    JobDirectory.basesName, "base '\(base.rollout.rolloutID)'", "it twice", "each base once")
            }
            if let parent = base.parentRolloutID {
                // Else a base would be its own ancestor.
                guard Int(try ids.number(of: parent)) < starts.count else {
                    throw directory.bad(
                        JobDirectory.basesName, "base '\(base.rollout.rolloutID)'",
                        "parent_rollout_id '\(parent)', which is no base before it", "its parent before each base")
                }
            }
            try starts.append(Int32(base.rollout.lossMask.firstIndex(of: true) ?? 0))
            try firstStates.append(Int32(positions.count))
            for position in base.statePositions { try positions.append(position) }
        }
        try firstStates.append(Int32(positions.count))
        (self.ids, responseStarts) = (try ids.finishIndex(), try starts.finish())
        (self.firstStates, self.positions) = (try firstStates.finish(), try positions.finish())
    }

    var stateCount: Int { positions.count }

    /// Number of a job's base, where the two agree.
    func base(of job: JobRow, _ directory: JobDirectory) throws -> Int {
        func fail(_ found: String, _ expected: String) -> FormatError {
            directory.bad(JobDirectory.jobsName, "job '\(job.jobID)'", found, expected)
        }
        guard let base = ids.number(of: job.baseRolloutID) else {
            throw fail("no base '\(job.baseRolloutID)' in \(JobDirectory.basesName)", "every job's base")
        }
        let first = Int(firstStates[base]), count = Int(firstStates[base + 1]) - first
        guard Int(job.stateIndex) < count else {
            throw fail("state_index \(job.stateIndex)", "one of its base's \(count) states")
        }
        let position = positions[first + Int(job.stateIndex)]
        guard job.anchorPosition == position else {
            throw fail("anchor_position \(job.anchorPosition)", "\(position), as its base has it")
        }
        guard Int(job.prefixLength) == Int(position) + job.injectedTokenIDs.count else {
            throw fail(
                "prefix_length \(job.prefixLength)",
                "\(Int(position) + job.injectedTokenIDs.count), anchor and injected tokens")
        }
        return base
    }
}
