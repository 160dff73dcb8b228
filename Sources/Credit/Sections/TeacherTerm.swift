import Foundation

/// What a teacher says of the sampled tokens, on top of any advantage, after whitening and before entropy shaping. With
/// D = log π_teacher - log π_old: `difference` adds coef · D (on-policy distillation with the sampled token);
/// `rlsd` multiplies by (1 - mix) + mix · clip(exp(sign(A) · D), 1 ± clip), which never changes a sign.
package struct TeacherTerm: Codable, Equatable, Sendable {
    package enum Form: String, Codable, CaseIterable, Sendable { case difference, rlsd }

    package var form = Form.difference
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
    }

    package var unread: [String: String] {
        let keys = form == .difference ? ["mix", "clip", "negative_only"] : ["coef"]
        return keys.reduce(into: [:]) { $0[$1] = "form is \(form.rawValue)" }
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
