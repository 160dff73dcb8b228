/// Learning from a teacher's whole distribution: a divergence between the policy S and the teacher T in each state that
/// the policy has come by, its derivative exact over the vocabulary. Both are softmax(z / temperature) at the rollouts'
/// temperature, and no factor of its square stands anywhere.
package struct Distill: Objective {
    package static let name = "distill"
    package static let source = "GKD, arXiv 2306.13649; verl distillation, TRL gkd and distillation, NeMo-RL"

    package enum Divergence: String, Codable, CaseIterable, Sendable {
        /// KL(T || S)
        case forward
        /// KL(S || T)
        case reverse
        /// mix · forward + (1 - mix) · reverse
        case mixed
        /// β KL(T || M) + (1 - β) KL(S || M), M = (1 - β) S + β T; β of 0 is forward, 1 is reverse
        case jsd
    }
    package enum Support: String, Codable, CaseIterable, Sendable { case full, teacher, student }
    /// What becomes of the tokens beside the `top_k` likeliest: one class of their own, whose divergence is a lower
    /// bound; nothing, with both distributions made whole again over the likeliest; or nothing at all.
    package enum Tail: String, Codable, CaseIterable, Sendable { case bucket, renormalize, drop }

    package var divergence = Divergence.reverse
    package var beta = 0.5
    package var mix = 0.5
    /// All tokens, or those that are the likeliest to the teacher or the student.
    package var support = Support.full
    package var topK = 64
    package var tail = Tail.bucket
    /// Each state's divergence times min(exp(lp - lp_old), this) of the token that was drawn there, which stands still;
    /// null: every state counts the same. (TRL's SDPO and SDFT: 2.)
    package var importanceCap: Double?

    package init() {}

    package var problems: [String] {
        var problems: [String] = []
        if !(0...1).contains(beta) { problems.append("beta is \(beta); expected 0 to 1") }
        if !(0...1).contains(mix) { problems.append("mix is \(mix); expected 0 to 1") }
        if !(1...4096).contains(topK) { problems.append("top_k is \(topK); expected 1 to 4096") }
        if let importanceCap, !(importanceCap > 0) {
            problems.append("importance_cap is \(importanceCap); expected more than 0, or null for none")
        }
        return problems
    }

    package var unread: [String: String] {
        var unread: [String: String] = [:]
        if divergence != .jsd { unread["beta"] = "divergence is \(divergence.rawValue)" }
        if divergence != .mixed { unread["mix"] = "divergence is \(divergence.rawValue)" }
        if support == .full { for key in ["top_k", "tail"] { unread[key] = "support is full" } }
        return unread
    }

    package var output: ModelOutput { .divergence }
    package var measure: Measure? { .targetDivergence }
    package var readsOldLogprobs: Bool { importanceCap != nil }
    package var readsAdvantages: Bool { false }
    package var distillation: Distill? { self }

    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        guard let importanceCap, let logprobs = sequence.tokenLogprobs else {
            return sequence.divergenceLoss(gradient: &gradient)
        }
        var weighed = sequence, largest = 0.0
        for t in sequence.positions {
            let ratio = ImportanceRatio(logprobs[t], sequence.oldLogprobs[t]).value
            weighed.weights[t] = Float(Double(sequence.weights[t]) * min(ratio, importanceCap))
            largest = max(largest, ratio)
        }
        var sum = weighed.divergenceLoss(gradient: &gradient)
        sum.largestRatio = largest
        return sum
    }
}

extension SequenceInputs {
    /// The loss of an objective whose outputs are divergences.
    func divergenceLoss(gradient: inout [Float]) -> SequenceLoss {
        var sum = SequenceLoss()
        for t in positions {
            sum.loss += Double(weights[t]) * Double(outputs[t])
            (sum.measure, sum.measured) = (sum.measure + Double(outputs[t]), sum.measured + 1)
            gradient[t] += weights[t]
        }
        return sum
    }
}
