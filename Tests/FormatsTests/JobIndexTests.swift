import Arrow
import Formats
import Scratch
import TestSupport
import Testing

@Suite struct JobIndexTests {
    private func base(_ id: String, _ positions: [Int32]) -> BaseRow {
        var row = BaseRow()
        (row.rollout.rolloutID, row.rollout.groupID, row.rollout.tokenIDs) = (id, "g", [1, 2, 3, 4])
        row.rollout.lossMask = [false, true, true, true]
        row.statePositions = positions
        return row
    }

    private func job(_ base: BaseRow, _ state: Int, _ replicate: Int) -> JobRow {
        var row = JobRow()
        row.jobID = "\(base.rollout.rolloutID)/s\(state)/r\(replicate)"
        row.customID = "custom-" + row.jobID
        (row.baseRolloutID, row.stateIndex) = (base.rollout.rolloutID, Int32(state))
        (row.anchorPosition, row.prefixLength) = (base.statePositions[state], base.statePositions[state])
        row.prefixSHA256 = prefixDigest(base.rollout.tokenIDs[..<Int(row.prefixLength)])
        (row.replicate, row.maxTokens) = (Int32(replicate), 4)
        return row
    }

    /// Lists in memory, and in files.
    @Test(arguments: [0, 64]) func aJobIsFoundByEitherNameWithItsBaseAndState(_ inMemory: Int) throws {
        let folder = try TemporaryDirectory(), bases = [base("a", [1, 3]), base("b", [1, 2])]
        // State 1 of the second base has no job.
        let jobs = [job(bases[0], 0, 0), job(bases[0], 0, 1), job(bases[0], 1, 0), job(bases[1], 0, 0)]
        var jobTable = try ArrowTableWriter(path: folder("jobs.arrow"), table: Tables.jobs, metadata: [:]),
            baseTable = try ArrowTableWriter(path: folder("bases.arrow"), table: Tables.bases, metadata: [:])
        for job in jobs { try jobTable.append(job) }
        for base in bases { try baseTable.append(base) }
        _ = (try jobTable.finish(), try baseTable.finish())

        let space = inMemory == 0 ? ScratchSpace.memory : ScratchSpace(folder: folder.path, mostInMemory: inMemory)
        let index = try JobIndex(JobDirectory(folder.path), space)
        #expect(index.jobs.count == 4 && index.baseCount == 2 && index.stateCount == 4)
        for (number, job) in jobs.enumerated() {
            #expect(index.number(of: job.customID) == number && index.number(of: job.jobID) == number)
            #expect(index.number(ofJobID: job.jobID) == number && index.number(ofJobID: job.customID) == nil)
            #expect(try index.job(number) == job)
            let base = try index.base(Int(index.jobs[number].base))
            #expect(base.rollout.rolloutID == job.baseRolloutID)
            #expect(index.prefix(job, of: base) == Array(base.rollout.tokenIDs[..<Int(job.prefixLength)]))
            #expect(index.jobs[number].responseStart == 1)
        }
        #expect(index.firstJob(base: 0, state: 0) == 0 && index.firstJob(base: 0, state: 1) == 2)
        #expect(index.firstJob(base: 1, state: 0) == 3 && index.firstJob(base: 1, state: 1) == nil)
        #expect(index.jobs.indices.map { index.state(of: $0) } == [0, 0, 1, 2])
        // Equal prefixes of two bases are one.
        #expect(index.jobs[0].prefix == index.jobs[3].prefix && index.prefixCount == 2)
        #expect(index.number(of: "c") == nil && index.number(ofPrefix: "") == nil)
    }
}
