/// What sweeps tell of every plan: a number under the name that crux-plan's summary has for it, where it has one.
struct SweepColumn: Sendable {
    let name: String
    /// Whether the picture has a panel of it.
    let isDrawn: Bool
    /// Of a plan, beside the first one of the sweep; nil where it isn't known.
    let value: @Sendable (_ plan: SweptPlan, _ first: SweptPlan) -> Double?

    private init(
        _ name: String, isDrawn: Bool = false, _ value: @escaping @Sendable (SweptPlan, SweptPlan) -> Double?
    ) {
        (self.name, self.isDrawn, self.value) = (name, isDrawn, value)
    }

    private static func count(_ name: String, isDrawn: Bool = false) -> SweepColumn {
        SweepColumn(name, isDrawn: isDrawn) { plan, _ in plan.counts[name].map(Double.init) }
    }

    static let all = [
        count("kept", isDrawn: true), count("dropped"), count("steps"), count("trainable_tokens"),
        count("kept_tokens", isDrawn: true), count("undecided_tokens"),
        SweepColumn("share_kept") { plan, _ in plan.shareKept },
        SweepColumn("threshold_low", isDrawn: true) { plan, _ in plan.thresholds.min() },
        SweepColumn("threshold_high") { plan, _ in plan.thresholds.max() },
        SweepColumn("positive_tokens") { plan, _ in Double(plan.tally.positive) },
        SweepColumn("negative_tokens") { plan, _ in Double(plan.tally.negative) },
        SweepColumn("zero_tokens") { plan, _ in Double(plan.tally.zero) },
        // Σ |weight| over all tokens.
        SweepColumn("weight_size", isDrawn: true) { plan, _ in plan.tally.weightSize },
        SweepColumn("effective_share", isDrawn: true) { plan, _ in plan.effectiveShare },
        // Of the tokens that this plan or the first keeps, the share that both keep.
        SweepColumn("overlap", isDrawn: true) { plan, first in plan.kept.overlap(with: first.kept) },
    ]
}
