import Formats
import Foundation
import Tokenizer

/// One result on its way to becoming a rollout: its job, and the row or why there is none.
struct JoinedResult {
    let job: Int
    var row: RolloutRow
    /// What score will want of it, where that lies in no shard.
    var frame: (any NewFrame)?
    var remarks: Set<RolloutRemark> = []
}

/// Holds results against the jobs that asked for them.
struct ResultJoin {
    let index: JobIndex
    let reading: LineReading
    private var tokenizer: TextTokens? { reading.tokenizer }

    init(index: JobIndex, reading: LineReading) { (self.index, self.reading) = (index, reading) }

    private func reject(_ id: String?, _ reason: RejectReason, _ found: String, _ expected: String) -> Rejection {
        Rejection(id, reason, found: found, expected: expected)
    }

    private func job(_ id: String) throws -> NamedJob {
        guard let job = try NamedJob(id, in: index) else {
            throw reject(id, .unknownJob, "'\(id)'", "a custom_id of the plan's jobs")
        }
        return job
    }

    // MARK: shards

    /// A rollout of a shard whose `job_id` names a job.
    func join(_ rollout: RolloutRow) throws -> JoinedResult {
        guard let id = rollout.jobID else {
            throw reject(rollout.rolloutID, .unknownJob, "no job_id", "the job that asked for it")
        }
        let named = try job(id), length = Int(named.job.prefixLength)
        try checkPrefix(rollout.tokenIDs, named)
        guard let first = rollout.lossMask.firstIndex(of: true), first >= length else {
            throw reject(
                id, .prefixTrainable, "loss_mask 1 within the prefix of \(length) tokens",
                "1 on the continuation alone")
        }
        var row = named.row
        row.rolloutID = rollout.rolloutID
        (row.tokenIDs, row.lossMask, row.rolloutLogprobs) = (
            rollout.tokenIDs, rollout.lossMask, rollout.rolloutLogprobs
        )
        (row.finishReason, row.temperature, row.topP, row.givenReward) = (
            rollout.finishReason, rollout.temperature, rollout.topP, rollout.givenReward
        )
        (row.evidence, row.logitsPath, row.logitsOffset, row.logitsLength) = (
            rollout.evidence, rollout.logitsPath, rollout.logitsOffset, rollout.logitsLength
        )
        (row.support, row.tokenRoles) = (rollout.support, rollout.tokenRoles)
        (row.oldLogprobs, row.advantages) = (rollout.oldLogprobs, rollout.advantages)
        row.routes = rollout.routes
        if !rollout.policyVersion.isEmpty { row.policyVersion = rollout.policyVersion }
        // crux-rollout knows where the response began and has written all of it.
        let isWhole = extras(rollout.extras)["completion_scope"] == "response"
        row.completion = isWhole ? rollout.completion : completion(rollout.completion, row.tokenIDs, named)
        row.extras = rollout.extras
        return JoinedResult(job: named.number, row: row)
    }

    private func extras(_ json: String) -> [String: String] {
        ((try? JSONSerialization.jsonObject(with: Data(json.utf8))) as? [String: String]) ?? [:]
    }

    private func checkPrefix(_ tokens: [Int32], _ named: NamedJob) throws {
        let job = named.job, length = Int(job.prefixLength)
        guard tokens.count > length else {
            throw reject(
                job.customID, .prefixMismatch, "\(tokens.count) tokens", "the prefix of \(length) and what follows it"
            )
        }
        guard prefixDigest(tokens[..<length]) == job.prefixSHA256 else {
            throw mismatch(Array(tokens[..<length]), named)
        }
    }

    private func mismatch(_ found: [Int32], _ named: NamedJob) -> Rejection {
        let expected = named.prefix,
            place = zip(found, expected).enumerated().first { $1.0 != $1.1 }?.offset ?? min(found.count, expected.count)
        func token(_ ids: [Int32]) -> String { ids.indices.contains(place) ? "token \(ids[place])" : "its end" }
        return reject(
            named.job.customID, .prefixMismatch, "\(token(found)) at position \(place) of the prefix", token(expected))
    }

    // MARK: lines

    func join(_ result: DumpedRollout) throws -> JoinedResult {
        guard let id = result.request else {
            throw reject(result.id, .unknownJob, "a result without a custom_id", "a custom_id of the plan's jobs")
        }
        let named = try job(id), job = named.job
        if let ids = result.completionIDs, ids.isEmpty, result.fault == nil,
            FinishReason(result.finishReason) != .failed
        {
            throw reject(job.customID, .emptyContinuation, "no token", "at least one")
        }
        let known = named.row
        var given = result
        // A job's own settings: what a driver wrote beside is of no account.
        (given.metadata["temperature"], given.metadata["top_p"]) = ("\(known.temperature)", "\(known.topP)")
        let found = try DumpedFrame(given, id: job.customID, reading).accepted()
        return JoinedResult(
            job: named.number, row: row(found.row, known, named), frame: found.frame, remarks: found.remarks)
    }

    /// What is known of the job, with the tokens that its result has.
    private func row(_ found: RolloutRow, _ known: RolloutRow, _ named: NamedJob) -> RolloutRow {
        var row = known
        (row.tokenIDs, row.lossMask, row.rolloutLogprobs) = (found.tokenIDs, found.lossMask, found.rolloutLogprobs)
        (row.finishReason, row.extras, row.support) = (found.finishReason, found.extras, found.support)
        row.routes = found.routes
        (row.evidence, row.logitsOffset, row.logitsLength) = (found.evidence, found.logitsOffset, found.logitsLength)
        row.completion = completion(found.completion, row.tokenIDs, named)
        return row
    }

    /// The whole response: from its tokens where there is a tokenizer, else the prefix's text and the continuation's.
    private func completion(_ continuation: String, _ tokens: [Int32], _ named: NamedJob) -> String {
        guard let tokenizer else { return named.completion(continuation) }
        let start = named.base.rollout.lossMask.firstIndex(of: true) ?? tokens.count
        return tokenizer.tokenizer.decode(tokens[min(start, tokens.count)...])
    }
}
