import CKernels
import Foundation

/// AdamW with decoupled weight decay, in torch.optim.AdamW's order and with its constants' meaning; decay reaches every
/// parameter. Float32 state.
package struct AdamW: Codable, Equatable, Sendable {
    package static let name = "adamw"

    package var lr = 1e-6
    package var betas = [0.9, 0.999]
    package var eps = 1e-8
    package var weightDecay = 0.0
    /// The learning rate grows in a line to `lr` over this many steps: Adam's first steps go by the sign of a gradient
    /// that is mostly noise. Steps count on over `--resume-from`.
    package var warmupSteps = 0
    /// From the warm-up on the learning rate falls in a line to 0 at this step; null keeps it. What noise has done to
    /// the weights at a high rate heals on the way down.
    package var decaySteps: Int?
    /// Gradients are scaled down to this global L2 norm; null is never.
    package var maxGradNorm: Double? = 1.0

    /// Steps are counted in 32 bits.
    private static let mostSteps = Int(Int32.max)

    package init() {}

    package var problems: [String] {
        var problems: [String] = []
        if !(lr >= 0) { problems.append("optimizer.lr is \(lr); expected 0 or more") }
        if betas.count != 2 || betas.contains(where: { !($0 >= 0 && $0 < 1) }) {
            problems.append("optimizer.betas is \(betas); expected two numbers from 0 to below 1")
        }
        // Nothing else keeps a parameter without a gradient from 0 / 0.
        if !(eps > 0) { problems.append("optimizer.eps is \(eps); expected more than 0") }
        if !(weightDecay >= 0) { problems.append("optimizer.weight_decay is \(weightDecay); expected 0 or more") }
        if !(0...Self.mostSteps).contains(warmupSteps) {
            problems.append("optimizer.warmup_steps is \(warmupSteps); expected 0 to \(Self.mostSteps)")
        }
        if let decaySteps, !(decaySteps > warmupSteps && decaySteps <= Self.mostSteps) {
            problems.append(
                "optimizer.decay_steps is \(decaySteps); expected more than warmup_steps and at most \(Self.mostSteps), or null"
            )
        }
        if let maxGradNorm, !(maxGradNorm > 0) {
            problems.append("optimizer.max_grad_norm is \(maxGradNorm); expected more than 0, or null for none")
        }
        return problems
    }

    /// What gradients of this global norm are multiplied by before the step (1e-6 as in torch's clip_grad_norm_).
    package func gradientScale(norm: Double) -> Double {
        maxGradNorm.map { min(1, $0 / (norm + 1e-6)) } ?? 1
    }

    package func learningRate(step: Int) -> Double {
        if step < warmupSteps { return lr * Double(step) / Double(warmupSteps) }
        guard let decaySteps else { return lr }
        return lr * max(0, Double(decaySteps - step) / Double(max(1, decaySteps - warmupSteps)))
    }

    /// One step over `count` parameters. `step` counts from 1.
    package func update(
        parameters: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>, expAvg: UnsafeMutablePointer<Float>,
        expAvgSq: UnsafeMutablePointer<Float>, count: Int, step: Int, gradientScale: Double
    ) {
        let (beta1, beta2) = (betas[0], betas[1]), lr = learningRate(step: step)
        var settings = crux_adamw_settings(
            decay: Float(1 - lr * weightDecay), step_size: Float(lr / (1 - pow(beta1, Double(step)))),
            beta1: Float(beta1),
            one_minus_beta1: Float(1 - beta1), beta2: Float(beta2), one_minus_beta2: Float(1 - beta2),
            inverse_bias2_sqrt: Float(1 / sqrt(1 - pow(beta2, Double(step)))), epsilon: Float(eps),
            gradient_scale: Float(gradientScale))
        crux_adamw(parameters, gradients, expAvg, expAvgSq, count, &settings)
    }
}
