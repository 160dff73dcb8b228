import Formats
import Foundation
import Tokenizer

/// One result on its way to becoming a rollout: its job, and the row or why there is none.
struct JoinedResult {
    let job: Int
    let row: RolloutRow
}

/// Holds results against the jobs that asked for them.
struct ResultJoin {
    let index: JobIndex
    let tokenizer: TextTokens?

    private func reject(_ id: String?, _ reason: String, _ found: String, _ expected: String) -> Rejection {
        Rejection(id, reason, found: found, expected: expected)
    }

    private func job(_ id: String) throws -> Int {
        guard let job = index.index(of: id) else { throw reject(id, "unknown_job", "'\(id)'", "a custom_id of the plan's jobs") }
        return job
    }

    // MARK: shards

    /// A rollout of a shard whose `job_id` names a job.
    func join(_ rollout: RolloutRow) throws -> JoinedResult {
        guard let id = rollout.jobID else { throw reject(rollout.rolloutID, "unknown_job", "no job_id", "the job that asked for it") }
        let number = try job(id), job = index.jobs[number], length = Int(job.prefixLength)
        try checkPrefix(rollout.tokenIDs, job)
        guard let first = rollout.lossMask.firstIndex(of: true), first >= length else {
            throw reject(id, "prefix_trainable", "loss_mask 1 within the prefix of \(length) tokens", "1 on the continuation alone")
        }
        var row = index.row(of: job)
        row.rolloutID = rollout.rolloutID
        (row.tokenIDs, row.lossMask, row.rolloutLogprobs) = (rollout.tokenIDs, rollout.lossMask, rollout.rolloutLogprobs)
        (row.finishReason, row.temperature, row.topP, row.givenReward) = (rollout.finishReason, rollout.temperature, rollout.topP, rollout.givenReward)
        (row.evidence, row.logitsPath, row.logitsOffset, row.logitsLength) = (rollout.evidence, rollout.logitsPath, rollout.logitsOffset, rollout.logitsLength)
        if !rollout.policyVersion.isEmpty { row.policyVersion = rollout.policyVersion }
        // crux-rollout knows where the response began and has written all of it.
        let isWhole = extras(rollout.extras)["completion_scope"] == "response"
        row.completion = isWhole ? rollout.completion : completion(rollout.completion, row.tokenIDs, job)
        row.extras = rollout.extras
        return JoinedResult(job: number, row: row)
    }

    private func extras(_ json: String) -> [String: String] {
        ((try? JSONSerialization.jsonObject(with: Data(json.utf8))) as? [String: String]) ?? [:]
    }

    private func checkPrefix(_ tokens: [Int32], _ job: JobRow) throws {
        let length = Int(job.prefixLength)
        guard tokens.count > length else {
            throw reject(job.customID, "prefix_mismatch", "\(tokens.count) tokens", "the prefix of \(length) and what follows it")
        }
        guard prefixDigest(tokens[..<length]) == job.prefixSHA256 else {
            throw mismatch(Array(tokens[..<length]), job, "prefix_mismatch")
        }
    }

    private func mismatch(_ found: [Int32], _ job: JobRow, _ reason: String) -> Rejection {
        let expected = index.prefix(of: job), place = zip(found, expected).enumerated().first { $1.0 != $1.1 }?.offset ?? min(found.count, expected.count)
        func token(_ ids: [Int32]) -> String { ids.indices.contains(place) ? "token \(ids[place])" : "its end" }
        return reject(job.customID, reason, "\(token(found)) at position \(place) of the prefix", token(expected))
    }

    // MARK: lines

    func join(_ result: EngineResult) throws -> JoinedResult {
        let number = try job(result.customID), job = index.jobs[number]
        if let error = result.error { throw reject(job.customID, "engine_error", "'\(error)'", "a continuation") }
        let prefix = index.prefix(of: job)
        // Where the prefix travelled as text, this is re-tokenisation drift.
        if let seen = result.prefix, seen != prefix { throw mismatch(seen, job, "prefix_mismatch") }
        let (tokens, isRetokenised) = try tokens(of: result, job)
        var row = index.row(of: job)
        row.tokenIDs = prefix + tokens
        row.lossMask = prefix.map { _ in false } + tokens.map { _ in true }
        row.rolloutLogprobs = try logprobs(of: result, tokens, job, isRetokenised: isRetokenised).map { prefix.map { _ in Float(0) } + $0 }
        row.finishReason = result.finishReason
        row.completion = completion(result.text, row.tokenIDs, job)
        row.extras = isRetokenised ? #"{"retokenised":"true"}"# : "{}"
        return JoinedResult(job: number, row: row)
    }

    private func tokens(of result: EngineResult, _ job: JobRow) throws -> (tokens: [Int32], isRetokenised: Bool) {
        if let tokens = result.tokenIDs {
            guard !tokens.isEmpty else { throw reject(job.customID, "empty_continuation", "no token", "at least one") }
            if let bad = tokens.first(where: { $0 < 0 }) { throw reject(job.customID, "invalid_token_id", "token id \(bad)", "ids from 0") }
            return (tokens, false)
        }
        guard let tokenizer else {
            throw reject(job.customID, "no_token_ids", "text alone", "token ids (request return_token_ids), or --tokenizer DIR to tokenise it again")
        }
        return (try tokenizer.continuation(result.text, stopped: result.finishReason == "stop", count: result.tokenCount, of: job.customID), true)
    }

    private func logprobs(of result: EngineResult, _ tokens: [Int32], _ job: JobRow, isRetokenised: Bool) throws -> [Float]? {
        try checked(result.logprobs, tokens, id: job.customID, isRetokenised: isRetokenised)
    }

    /// The whole response: from its tokens where there is a tokenizer, else the prefix's text and the continuation's.
    private func completion(_ continuation: String, _ tokens: [Int32], _ job: JobRow) -> String {
        let start = index.base(of: job).rollout.lossMask.firstIndex(of: true) ?? tokens.count
        if let tokenizer { return tokenizer.tokenizer.decode(tokens[min(start, tokens.count)...]) }
        return (job.completionPrefix ?? "") + continuation
    }
}
