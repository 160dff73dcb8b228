import Scratch

/// A rollout that is to be trained on, before anybody has looked at its tokens.
package struct KeptRow: BitwiseCopyable, Sendable {
    /// Index into the rows of the plan.
    package let row: Int32
    package let group: Int32
    package let step: Int32
    /// Number of its pair; -1 where it is in none.
    package var pair: Int32 = -1
    /// Of every token, where rewards alone decide.
    package let advantage: Double
}

/// What filter, estimator and schedule make of a dump: who is kept, in the order of the plan's rows, and why others are not.
struct Selection {
    var kept: ScratchArray<KeptRow>
    var dropped: DroppedRows
    var warnings: [String] = []
    /// Groups that are worth sampling again.
    var resample = ScratchArray<Int32>([])
    /// What the estimator knows of the plan as a whole.
    var planScale = 1.0
}
