import Credit
import Foundation
import Quantiles

/// Too many tokens of which a mask can't say whether it keeps them, because their entropies are intervals that reach
/// over its threshold.
struct UndecidedMask {
    private let plan: CreditPlan
    private let mask: EntropyMask
    /// Undecided and all trainable tokens by how many best log-probabilities their intervals rest on; nil: exact, or
    /// not known.
    private let shares: [Int32?: Share]

    private struct Share {
        var undecided = 0
        var tokens = 0
        var percent: String { String(format: "%.2f %%", 100 * Double(undecided) / Double(max(1, tokens))) }
    }

    /// nil where they are not too many. `width`: how many best log-probabilities the intervals of a row rest on.
    init?(_ plan: CreditPlan, _ mask: EntropyMask?, _ width: (Int32) throws -> Int32?) throws {
        guard let mask, plan.trainable > 0 else { return nil }
        guard Double(plan.undecided) / Double(plan.trainable) > mask.maxUndecided else { return nil }
        var shares: [Int32?: Share] = [:]
        try plan.facts.space.forEach(plan.kept.indices) { position in
            let row = plan.kept[position].row, key = try width(row)
            shares[key, default: Share()].tokens += Int(plan.facts.rows[Int(row)].trainable)
            shares[key, default: Share()].undecided +=
                plan.undecidedByRow.isEmpty ? 0 : Int(plan.undecidedByRow[position])
        }
        (self.plan, self.mask, self.shares) = (plan, mask, shares)
    }

    private var all: Share { Share(undecided: plan.undecided, tokens: plan.trainable) }

    /// What was undecided, what the middles would choose, and how to have it so.
    var refusal: String {
        let kept = plan.keptTokens.reduce(0) { $0 + Int($1) }, middles = Share(undecided: kept, tokens: plan.trainable)
        // Rounded up to a whole percent, so that it is enough.
        let enough = min(1, (100 * Double(plan.undecided) / Double(plan.trainable) - 1e-9).rounded(.up) / 100)
        return
            "found \(plan.undecided) of \(plan.trainable) tokens (\(all.percent)) whose entropy interval reaches "
            + "over the mask's threshold\(byWidth)"
            + String(format: ", expected at most %.2f %%", 100 * mask.maxUndecided)
            + " (entropy.mask.max_undecided). The intervals' middles would choose: "
            + "\(kept) tokens kept (\(middles.percent))\(thresholds). Accept them with "
            + "--set entropy.mask.max_undecided=\(enough), or dump more log-probabilities per token, or score with "
            + "--checkpoint DIR."
    }

    private var byWidth: String {
        let parts = shares.sorted { ($0.key ?? 0) < ($1.key ?? 0) }.compactMap { width, share in
            width.map {
                "\(share.undecided) of \(share.tokens) with the \($0) best log-probabilities (\(share.percent))"
            }
        }
        return parts.isEmpty ? "" : ": " + parts.joined(separator: ", ")
    }

    private var thresholds: String {
        guard let low = plan.thresholds.min(), let high = plan.thresholds.max() else { return "" }
        return low == high
            ? String(format: ", threshold %.4g", low) : String(format: ", thresholds %.4g to %.4g", low, high)
    }
}
