/// ETPO's policy step: KL(π || π*) of each state, π* ∝ reference · exp(Q/β) over the whole vocabulary. With `target:
/// monte_carlo` only the sampled token has a Q, its advantage: π* ∝ reference · exp(1[v = w] A/β), |A/β| kept within
/// 10.
package struct ETPOPolicy: Objective {
    package static let name = "etpo_policy"
    package static let source = "ETPO, arXiv 2402.06700, the paper's form"

    package enum Target: String, Codable, CaseIterable, Sendable {
        case qNetwork = "q_network"
        case monteCarlo = "monte_carlo"
    }

    package var beta = 0.01
    package var target = Target.qNetwork

    package init() {}

    package var problems: [String] { beta > 0 ? [] : ["beta is \(beta); expected more than 0"] }
    package var output: ModelOutput { .divergence }
    package var measure: Measure? { .targetDivergence }
    package var boltzmann: BoltzmannSettings? { BoltzmannSettings(beta: beta, readsQNetwork: target == .qNetwork) }
    package var readsOldLogprobs: Bool { false }
    package var readsAdvantages: Bool { target == .monteCarlo }

    /// The outputs are the divergences themselves.
    package func evaluate(_ sequence: SequenceInputs, gradient: inout [Float]) -> SequenceLoss {
        sequence.divergenceLoss(gradient: &gradient)
    }
}
