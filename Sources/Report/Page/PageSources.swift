import Formats
import LearningCurves
import RunViews
import StageSupport

/// How much of a run a page holds.
struct PageLimits {
    let rollouts: Int
    let tokens: Int
    let bases: Int
    /// Tokens of the table occur more often than this.
    let minimumCount: Int
}

/// What a page is made of.
struct PageSources {
    let run: RunView
    let jobs: String?
    let update: String?
    let curves: [LearningCurve]
    let texts: TokenText

    /// Throws where the update or the jobs belong to another run.
    func requireLineage(plan: String?) throws {
        if let update, let plan {
            try Lineage.require(
                update, try Manifest.finished(update, stage: "update"), madeFrom: plan,
                remedy: "Train on this one: crux-update --plan \(plan) --checkpoint DIR --output \(update) --overwrite")
        }
        if let jobs { try JobDirectory(jobs).requireOneMaking() }
    }
}
