import Foundation

/// What is done about the distance between sampler and trainer (other kernels, other precision, an older policy):
/// weights w = π_trainer / π_sampler of the sampled tokens before the first step, multiplied onto the token weights, and
/// tokens or rollouts that are too far away left out.
package struct ImportanceCorrection: Codable, Equatable, Sendable {
    /// One ratio per token; one per unbroken run of trainable tokens, exp(mean Δ); one per rollout, exp(Σ Δ) or
    /// exp(mean Δ) — the product and its geometric mean are different methods.
    package enum Level: String, Codable, CaseIterable, Sendable {
        case none
        case token
        case segment
        case sequenceSum = "sequence_sum"
        case sequenceMean = "sequence_mean"
    }
    /// `truncate`: w within low…high (TIS). `mask`: w where it lies in low…high, 0 elsewhere (IcePop, MIS).
    package enum Mode: String, Codable, CaseIterable, Sendable { case truncate, mask }
    /// Whether weights are divided by their mean over the plan: over tokens, or over rollouts where each has one weight.
    package enum Normalization: String, Codable, CaseIterable, Sendable { case none, batch }
    /// What becomes of a rollout none of whose tokens has any weight: it takes no part in the plan, neither in its
    /// group's comparison nor in denominators; or it stays in the comparison (verl, TRL).
    package enum Rejected: String, Codable, CaseIterable, Sendable { case exclude, keep }
    /// Whether tokens that `reject` and `veto` leave out stay in denominators (`all`), or leave them and the KL term
    /// too (`kept`: verl, SkyRL, ROLL).
    package enum Denominator: String, Codable, CaseIterable, Sendable { case all, kept }
    /// Whose log-probabilities the objective's ratio starts from. `sampler`: the sampler's own, so that this ratio is
    /// the whole correction (verl's bypass mode).
    package enum Behavior: String, Codable, CaseIterable, Sendable { case trainer, sampler }

    package var level = Level.none
    package var mode = Mode.truncate
    /// null: 0 with truncate, 0.5 with mask.
    package var low: Double?
    /// null is no bound.
    package var high: Double? = 2.0
    package var normalize = Normalization.none
    /// Criteria all of which must hold.
    package var reject: [RejectionRule] = []
    package var veto: RatioVeto?
    package var rejected = Rejected.exclude
    package var denominator = Denominator.all
    package var behavior = Behavior.trainer
    /// Under top-p or top-k the sampler's distribution is another one than the trainer's softmax, and the ratio is
    /// biased.
    package var allowTruncatedSampling = false
    /// Takes rollouts without the sampler's log-probabilities for such that trainer and sampler agree on (TRL).
    package var allowMissing = false

    package init() {}

    /// With the lower bound written out where none was given.
    package var spelledOut: ImportanceCorrection {
        var correction = self
        correction.low = lowest
        return correction
    }

    private var lowest: Double { low ?? (mode == .mask ? 0.5 : 0) }

    package var problems: [String] {
        let rules = reject.enumerated().flatMap { $1.problems("correction.reject[\($0)]") } + (veto?.problems ?? [])
        let several =
            reject.count { $0.metric == .secondMoment } > 1
            ? ["correction.reject has several second moments; expected one"] : []
        return rules + several + twice + (weighs ? boundProblems : [])
    }

    private var boundProblems: [String] {
        (high.map { $0 >= 1 } ?? true
            ? [] : ["correction.high is \(high ?? 0); expected at least 1, or null for no bound"])
            + ((0...1).contains(lowest) ? [] : ["correction.low is \(lowest); expected 0 to 1"])
    }

    private var twice: [String] {
        guard behavior == .sampler, weighs else { return [] }
        return [
            "correction.level is \(level.rawValue) with behavior sampler, which corrects twice: the objective's ratio "
                + "already starts from the sampler; expected level none, or behavior trainer"
        ]
    }

    /// Keys that have no effect beside the others, with what stands against them.
    package var unread: [String: String] {
        var unread: [String: String] = [:]
        if !weighs, isOn || behavior == .sampler {
            for key in ["mode", "low", "high", "normalize"] { unread[key] = "level is none" }
        }
        if isOn, !leavesOut {
            unread["rejected"] = "mode is truncate, which leaves nothing out, and nothing is rejected"
        }
        if behavior == .sampler { unread["allow_missing"] = "behavior is sampler, which needs them" }
        if isOn, reject.isEmpty, veto == nil { unread["denominator"] = "nothing is rejected" }
        return unread
    }

    /// Whether tokens get weights.
    package var weighs: Bool { level != .none }
    /// Whether trainer and sampler are compared.
    package var isOn: Bool { weighs || !reject.isEmpty || veto != nil }
    /// Whether the sampler's log-probabilities are read.
    package var readsSampler: Bool { isOn || behavior == .sampler }
    private var leavesOut: Bool { weighs && mode == .mask || !reject.isEmpty || veto != nil }
    /// Whether rollouts may drop out of the plan.
    package var rejects: Bool { isOn && leavesOut && rejected == .exclude }

    var secondMoment: RejectionRule? { reject.first { $0.metric == .secondMoment } }

    /// Whether a row's weights depend on other rows.
    var needsPlan: Bool {
        weighs && normalize == .batch || secondMoment != nil
            || denominator == .kept && !(reject.isEmpty && veto == nil)
    }

    // MARK: one row

    /// Whether a rollout drops out: none of its tokens has any weight, whatever the other rollouts are.
    package func rejects(trainer: [Float], sampler: [Float], mask: [Bool]) -> Bool {
        rejects && mask.contains(true) && !weights(trainer: trainer, sampler: sampler, mask: mask).contains { $0 != 0 }
    }

    /// One weight per token, [L]; 0 where masked or left out.
    package func weights(trainer: [Float], sampler: [Float], mask: [Bool]) -> [Double] {
        let row = LogRatios(trainer: trainer, sampler: sampler, mask: mask), keeps = keeps(row)
        return zip(weights(row), keeps).map { $1 ? $0 : 0 }
    }

    /// Before anything is rejected; 0 where masked.
    func weights(_ row: LogRatios) -> [Double] {
        let runs = level == .segment ? row.runMeans : []
        return row.mask.indices.map { t in
            guard row.mask[t] else { return 0 }
            switch level {
            case .none: return 1
            case .token: return bounded(row.differences[t])
            case .segment: return bounded(runs[t])
            case .sequenceSum: return bounded(row.sum)
            case .sequenceMean: return bounded(row.mean)
            }
        }
    }

    /// Tokens that every criterion holds for which looks at this row alone.
    func keeps(_ row: LogRatios) -> [Bool] {
        var keeps = row.mask
        for rule in reject where !rule.isOfPopulation { rule.apply(row, to: &keeps) }
        if let veto, !veto.holds(row) { keeps = keeps.map { _ in false } }
        return keeps
    }

    private func bounded(_ logRatio: Double) -> Double {
        let ratio = exp(LogRatios.bounded(logRatio)), highest = high ?? .infinity
        switch mode {
        case .truncate: return min(max(ratio, lowest), highest)
        case .mask: return ratio >= lowest && ratio <= highest ? ratio : 0
        }
    }
}
