/// What an aggregation knows of an optimizer step.
package struct StepCounts: Sendable {
    /// Over all rows: trainable tokens, and those that the mask kept.
    package private(set) var trainable = 0
    package private(set) var kept = 0
    /// Trainable tokens of right answers.
    package private(set) var right = 0
    /// Tokens of an environment that the recipe learns from.
    package private(set) var environment = 0
    /// Rows with something to train on: B of the sequence modes.
    package private(set) var liveRows = 0
    /// Divide a token mean by kept tokens rather than trainable ones.
    package var countsKept: Bool
    /// Trainable tokens of the plan's longest row.
    package var longest: Int

    package init(countsKept: Bool, longest: Int) { (self.countsKept, self.longest) = (countsKept, longest) }

    package mutating func add(trainable: Int, kept: Int, isRight: Bool = false, environment: Int = 0) {
        self.environment += environment
        right += isRight ? trainable : 0
        self.trainable += trainable
        self.kept += kept
        liveRows += trainable > 0 ? 1 : 0
    }

    /// The same step without a mask.
    package var unmasked: StepCounts {
        var counts = self
        (counts.kept, counts.countsKept) = (trainable, false)
        return counts
    }
}
