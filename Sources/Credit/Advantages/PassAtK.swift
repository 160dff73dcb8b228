import Foundation

/// Advantages for the best of k rollouts. `best_minus_second`: the best of the group gets what it is ahead of the
/// second, by the group's deviation, the others 0; a tie for the best is 0. `analytic`: of n rollouts with c right ones,
/// what a draw of k gains from a right or a wrong one: m = 1 - C(n-c, k) / C(n, k), s = sqrt(m (1 - m)),
/// A+ = (1 - m) / s, A- = (1 - m - C(n-c-1, k-1) / C(n-1, k-1)) / s, which are 0 together over the group.
package struct PassAtK: OutcomeEstimator {
    package static let name = "pass_at_k"
    package static let source = "arXiv 2503.19595, verl grpo_passk; analytic: pass@k training"

    package enum Form: String, Codable, CaseIterable, Sendable {
        case bestMinusSecond = "best_minus_second"
        case analytic
    }
    package enum Normalization: String, Codable, CaseIterable, Sendable { case std, none }

    package var form = Form.bestMinusSecond
    /// Rollouts of a draw.
    package var k = 2
    package var normalize = Normalization.std
    package var epsilon = 1e-6

    package init() {}

    package var problems: [String] {
        Bounds.problems("advantage.k", k, Bounds.branches)
            + (epsilon >= 0 ? [] : ["advantage.epsilon is \(epsilon); expected 0 or more"])
    }

    package var unread: [String: String] {
        switch (form, normalize) {
        case (.bestMinusSecond, .std): ["k": "form is best_minus_second"]
        case (.bestMinusSecond, .none): ["k": "form is best_minus_second", "epsilon": "normalize is none"]
        case (.analytic, _): ["normalize": "form is analytic", "epsilon": "form is analytic"]
        }
    }

    package var rewardsByVerdict: Bool { form == .analytic }

    package func remark(_ group: [EpisodeOutcome]) -> GroupRemark? {
        form == .analytic && group.count < k && group.count > 1
            ? .idle("have fewer rollouts than advantage.k, \(k), so that nothing can be drawn: their advantages are 0")
            : nil
    }

    package func advantages(_ group: [EpisodeOutcome], plan: [Double]) -> [Double?] {
        form == .analytic ? analytic(group.map(\.isRight)) : bestMinusSecond(group.map(\.score))
    }

    private func bestMinusSecond(_ rewards: [Double]) -> [Double] {
        var advantages = rewards.map { _ in 0.0 }
        guard rewards.count > 1, !GroupFilter.areEqual(rewards) else { return advantages }
        let ranked = rewards.indices.sorted { rewards[$0] > rewards[$1] }
        let ahead = rewards[ranked[0]] - rewards[ranked[1]]
        advantages[ranked[0]] = normalize == .none ? ahead : ahead / (Self.deviation(rewards) + epsilon)
        return advantages
    }

    /// Bessel's.
    private static func deviation(_ rewards: [Double]) -> Double {
        let mean = rewards.reduce(0, +) / Double(rewards.count)
        return sqrt(rewards.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(rewards.count - 1))
    }

    private func analytic(_ isRight: [Bool]) -> [Double] {
        let all = isRight.count, wrong = isRight.count { !$0 }
        guard all >= k else { return isRight.map { _ in 0 } }
        let mean = 1 - Self.shareOfDraws(k, from: wrong, of: all), deviation = sqrt(mean * (1 - mean))
        guard deviation > 0 else { return isRight.map { _ in 0 } }
        let withoutRight = Self.shareOfDraws(k - 1, from: wrong - 1, of: all - 1)
        return isRight.map { (1 - mean - ($0 ? 0 : withoutRight)) / deviation }
    }

    /// C(part, k) / C(all, k): how many of the draws of k lie in a part.
    private static func shareOfDraws(_ k: Int, from part: Int, of all: Int) -> Double {
        guard part >= k else { return 0 }
        return (0..<k).reduce(1) { $0 * Double(part - $1) / Double(all - $1) }
    }
}
