import Scratch
import StageSupport

/// All that a page says of a run as a whole: one pass over its rollouts, and passes over two columns for quantiles.
package struct RunFigures: Sendable {
    package let dump: DumpTally
    /// By plan.
    package let plans: [PlanTally]
    /// Of two plans.
    package let comparison: PlanComparisonTally?
    package let tokens: TokenTally
    /// nil without entropies.
    package let quantiles: EntropyQuantiles?
    package let sample: RolloutSample

    /// What a batch of rollouts adds up to.
    private struct Part: RolloutTally {
        var dump = DumpTally()
        var plans: [PlanTally]
        var comparison = PlanComparisonTally()
        var tokens = TokenTally()
        var sample: RolloutSample
        /// By row: trainable tokens whose entropy is known.
        var counts: [Int32] = []

        init(plans: Int, sampleLimit: Int) {
            self.plans = [PlanTally](repeating: PlanTally(), count: plans)
            sample = RolloutSample(limit: sampleLimit)
        }

        mutating func add(_ view: RolloutView) {
            dump.add(view)
            for (number, entry) in view.entries.enumerated() { plans[number].add(view, entry) }
            if view.entries.count == 2 { comparison.add(view, view.entries[0], view.entries[1]) }
            tokens.add(view)
            sample.add(view)
            counts.append(view.score.entropy == nil ? 0 : Int32(view.trainable.count))
        }

        mutating func add(_ next: Part) {
            dump.add(next.dump)
            for number in plans.indices { plans[number].add(next.plans[number]) }
            comparison.add(next.comparison)
            tokens.add(next.tokens)
            sample.add(next.sample)
        }
    }

    /// `sampleLimit`: most rollouts of the sample.
    package init(_ run: RunView, sampleLimit: Int, threads: Int) throws {
        var counts = ScratchWriter<Int32>(.temporary)
        let all = try run.tally(Part(plans: run.plans.count, sampleLimit: sampleLimit), threads: threads) { part in
            for count in part.counts { try counts.append(count) }
        }
        (dump, plans, tokens, sample) = (all.dump, all.plans, all.tokens, all.sample)
        comparison = run.plans.count == 2 ? all.comparison : nil
        quantiles = try EntropyQuantiles(of: run.rows, counts: try counts.finish(), threads: threads)
    }
}
