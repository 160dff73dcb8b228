import Files
import Formats
import Objectives
import Recipes
import StageSupport

/// Tinker's datums, JSON lines, a file for each optimizer step: one forward_backward and one optim_step. Everything is
/// shifted: the model reads all tokens but the last, and entry i is of the token that it then predicts. Its losses are
/// sums over tokens, so the plan's weights are within the advantages, or the weights of cross_entropy.
struct TinkerExport: PlanExport {
    static let name = "tinker"
    static let source = "Tinker's Datum and loss functions (tinker 0.38)"

    let settings: [String: any Sendable]
    private let isLikelihood: Bool

    init(_ recipe: Recipe) throws(ExportRefusal) {
        try recipe.requirePlainTokens("Tinker")
        try recipe.requireKL([], "Tinker")
        isLikelihood = recipe.objective is NLL
        settings = try Self.loss(recipe.objective)
    }

    /// Its names and the bounds that it takes, of the ratio itself.
    private static func loss(_ objective: any Objective) throws(ExportRefusal) -> [String: any Sendable] {
        func bounds(_ low: Double, _ high: Double) -> [String: Double] {
            ["clip_low_threshold": 1 - low, "clip_high_threshold": 1 + high]
        }
        switch objective {
        case let loss as PPOClip where loss.clipDual == nil:
            return ["loss_fn": "ppo", "loss_fn_config": bounds(loss.clipLow, loss.clipHigh)]
        case is PPOClip:
            throw ExportRefusal(found: "ppo_clip with clip_dual", expected: "null, because Tinker's loss has none")
        case let loss as CISPO:
            return ["loss_fn": "cispo", "loss_fn_config": bounds(loss.clipLow, loss.clipHigh)]
        case is NLL:
            return ["loss_fn": "cross_entropy", "loss_fn_config": [:] as [String: Double]]
        default:
            throw ExportRefusal(
                found: "objective \(type(of: objective).name)",
                expected: "ppo_clip, cispo or nll, or --format torch")
        }
    }

    func write(_ plan: ExportedPlan, to directory: StageDirectory) throws -> [Manifest.File] {
        try plan.requirePlainSampling(1, for: "Tinker")
        return try plan.steps.map { step in
            let name = StepFolders.name(Int(step.number)) + ".jsonl"
            try directory.note([name])
            let file = try AtomicFile(directory.file(name), digests: true)
            for row in try plan.rows(of: step) { try file.write(datum(row) + "\n") }
            return Manifest.File(name, try file.finish(rows: step.rows.count))
        }
    }

    private func datum(_ row: PlanRow) -> String {
        let weighed = row.advantages.indices.map {
            row.lossMask[$0] ? Float(Double(row.advantages[$0]) * Double(row.tokenWeights[$0])) : 0
        }
        let inputs =
            isLikelihood
            ? ["\"target_tokens\":" + integers(row.tokenIDs), "\"weights\":" + floats(weighed)]
            : [
                "\"target_tokens\":" + integers(row.tokenIDs), "\"logprobs\":" + floats(row.oldLogprobs),
                "\"advantages\":" + floats(weighed),
            ]
        let tokens = row.tokenIDs.dropLast().map { "\($0)" }.joined(separator: ",")
        return #"{"model_input":{"chunks":[{"type":"encoded_text","tokens":["# + tokens
            + #"]}]},"loss_fn_inputs":{"# + inputs.joined(separator: ",") + "}}"
    }

    /// From the second token on, the first that is predicted.
    private func integers(_ values: [Int32]) -> String { tensor(values.dropFirst().map { "\($0)" }, "int64") }
    private func floats(_ values: [Float]) -> String { tensor(values.dropFirst().map { "\($0)" }, "float32") }

    private func tensor(_ values: [String], _ dtype: String) -> String {
        #"{"data":["# + values.joined(separator: ",") + #"],"dtype":"\#(dtype)","shape":[\#(values.count)]}"#
    }
}
