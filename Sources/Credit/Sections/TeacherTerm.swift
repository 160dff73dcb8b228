import Foundation

/// What a teacher says of the sampled tokens, on top of any advantage, after whitening and before entropy shaping. With
/// D = log π_teacher - log π_old: `difference` adds coef · D (on-policy distillation with the sampled token);
/// `rlsd` multiplies by (1 - mix) + mix · clip(exp(sign(A) · D), 1 ± clip), which never changes a sign.
package struct TeacherTerm: Codable, Equatable, Sendable {
    package enum Form: String, Codable, CaseIterable, Sendable { case difference, rlsd }

    /// Whose log-probabilities the teacher's are held against: those of the plan, or those of the policy as it stands at
    /// each step (SDPO).
    package enum Policy: String, Codable, CaseIterable, Sendable { case plan, current }
    /// What becomes of rollouts for which a teacher that is told more had nothing to be told: they are taught as others
    /// are, get nothing of the teacher, or take no part.
    package enum Unprivileged: String, Codable, CaseIterable, Sendable { case keep, neutral, drop }

    package var form = Form.difference
    package var policy = Policy.plan
    package var unprivileged = Unprivileged.keep
    package var coef = 1.0
    package var mix = 0.5
    package var clip = 0.2
    /// Leaves advantages of 0 and more as they are.
    package var negativeOnly = false

    package init() {}

    package var problems: [String] {
        (coef >= 0 ? [] : ["advantage.teacher.coef is \(coef); expected 0 or more"])
            + ((0...1).contains(mix) ? [] : ["advantage.teacher.mix is \(mix); expected 0 to 1"])
            + (clip >= 0 && clip < 1
                ? [] : ["advantage.teacher.clip is \(clip); expected 0 to less than 1: beyond, signs could flip"])
            + (policy == .current && form != .difference
                ? ["advantage.teacher.policy is current with form \(form.rawValue); expected form difference, or plan"]
                : [])
    }

    package var unread: [String: String] {
        let keys = form == .difference ? ["mix", "clip", "negative_only"] : ["coef"]
        return keys.reduce(into: [:]) { $0[$1] = "form is \(form.rawValue)" }
    }

    /// What an update adds to the plan's advantages where the teacher is held against the policy as it stands: they have
    /// coef · (log π_teacher - log π_old), and want log π in place of log π_old. [L]; no gradient runs through it.
    package func caughtUp(_ advantages: [Float], old: [Float], now: [Float], mask: [Bool]) -> [Float] {
        advantages.indices.map { t in
            mask[t] ? Float(Double(advantages[t]) + coef * (Double(old[t]) - Double(now[t]))) : advantages[t]
        }
    }

    /// What a teacher's log-probability counts as where it excludes the token.
    package static let least: Float = -30

    /// [L]
    package func applied(to advantages: [Double], teacher: [Float], old: [Float], mask: [Bool]) -> [Double] {
        advantages.indices.map { t in
            mask[t]
                ? applied(advantages[t], difference: Double(max(teacher[t], Self.least)) - Double(old[t]))
                : advantages[t]
        }
    }

    private func applied(_ advantage: Double, difference: Double) -> Double {
        guard form == .rlsd else { return advantage + coef * difference }
        guard advantage < 0 || advantage > 0 && !negativeOnly else { return advantage }
        let ratio = exp(advantage > 0 ? difference : -difference)
        return advantage * ((1 - mix) + mix * min(max(ratio, 1 - clip), 1 + clip))
    }
}
