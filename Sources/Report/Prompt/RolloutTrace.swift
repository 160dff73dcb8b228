import Arrow
import Files
import Formats
import Foundation
import RunViews
import StageSupport

/// What one stage of a run did with a rollout.
struct TraceStep {
    let stage: String
    /// Whether the stage has it, be it only to leave it out.
    let isKnown: Bool
    let text: String
    let fields: [String: any Sendable]
}

/// A rollout's way through the directories of a run: where it stands in each, and why it goes no further.
struct RolloutTrace {
    let rolloutID: String
    let context: StageContext

    // MARK: ingest

    /// Rows under that name; lines and frames that were left out under it, which may be copies of one that was kept.
    func ingest(_ directory: String) throws -> [TraceStep] {
        let manifest = try Manifest.finished(directory, stage: "ingest")
        let names = manifest.outputs.map(\.path)
        try manifest.verify(
            names.filter { $0.hasPrefix("rollouts-") || $0 == Self.rejectedName }, in: directory, context)
        let kept = try names.filter { $0.hasPrefix("rollouts-") }.flatMap { try keptRows(directory + "/" + $0) }
        let rejected = names.contains(Self.rejectedName) ? try rejectedRows(directory + "/" + Self.rejectedName) : []
        guard kept.isEmpty, rejected.isEmpty else { return kept + rejected }
        let nameless = try namelessRejects(directory, names)
        return [
            TraceStep(
                stage: "ingest", isKnown: false,
                text: "\(directory) has no rollout of that name, kept or rejected"
                    + (nameless > 0
                        ? "; \(nameless) rejected lines or frames show no name, and it may be one of them" : ""),
                fields: ["found": false, "rejected_without_name": nameless])
        ]
    }

    private static let rejectedName = "rejected.arrow"

    private func keptRows(_ path: String) throws -> [TraceStep] {
        let table = try ArrowTableReader(path: path, table: Tables.rollouts)
        return try rows(of: table, column: "rollout_id") { $0.rolloutID }.map { number in
            let row = try table.cursor().row(number), file = (path as NSString).lastPathComponent
            let source =
                row.logitsPath.isEmpty
                ? "" : ", logits in \(shown(row.logitsPath)) from byte \(row.logitsOffset), \(row.logitsLength) bytes"
            let job = row.jobID.map { ", continues job \(shown($0))" } ?? ""
            return TraceStep(
                stage: "ingest", isKnown: true,
                text: "\(file), row \(number): group \(shown(row.groupID)), sample \(row.sampleIndex), "
                    + "\(row.tokenIDs.count) tokens, \(row.lossMask.count { $0 }) of them trainable, evidence \(shown(row.evidence))"
                    + source + job,
                fields: [
                    "found": true, "file": file, "row": number, "group_id": row.groupID,
                    "job_id": row.jobID ?? NSNull(),
                ])
        }
    }

    private func rejectedRows(_ path: String) throws -> [TraceStep] {
        let table = try ArrowTableReader(path: path, table: Tables.rejected)
        return try rows(of: table, column: "rollout_id") { $0.rolloutID ?? "" }.map { number in
            let row = try table.cursor().row(number)
            return TraceStep(
                stage: "ingest", isKnown: true,
                text:
                    "rejected as \(shown(row.reason))\(WordMeanings.ofRejectReason(row.reason)): \(shown(row.shard)), "
                    + "frame or line \(row.frameIndex), from byte \(row.frameOffset): \(shown(row.detail))",
                fields: [
                    "found": true, "file": Self.rejectedName, "row": number, "reason": row.reason, "shard": row.shard,
                    "frame_index": Int(row.frameIndex), "detail": row.detail,
                ])
        }
    }

    private func namelessRejects(_ directory: String, _ names: [String]) throws -> Int {
        guard names.contains(Self.rejectedName) else { return 0 }
        var count = 0
        try ArrowTableReader(path: directory + "/" + Self.rejectedName, table: Tables.rejected).forEachRow {
            count += $0.rolloutID == nil ? 1 : 0
        }
        return count
    }

    /// Numbers of the rows of that name.
    private func rows<Row>(of table: ArrowTableReader<Row>, column: String, _ name: (Row) -> String) throws -> [Int] {
        let names = table.reading([column]).cursor()
        return try (0..<table.rowCount).filter { name(try names.row($0)).isSameBytes(as: rolloutID) }
    }

    // MARK: score

    func score(_ directory: String, of input: String) throws -> [TraceStep] {
        let manifest = try RunView.manifests(input: input, scores: directory).score
        let names = manifest.outputs.map(\.path).filter { $0.hasPrefix("scores-") }
        try manifest.verify(names, in: directory, context)
        let found = try names.flatMap { name -> [TraceStep] in
            let table = try ArrowTableReader(path: directory + "/" + name, table: Tables.scores)
            return try rows(of: table, column: "rollout_id") { $0.rolloutID }.map {
                scored(try table.cursor().row($0), name, $0)
            }
        }
        return found.isEmpty ? [absent("score", directory)] : found
    }

    private func scored(_ row: ScoreRow, _ file: String, _ number: Int) -> TraceStep {
        let known = [
            ("entropy", row.entropy), ("old_logprobs", row.oldLogprobs), ("reference_logprobs", row.referenceLogprobs),
            ("values", row.values),
        ].filter { $0.1 != nil }.map(\.0)
        return TraceStep(
            stage: "score", isKnown: true,
            text: "\(file), row \(number): verdict \(shown(row.verdict))\(WordMeanings.ofVerdict(row.verdict)), "
                + "reward \(row.reward.map(short) ?? "none")"
                + (row.extracted.isEmpty ? "" : ", answer found '\(shown(row.extracted))'")
                + "; known per token: " + (known.isEmpty ? "nothing" : known.joined(separator: ", ")),
            fields: [
                "found": true, "file": file, "row": number, "verdict": row.verdict,
                "reward": jsonNumber(row.reward),
            ])
    }

    // MARK: plan and update

    func plan(_ plan: PlanView) throws -> [TraceStep] {
        switch try plan.entry(of: rolloutID) {
        case .missing: return [absent("plan", plan.directory)]
        case .dropped(let reason):
            return [
                TraceStep(
                    stage: "plan", isKnown: true,
                    text: "dropped.arrow: left out, \(shown(reason))\(WordMeanings.ofDropReason(reason))",
                    fields: ["found": true, "file": PlanView.droppedName, "reason": reason])
            ]
        case .kept: return try plan.rowNumbers(of: rolloutID).map { try planned(plan, $0) }
        }
    }

    private func planned(_ plan: PlanView, _ number: Int) throws -> TraceStep {
        let row = try plan.row(number), kept = row.lossMask.indices.filter { row.keeps($0) }
        let advantages = kept.map { row.advantages[$0] }
        let weight = kept.reduce(0.0) { $0 + abs(Double(row.tokenWeights[$1])) }
        return TraceStep(
            stage: "plan", isKnown: true,
            text: "\(PlanView.planName), row \(number): step \(row.step), shaped reward \(short(row.reward)), "
                + "\(kept.count) of \(row.lossMask.count { $0 }) tokens kept, "
                + "advantages \(short(advantages.min() ?? 0)) to \(short(advantages.max() ?? 0)), "
                + "weights of size \(short(weight)) in all" + (row.pair.map { ", pair \($0)" } ?? ""),
            fields: [
                "found": true, "file": PlanView.planName, "row": number, "step": Int(row.step),
                "kept_tokens": kept.count,
                "weight_size": weight,
            ])
    }

    /// The optimizer steps that saw it: the plan's step, once per epoch.
    func update(_ directory: String, _ plan: PlanView) throws -> [TraceStep] {
        let manifest = try Manifest.finished(directory, stage: "update")
        try Lineage.require(
            directory, manifest, madeFrom: plan.directory, remedy: "Give the plan that this update was made of.")
        let metrics = try ArrowTableReader(path: directory + "/metrics.arrow", table: Tables.metrics).rows()
        let steps = try plan.rowNumbers(of: rolloutID).map { Int(try plan.row($0).step) }
        guard !steps.isEmpty else {
            return [
                TraceStep(stage: "update", isKnown: false, text: "not trained on", fields: ["found": false])
            ]
        }
        let perEpoch = plan.manifest.counts["steps"] ?? 1
        return metrics.enumerated().filter { steps.contains($0.offset % max(1, perEpoch)) }.map { _, row in
            TraceStep(
                stage: "update", isKnown: true,
                text:
                    "optimizer step \(row.step): loss of the step \(short(row.loss)), gradient norm \(short(row.gradNorm))",
                fields: ["found": true, "step": Int(row.step), "loss": jsonNumber(row.loss)])
        }
    }

    // MARK: jobs

    /// As a base that was gone back into, or as what came of a job.
    func jobs(_ directory: String) throws -> [TraceStep] {
        let folder = JobDirectory(directory)
        try folder.requireOneMaking()
        let bases = try ArrowTableReader(path: directory + "/" + JobDirectory.basesName, table: Tables.bases)
        let asBase = try rows(of: bases, column: "rollout_id") { $0.rollout.rolloutID }.map { number in
            let row = try bases.cursor().row(number)
            return TraceStep(
                stage: "jobs", isKnown: true,
                text: "\(JobDirectory.basesName), row \(number): gone back into at \(row.statePositions.count) states, "
                    + "after tokens \(row.statePositions.map { "\($0)" }.joined(separator: ", "))",
                fields: [
                    "found": true, "file": JobDirectory.basesName, "row": number,
                    "state_positions": row.statePositions.map { Int($0) },
                ])
        }
        let found = asBase + (try asResult(directory))
        return found.isEmpty ? [absent("jobs", directory)] : found
    }

    /// A joined result is called what its job is.
    private func asResult(_ directory: String) throws -> [TraceStep] {
        let jobs = try ArrowTableReader(path: directory + "/" + JobDirectory.jobsName, table: Tables.jobs)
        return try rows(of: jobs, column: "job_id") { $0.jobID }.map { number in
            let row = try jobs.cursor().row(number)
            return TraceStep(
                stage: "jobs", isKnown: true,
                text: "\(JobDirectory.jobsName), row \(number): continues \(shown(row.baseRolloutID)) from state "
                    + "\(row.stateIndex) (token \(row.anchorPosition)), replicate \(row.replicate)",
                fields: [
                    "found": true, "file": JobDirectory.jobsName, "row": number, "base_rollout_id": row.baseRolloutID,
                    "state_index": Int(row.stateIndex), "replicate": Int(row.replicate),
                ])
        }
    }

    private func absent(_ stage: String, _ directory: String) -> TraceStep {
        TraceStep(stage: stage, isKnown: false, text: "\(directory) doesn't have it", fields: ["found": false])
    }
}
