import Credit
import Objectives

/// Sections that are well by themselves but not together: what one says and another never reads is refused, because
/// nobody would notice that it does nothing.
extension Recipe {
    func contradictions(_ reader: SectionReader) -> [String] {
        objectiveProblems + klProblems(reader) + rewardProblems(reader) + filterProblems(reader) + maskProblems(reader)
            + unreadAdvantages(reader) + correctionProblems(reader)
    }

    private var objectiveName: String { type(of: objective).name }
    private var methodName: String { credit.expansion.map { type(of: $0).name } ?? type(of: credit.advantage).name }

    private var objectiveProblems: [String] {
        var found: [String] = []
        if objective.readsReturns, credit.expansion != nil || !credit.advantage.givesReturns {
            found.append(
                "objective \(objectiveName) learns towards returns, which advantage '\(type(of: credit.advantage).name)' "
                    + "does not give; expected gae or etpo_q")
        }
        if objective.isPerSequence, !(credit.aggregation is SequenceMeanTokenSum) {
            found.append(
                "objective \(objectiveName) is a loss of whole sequences; expected aggregation sequence_mean_token_sum")
        }
        if !objective.isPerSequence, !objective.takesOtherAggregations,
            type(of: credit.aggregation).name != naturalAggregation
        {
            found.append(
                "objective \(objectiveName) has one loss for a whole sequence; expected aggregation \(naturalAggregation)"
            )
        }
        if trainable.adapters != nil, objective.output == .value || objective.targetDecay != nil {
            found.append(
                "objective \(objectiveName) trains a head or a target network of its own; expected trainable full")
        }
        if objective.readsPairs, credit.expansion != nil {
            found.append("objective \(objectiveName) reads pairs; expected no expansion")
        }
        return found + termProblems
    }

    /// Terms beside the objective that it leaves nothing to say.
    private var termProblems: [String] {
        var found: [String] = []
        let isOfTokens = !objective.isPerSequence && objective.output == .logprob
        if loss.staleRows != nil, !isOfTokens || !objective.readsAdvantages {
            found.append(
                "objective.drop_stale leaves out rollouts of negative advantage, but objective \(objectiveName) is no "
                    + "policy gradient of single tokens; expected none")
        }
        if credit.teacher?.policy == .current { found += currentTeacherProblems }
        if loss.auxiliary != nil, !isOfTokens {
            found.append(
                "objective.auxiliary is a likelihood of single tokens, which objective \(objectiveName) does not go with; "
                    + "expected none")
        }
        if loss.bonus != nil, objective.output != .logprob {
            found.append(
                "entropy.bonus needs entropies, which objective \(objectiveName) does not ask for; expected none")
        }
        if let bonus = loss.bonus, bonus.tokens == .kept, credit.mask == nil {
            found.append("entropy.bonus.tokens is kept, but there is no entropy.mask that keeps any; expected all")
        }
        return found
    }

    /// A teacher that is held against the policy as it stands moves advantages at each step.
    private var currentTeacherProblems: [String] {
        let key = "advantage.teacher.policy is current"
        var found: [String] = []
        if objective.isPerSequence || objective.output != .logprob || !objective.readsAdvantages {
            found.append(
                "\(key), but objective \(objectiveName) is no policy gradient of single tokens; expected plan")
        }
        if credit.shaping != nil {
            found.append("\(key), and entropy.shaping bounds advantages that then move; expected plan, or no shaping")
        }
        if credit.correction.behavior == .sampler {
            found.append("\(key) with correction.behavior sampler, whose ratio starts elsewhere; expected plan")
        }
        return found
    }

    private func klProblems(_ reader: SectionReader) -> [String] {
        var found: [String] = []
        if reader.isWritten("kl"), !reader.isWritten("kl.coef") {
            found.append("kl has no coef, which is 0 then: nothing of it has an effect; expected kl.coef, or no kl")
        }
        if kl.isInLoss, objective.output != .logprob {
            found.append(
                "kl in the loss needs log-probabilities, which objective \(objectiveName) does not ask for; expected coef 0"
            )
        }
        if kl.weighted != .none, kl.estimator.type.isStraightThrough {
            found.append(
                "kl.weighted is \(kl.weighted.rawValue), but estimator \(kl.estimator.type.name) has the gradient of another "
                    + "estimate; expected none")
        }
        guard kl.isInReward else { return found }
        if credit.expansion != nil { found.append("kl.placement is reward with an expansion; expected loss") }
        if !objective.readsAdvantages, !objective.readsReturns {
            found.append(
                "kl.placement reward has no effect: objective \(objectiveName) reads neither advantages nor returns")
        }
        if kl.estimator.type.isStraightThrough {
            let plain = kl.estimator.type.name.dropLast()
            found.append(
                "kl.estimator is \(kl.estimator.type.name), whose gradient a reward does not have; expected \(plain)")
        }
        return found
    }

    private func rewardProblems(_ reader: SectionReader) -> [String] {
        let reward = credit.reward
        var found: [String] = []
        if let range = objective.rewardRange {
            for (key, value) in [("correct", reward.correct), ("wrong", reward.wrong)] {
                guard let value, !range.contains(value) else { continue }
                found.append(
                    "reward.\(key) is \(value); expected \(range.lowerBound) to \(range.upperBound), "
                        + "between which objective \(objectiveName) has its outcomes")
            }
            if reward.overlong != nil {
                found.append("reward.overlong makes rewards below 0; expected none with objective \(objectiveName)")
            }
        }
        found += componentProblems
        guard credit.pairs == nil else { return found }
        if credit.expansion?.rewardsByVerdict == true {
            for key in ["correct", "wrong"] where reader.isWritten("reward." + key) {
                found.append(
                    "reward.\(key) has no effect: expansion \(methodName) has rewards of its own; expected it left out")
            }
        } else if credit.expansion == nil, credit.advantage.rewardsByVerdict {
            if let correct = reward.correct, correct != 1 { found.append(verdictProblem("correct", correct, 1)) }
            if let wrong = reward.wrong, wrong != 0 { found.append(verdictProblem("wrong", wrong, 0)) }
            if reward.overlong != nil {
                found.append("reward.overlong has no effect: advantage \(methodName) takes verdicts; expected none")
            }
        }
        return found
    }

    private var componentProblems: [String] {
        let takesVerdicts = credit.expansion == nil && credit.pairs == nil && credit.advantage.rewardsByVerdict
        if credit.reward.components != nil {
            let reason: String? =
                credit.expansion != nil
                ? "an expansion compares its continuations by one reward"
                : credit.pairs != nil
                    ? "pairs are made of verdicts" : takesVerdicts ? "advantage \(methodName) takes verdicts" : nil
            if let reason { return ["reward.components has no effect: \(reason); expected it left out"] }
        }
        guard credit.expansion == nil, credit.pairs == nil, credit.advantage.readsComponents else { return [] }
        var found: [String] = []
        if credit.reward.overlong != nil {
            found.append(
                "reward.overlong has no effect: advantage \(methodName) compares each reward by itself; expected none, or "
                    + "a length reward among reward.components")
        }
        if kl.isInReward {
            found.append(
                "kl.placement is reward, which has no effect: advantage \(methodName) compares each reward by itself; "
                    + "expected loss")
        }
        return found
    }

    private func verdictProblem(_ key: String, _ value: Double, _ own: Int) -> String {
        "reward.\(key) is \(value), which has no effect: advantage \(methodName) takes verdicts, 1 and 0; expected \(own)"
    }

    private func filterProblems(_ reader: SectionReader) -> [String] {
        var found: [String] = []
        if credit.expansion != nil {
            for key in ["min_accuracy", "max_accuracy"] where reader.isWritten("filter." + key) {
                found.append(
                    "filter.\(key) has no effect: an expansion compares states, not prompts; expected it left out")
            }
        }
        if credit.filter.degenerateGroups == .zero, credit.expansion != nil || credit.pairs != nil {
            found.append(
                "filter.degenerate_groups is zero, which has no effect with \(credit.pairs == nil ? "an expansion" : "pairs")"
            )
        }
        return found
    }

    private func maskProblems(_ reader: SectionReader) -> [String] {
        var found: [String] = []
        if credit.excludesEndTokens, credit.expansion != nil {
            found.append("entropy.exclude_eos with an expansion, whose states have masks of their own; expected false")
        }
        guard let mask = credit.mask else { return found }
        if objective.isPerSequence {
            found.append("objective \(objectiveName) is a loss of whole sequences; expected no entropy.mask")
        }
        if mask.policy == .current, objective.output != .logprob {
            found.append(
                "entropy.mask.policy is current, but objective \(objectiveName) knows no entropies; expected plan")
        }
        return found + problems(unreadOfMask, "entropy.mask", reader)
    }

    /// Keys of the mask that have no effect beside other sections, with what stands against them.
    var unreadOfMask: [String: String] {
        guard credit.mask?.normalizer == .kept, !(credit.aggregation is TokenMean) else { return [:] }
        return ["normalizer": "kept tokens are nothing to aggregation \(type(of: credit.aggregation).name)"]
    }

    /// The same of the advantage.
    var unreadOfAdvantage: [String: String] {
        objective.readsAdvantages || credit.pairs != nil
            ? [:] : ["whiten": "objective \(objectiveName) reads no advantages"]
    }

    private func problems(_ unread: [String: String], _ section: String, _ reader: SectionReader) -> [String] {
        unread.filter { reader.isWritten(section + "." + $0.key) }.map {
            "\(section).\($0.key) has no effect: \($0.value); expected it left out"
        }
    }

    private func unreadAdvantages(_ reader: SectionReader) -> [String] {
        guard !objective.readsAdvantages else { return teacherProblems }
        var found = problems(unreadOfAdvantage, "advantage", reader)
        if credit.pairs != nil, reader.isWritten("advantage") {
            found.append("advantage has no effect: objective \(objectiveName) learns from pairs; expected it left out")
        }
        if credit.teacher != nil {
            found.append(
                "advantage.teacher has no effect: objective \(objectiveName) reads no advantages; expected it left out")
        }
        if reader.isWritten("entropy.shaping") {
            found.append(
                "entropy.shaping has no effect: objective \(objectiveName) reads no advantages; expected it left out")
        }
        return found
    }

    /// A teacher has something to say of groups without contrast too.
    private var teacherProblems: [String] {
        guard let teacher = credit.teacher, teacher.form == .difference, credit.filter.degenerateGroups == .drop else {
            return []
        }
        return [
            "filter.degenerate_groups is drop with advantage.teacher, which teaches on groups without contrast too; "
                + "expected keep"
        ]
    }

    private func correctionProblems(_ reader: SectionReader) -> [String] {
        var found: [String] = []
        let correction = credit.correction
        if reader.isWritten("correction"), !reader.isWritten("correction.level"), !correction.readsSampler {
            found.append(
                "correction has no level, which is none then, and rejects nothing; expected token, segment, sequence_sum "
                    + "or sequence_mean, a reject list, a veto, or no correction"
            )
        }
        if correction.behavior == .sampler, !objective.readsOldLogprobs {
            found.append(
                "correction.behavior is sampler, which has no effect: objective \(objectiveName) has no ratio that starts "
                    + "from anywhere; expected it left out")
        }
        if credit.correction.isOn, objective.isPerSequence {
            found.append(
                "correction weighs tokens, but objective \(objectiveName) is a loss of whole sequences; expected none")
        }
        if credit.correction.isOn, !objective.takesCorrection, !objective.isPerSequence {
            found.append(
                "correction weighs tokens, but the ratio of objective \(objectiveName) is a whole sequence's; expected none"
            )
        }
        return found
    }
}

extension RecipeNode {
    /// An infinite bound is none: `.inf` is null where null says so.
    var withoutInfiniteBounds: RecipeNode {
        [
            "correction.high", "objective.clip_dual", "objective.clip", "objective.cap", "objective.importance_cap",
            "objective.delta",
            "optimizer.max_grad_norm",
        ].reduce(self) {
            node, path in
            guard case .plain(let text)? = node.written(at: path), RecipeScalar.isInfinite(text), text.first != "-"
            else { return node }
            return node.replacing(path.split(separator: ".").map(String.init)[...], with: .null)
        }
    }
}
