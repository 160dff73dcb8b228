import Files
import Formats
import Foundation
import Scratch
import StageSupport

/// A rollout with all that a run says of it.
package struct RolloutView: Sendable {
    /// Its row in the run, from 0.
    package let number: Int
    package let rollout: RolloutRow
    package let score: ScoreRow
    /// Whose the scores' old_logprobs are.
    package let trainer: TrainerLogprobs
    /// What each plan of the run makes of it, in their order.
    package let entries: [PlanEntry]

    package init(
        number: Int, rollout: RolloutRow, score: ScoreRow, trainer: TrainerLogprobs, entries: [PlanEntry]
    ) {
        (self.number, self.rollout, self.score) = (number, rollout, score)
        (self.trainer, self.entries) = (trainer, entries)
    }
}

/// A run to be looked at: a dump, its scores, and plans that were made of both. Held together by digest.
package struct RunView: Sendable {
    package let input: String
    package let scores: String
    package let ingest: Manifest
    package let score: Manifest
    package let trainer: TrainerLogprobs
    package let rows: ScoredRows
    package let plans: [PlanView]

    /// `plans`: finished crux-plan directories of these scores, if any.
    ///
    /// - Throws: where one isn't finished, isn't what its stage wrote, or was made from another.
    package init(input: String, scores: String, plans: [String] = [], _ context: StageContext) throws {
        (self.input, self.scores) = (input, scores)
        (ingest, score) = try Self.manifests(input: input, scores: scores)
        trainer = TrainerLogprobs(score)
        rows = try ScoredRows(ingest: input, ingest, scores: scores, score, context)
        self.plans = try plans.map { directory in
            let plan = try PlanView(directory, context)
            for source in [input, scores] {
                try Lineage.require(
                    directory, plan.manifest, madeFrom: source,
                    remedy: "Plan this one: crux-plan --input \(input) --scores \(scores) --recipe FILE --output "
                        + "\(directory) --overwrite")
            }
            return plan
        }
    }

    /// Both manifests, the scores' held against the dump's.
    package static func manifests(input: String, scores: String, remedyFlags: String = "") throws -> (
        ingest: Manifest, score: Manifest
    ) {
        let ingest = try Manifest.finished(input, stage: "ingest"),
            score = try Manifest.finished(scores, stage: "score")
        try Lineage.require(
            scores, score, madeFrom: input,
            remedy: "Score this one: crux-score --input \(input) --output \(scores)\(remedyFlags) --overwrite")
        return (ingest, score)
    }

    package func rollout(_ number: Int) throws -> RolloutView {
        let row = try rows.row(number)
        return RolloutView(
            number: number, rollout: row.rollout, score: row.score, trainer: trainer,
            entries: try plans.map { try $0.entry(of: row.rollout.rolloutID) })
    }

    /// The rollout of this name; nil where the dump has none.
    package func rollout(named id: String) throws -> RolloutView? { try rows.number(of: id).map(rollout) }

    /// All of them in the dump's order, one at a time.
    package func forEachRollout(_ body: (RolloutView) throws -> Void) throws {
        for number in 0..<rows.count { try body(try rollout(number)) }
    }

    /// What all of them add up to: batches are summed on `threads` threads, each into a copy of `empty`, and the sums
    /// are taken together in the dump's order, so that they are the same on any number of threads. `each` sees the sum
    /// of a batch once it is in.
    package func tally<Tally: RolloutTally>(
        _ empty: Tally, threads: Int, each: (Tally) throws -> Void
    ) throws -> Tally {
        let batches = rows.batches
        var all = empty
        try parallelInOrder(batches.count, threads: threads) { batch in
            var part = empty
            for row in batches[batch] { part.add(try rollout(row)) }
            return part
        } consume: { _, part in
            all.add(part)
            try each(part)
        }
        return all
    }
}

/// What rollouts of a run add up to.
package protocol RolloutTally: Sendable {
    mutating func add(_ view: RolloutView)
    /// `next`: of rollouts behind these.
    mutating func add(_ next: Self)
}
