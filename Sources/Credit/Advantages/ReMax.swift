/// ReMax: what is still to come of a rollout's rewards, less the reward of the prompt's greedy rollout. Rollouts whose
/// metadata say `greedy` are the baselines (their mean, where a group has several) and are not trained on.
package struct ReMax: AdvantageEstimator {
    package static let name = "remax"
    package static let source = "ReMax, arXiv 2310.10505; verl core_algos"
    package static let dropReason = DropReason.baseline

    package init() {}

    package var readsGreedy: Bool { true }

    package func remark(_ group: [EpisodeOutcome]) -> GroupRemark? {
        guard !group.contains(where: \.isGreedy) else {
            return group.allSatisfy(\.isGreedy) ? .idle("have no rollout but greedy ones: nothing to train on") : nil
        }
        return .refused(
            found: "no greedy rollout",
            expected: "one whose metadata say greedy: true, for advantage remax. Sample one of each prompt greedily, "
                + "or take a recipe with another baseline")
    }

    package func advantages(_ group: [EpisodeOutcome], plan: [Double]) -> [Double?] {
        group.map { $0.isGreedy ? nil : 0 }
    }

    package func credit(_ group: [Episode], plan: [Double]) -> [EpisodeCredit?] {
        let greedy = group.filter(\.isGreedy).map(\.reward)
        guard !greedy.isEmpty else { return group.map { _ in nil } }
        let baseline = greedy.reduce(0, +) / Double(greedy.count)
        return group.map { episode in
            episode.isGreedy
                ? nil
                : EpisodeCredit(
                    advantages: episode.spread(
                        discountedReturns(episode.rewardsByPosition, gamma: 1).map { $0 - baseline }))
        }
    }
}
