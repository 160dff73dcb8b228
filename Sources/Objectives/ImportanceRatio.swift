import Foundation

/// exp(lp - lp_old), the log-ratio kept within ±20; no derivative where the bound binds.
struct ImportanceRatio {
    let value: Double
    let isClamped: Bool

    init(_ logprob: Float, _ oldLogprob: Float) {
        let difference = Double(logprob) - Double(oldLogprob)
        isClamped = abs(difference) > 20
        value = exp(min(max(difference, -20), 20))
    }
}

/// The sign of a log-ratio: the derivative of its size. 0 as far as two float32 forward passes over the same weights
/// differ, where it would be a matter of chance: before the first step a policy is where it was sampled.
func sign(ofLogRatio difference: Double) -> Double { abs(difference) <= 1e-4 ? 0 : difference > 0 ? 1 : -1 }

/// log(1 + exp(x)) without overflow.
func softplus(_ x: Double) -> Double { max(x, 0) + log1p(exp(-abs(x))) }

func sigmoid(_ x: Double) -> Double { x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)) }
