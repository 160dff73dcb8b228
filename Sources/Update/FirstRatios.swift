import Formats
import Foundation

/// How far the policy is, before anything was learned, from the one that old_logprobs are of: how far the first ratios
/// are from 1.
struct FirstRatios: Sendable {
    private(set) var tokens = 0
    private var absolute = 0.0
    private(set) var largest = 0.0

    mutating func add(_ logprob: Float, old: Float) {
        let difference = abs(Double(logprob) - Double(old))
        tokens += 1
        absolute += difference
        largest = max(largest, difference)
    }

    mutating func add(_ other: FirstRatios) {
        tokens += other.tokens
        absolute += other.absolute
        largest = max(largest, other.largest)
    }

    /// Mean of |log ratio|.
    var meanDifference: Double { absolute / Double(max(1, tokens)) }

    /// Two float32 forward passes differ by some 1e-5 about a token, log-probabilities of 4 decimals by 5e-5.
    var areOff: Bool { meanDifference > 2e-3 || largest > 0.02 }

    /// Temperatures that are tried in turn where old_logprobs don't fit the rollouts' own.
    static let usualTemperatures: [Float] = [1, 0.6, 0.7, 0.8, 0.9, 0.5, 1.2, 0.3, 0.2, 0.4, 1.1, 1.5, 0.1]

    /// Tokens of a response that are looked at, and tokens of all rows together that a trial takes, one row at least:
    /// fourteen trials should cost little beside a step.
    private static let responseTokens = 64, trialTokens = 512

    /// A few short rows of one temperature, to try it with: tokens, masks and log-probabilities as far as they are
    /// looked at. What comes later changes nothing of what comes before.
    static func sample(of rows: [PlanRow]) -> [PlanRow] {
        let trained = rows.filter { $0.lossMask.contains(true) }
        let short = trained.filter { $0.temperature == trained[0].temperature }.map(beginning).sorted {
            $0.tokenIDs.count < $1.tokenIDs.count
        }
        var sample: [PlanRow] = [], tokens = 0
        for row in short where sample.isEmpty || tokens + row.tokenIDs.count <= trialTokens && sample.count < 8 {
            sample.append(row)
            tokens += row.tokenIDs.count
        }
        return sample
    }

    private static func beginning(_ row: PlanRow) -> PlanRow {
        let trainable = row.lossMask.indices.filter { row.lossMask[$0] }.prefix(responseTokens)
        guard let last = trainable.last else { return row }
        var beginning = row
        beginning.tokenIDs = Array(row.tokenIDs[...last])
        beginning.lossMask = Array(row.lossMask[...last])
        beginning.oldLogprobs = Array(row.oldLogprobs[...last])
        return beginning
    }

    /// For machines.
    var summary: [String: Double] {
        ["tokens": Double(tokens), "mean_log_difference": meanDifference, "largest_log_difference": largest]
    }

    /// What the figures may come of.
    enum Cause: Sendable {
        /// They fit this temperature's distribution, at another than the rollouts': the mean difference there.
        case temperature(fits: Float, mean: Double, rollouts: Float)
        /// The update goes on from masters that the sampler's files don't hold.
        case masters(SavedStep)
        case unknown(checkpoint: String)
    }

    func warning(_ cause: Cause) -> String {
        "the first ratios, before anything was learned, are not 1: log-probabilities differ from old_logprobs by "
            + String(
                format: "%.3g on average, at most %.3g (a factor of %.4g). ", meanDifference, largest,
                exp(min(largest, 20)))
            + explanation(cause)
    }

    private func explanation(_ cause: Cause) -> String {
        switch cause {
        case .temperature(let temperature, let mean, let rollouts):
            String(
                format:
                    "They fit temperature %g (there by %.2g on average); the rollouts say they were sampled at %g. ",
                Double(temperature), mean, Double(rollouts))
                + "Where an engine gave its raw log-probabilities, score again with --checkpoint, or have it return "
                + "its sampler's (vLLM: --logprobs-mode processed_logprobs); where the dump names the wrong "
                + "temperature, mend that."
        case .masters(let step):
            "This update goes on from the float32 masters of \(step.path), which its 16-bit files only round: score "
                + "with --checkpoint \(step.folders.directory), the update directory: it computes old_logprobs by them."
        case .unknown(let checkpoint):
            "They are of another policy than \(checkpoint), or of another precision: score with --checkpoint "
                + "\(checkpoint) where that has sampled them; where the rollouts are meant to be older, "
                + "this is their staleness."
        }
    }
}
