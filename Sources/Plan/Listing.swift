import Credit
import Objectives
import Optimizers
import Recipes
import Rewards

/// What `crux-plan --list` prints: the registries as they are, so that it can't say anything else than the code.
enum Listing {
    static var text: String {
        let parts: [(String, [Entry])] = [
            ("advantage", AdvantageRegistry.all.map { Entry($0.name, $0.init(), $0.source) }),
            (
                "expansion (brings its own advantages)",
                ExpansionRegistry.all.map { Entry($0.name, $0.init(), $0.source) }
            ),
            ("expansion.anchor_score of fr3e", AnchorRegistry.all.map { Entry($0.name, nil, $0.source) }),
            ("expansion.segmentation of vineppo", SegmentationRegistry.all.map { Entry($0.name, nil, $0.source) }),
            ("objective", ObjectiveRegistry.all.map { Entry($0.name, $0.init(), $0.source) }),
            ("aggregation", AggregationRegistry.all.map { Entry($0.name, $0.init(), $0.source) }),
            ("entropy.mask", MaskRegistry.all.map { Entry($0.name, nil, $0.source) }),
            ("kl.estimator", KLEstimatorRegistry.all.map { Entry($0.name, nil, $0.source) }),
            ("trainable", TrainableRegistry.all.map { Entry($0.name, $0.init(), $0.source) }),
            ("preset", Preset.sources.sorted { $0.key < $1.key }.map { Entry($0.key, nil, $0.value) }),
            ("crux-score --reward", RewardRegistry.all.map { Entry($0.name, nil, $0.source) }),
            ("sections without types", sections),
        ]
        return parts.map { title, entries in ([title] + entries.map { "  " + $0.line }).joined(separator: "\n") }
            .joined(separator: "\n\n")
    }

    private static var sections: [Entry] {
        [
            Entry("reward", RewardShaping(), "what a verdict is worth"),
            Entry("reward.overlong", OverlongPenalty(), "DAPO, arXiv 2503.14476"),
            Entry("filter", GroupFilter(), "DAPO's dynamic sampling, overlong filtering; PRIME's accuracy range"),
            Entry(
                "advantage.teacher", TeacherTerm(),
                "on-policy distillation by the sampled token; RLSD, arXiv 2604.03128"),
            Entry("entropy.shaping", EntropyShaping(), "arXiv 2506.14758"),
            Entry("entropy.mask", EntropyMask().spelledOut, "arXiv 2506.01939"),
            Entry("entropy.bonus", EntropyBonus(), EntropyBonus.source),
            Entry(
                "entropy.bonus.adaptive", AdaptiveEntropy(), "Skywork-OR1, arXiv 2505.22312; TRL use_adaptive_entropy"),
            Entry("objective.drop_stale", StaleRows(), StaleRows.source),
            Entry("objective.auxiliary", AuxiliaryLoss(), AuxiliaryLoss.source),
            Entry("kl", KLPenalty(), "in the loss or in the reward"),
            Entry("correction", ImportanceCorrection(), "TIS, IcePop, MIS: sampler against trainer"),
            Entry("pairs", PreferencePairs(), "for h_dpo"),
            Entry("schedule", Schedule(), "groups dealt to optimizer steps"),
        ]
    }

    /// A member with its settings as a recipe would write them.
    private struct Entry {
        let line: String

        init(_ name: String, _ settings: (any Encodable)?, _ source: String) {
            let defaults = settings.map(Recipe.defaults) ?? ""
            line = "\(name)\(defaults.isEmpty ? "" : " {\(defaults)}")  — \(source)"
        }
    }
}
