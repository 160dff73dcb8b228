import Arrow
import Files
import Formats
import Foundation
import Objectives
import Recipes
import StageSupport

/// A plan in the shape in which another trainer takes a batch, so that its loss is the plan's. A newcomer: one file, one
/// line in the registry; the tests over it cover it.
protocol PlanExport: Sendable {
    /// What `--format` calls it.
    static var name: String { get }
    /// What reads it, and where its shape is written down.
    static var source: String { get }
    /// Throws what of the recipe its trainer has no word for.
    init(_ recipe: Recipe) throws(ExportRefusal)
    /// What the trainer must be told for its loss to be the plan's, by its own names.
    var settings: [String: any Sendable] { get }
    /// Writes the rows and returns the files' names.
    func write(_ plan: ExportedPlan, to directory: StageDirectory) throws -> [Manifest.File]
}

enum ExportRegistry {
    /// Sorted by name.
    static let all: [any PlanExport.Type] = [
        NeMoRLExport.self,
        TinkerExport.self,
        TorchExport.self,
        TRLExport.self,
        VerlExport.self,
    ]

    static var names: [String] { all.map { $0.name } }
    static func named(_ name: String) -> (any PlanExport.Type)? { all.first { $0.name == name } }
}

/// What a trainer can't be told, and what it can.
struct ExportRefusal: Error {
    let found: String
    let expected: String
}

/// The rows of a plan, and what of its steps a row must know.
struct ExportedPlan: Sendable {
    let path: String
    /// Trainable tokens of each step, and its rows' numbers in the file, in order.
    let steps: [Step]
    let rowCount: Int
    /// The one temperature of all rows; nil where they have several.
    let temperature: Float?
    /// The first rollout that says which tokens could be drawn.
    private let sampledFromPart: String?
    private let reader: ArrowTableReader<PlanRow>

    struct Step: Equatable, Sendable {
        var number: Int32
        var tokens = 0
        var rows: [Int] = []
    }

    /// Reads and checks every row once.
    init(path: String) throws {
        let reader = try ArrowTableReader(path: path, table: Tables.plan)
        var steps: [Int32: Step] = [:], count = 0, temperatures: Set<Float> = [], part: String?
        try reader.forEachRow { row in
            try Self.requireNoRoutes(row, path)
            if part == nil, row.support != nil { part = row.rolloutID }
            steps[row.step, default: Step(number: row.step)].rows.append(count)
            steps[row.step]?.tokens += row.lossMask.count { $0 }
            temperatures.insert(row.temperature)
            count += 1
        }
        (self.path, self.reader, rowCount) = (path, reader, count)
        self.steps = steps.values.sorted { $0.number < $1.number }
        temperature = temperatures.count == 1 ? temperatures.first : nil
        sampledFromPart = part
    }

    /// Whoever trains elsewhere lets routers choose: other losses than the plan's, and nothing would say so.
    private static func requireNoRoutes(_ row: PlanRow, _ path: String) throws {
        guard row.routedExperts != nil else { return }
        throw StageError(
            .invalidInput,
            "\(path): rollout '\(row.rolloutID)': found routed experts, expected none: no format hands them over. Score "
                + "with --ignore-routed-experts and plan again.")
    }

    func rows(of step: Step) throws -> [PlanRow] { try reader.rows(at: step.rows) }

    /// Row by row with the trainable tokens of its step, steps one behind the other.
    func forEachRow(_ body: (PlanRow, _ tokensOfStep: Int) throws -> Void) throws {
        for step in steps { for row in try rows(of: step) { try body(row, step.tokens) } }
    }

    /// Throws where rows were sampled from a part of the vocabulary, at several temperatures, or at another than the
    /// only one that there is.
    func requirePlainSampling(_ wanted: Float? = nil, for trainer: String) throws {
        if let sampledFromPart {
            throw StageError(
                .invalidInput,
                "\(path): rollout '\(sampledFromPart)': found a set of tokens that could be drawn, expected none: "
                    + "\(trainer)'s softmax goes over the whole vocabulary. Export with --format torch, or score with "
                    + "--ignore-support and plan again.")
        }
        if let temperature, wanted == nil || wanted == temperature { return }
        throw StageError(
            .invalidInput,
            "\(path): found \(temperature.map { "rows of temperature \($0)" } ?? "rows of several temperatures"), "
                + "expected \(wanted.map { "\($0)" } ?? "one"), by which \(trainer) divides all logits. Export with --format torch."
        )
    }

    /// Throws where a trainer that takes the mean over tokens would weigh the KL term otherwise than the plan does.
    func requireUniformKL(for trainer: String) throws {
        try forEachRow { row, tokens in
            guard let weights = row.klWeights else { return }
            let uniform = 1 / Float(tokens)
            guard
                let bad = weights.indices.first(where: {
                    row.lossMask[$0] && abs(weights[$0] - uniform) > 1e-6 * uniform
                })
            else { return }
            throw StageError(
                .invalidInput,
                "\(path): rollout '\(row.rolloutID)': found a KL weight of \(weights[bad]) at position \(bad), expected \(uniform), "
                    + "one share of the step's tokens, as \(trainer) weighs its KL term. Plan with aggregation token_mean, or export with --format torch."
            )
        }
    }
}

/// A row as trainers of batches take it: the prompt apart from what was sampled.
struct ExportedRow: Sendable {
    var rolloutID = ""
    var groupID = ""
    var step: Int32 = 0
    var reward: Float = 0
    /// Tokens before the first one to train on, and the others.
    var prompt: [Int32] = []
    var response: [Int32] = []
    /// Of the response's tokens, as all the lists below.
    var mask: [Bool] = []
    var advantages: [Float] = []
    var weights: [Float] = []
    var oldLogprobs: [Float] = []
    var referenceLogprobs: [Float]?
    /// Trainable tokens of its step.
    var tokensOfStep: Int32 = 0

    init() {}

    init(_ row: PlanRow, tokensOfStep: Int) {
        let start = row.lossMask.firstIndex(of: true) ?? row.lossMask.count
        func tail<Value>(_ values: [Value]) -> [Value] { Array(values[start...]) }
        (rolloutID, groupID, step, reward) = (row.rolloutID, row.groupID, row.step, row.reward)
        (prompt, response, mask) = (Array(row.tokenIDs[..<start]), tail(row.tokenIDs), tail(row.lossMask))
        (advantages, weights, oldLogprobs) = (tail(row.advantages), tail(row.tokenWeights), tail(row.oldLogprobs))
        referenceLogprobs = row.referenceLogprobs.map(tail)
        self.tokensOfStep = Int32(tokensOfStep)
    }

    /// Advantages with the tokens' weights in them, for trainers whose loss is a mean over the step's tokens and is as
    /// large in proportion as the advantage is.
    var weighedAdvantages: [Float] {
        zip(advantages, weights).map { Float(Double($0) * Double($1) * Double(tokensOfStep)) }
    }
}

extension PlanExport {
    /// One table of all rows.
    func writeTable(
        _ table: Table<ExportedRow>, _ plan: ExportedPlan, to directory: StageDirectory,
        _ change: (inout ExportedRow) -> Void = { _ in }
    ) throws -> [Manifest.File] {
        let name = "data.arrow"
        var writer = try ArrowTableWriter(
            path: directory.file(name), table: table, metadata: directory.tableMetadata())
        try plan.forEachRow { row, tokens in
            var row = ExportedRow(row, tokensOfStep: tokens)
            change(&row)
            try writer.append(row)
        }
        return [Manifest.File(name, try writer.finish())]
    }
}

extension Table where Row == ExportedRow {
    /// A table for a trainer, and what all of them have.
    static func export(_ documentation: String, _ columns: [Column<ExportedRow>]) -> Table {
        Table(
            name: "export", documentation: documentation,
            columns: [
                .utf8("rollout_id", \.rolloutID, "name of the rollout"),
                .utf8("group_id", \.groupID, "name of its group"),
                .int32("step", \.step, "number of the optimizer step, from 0, that the row belongs to"),
                .float32("reward", \.reward, "the rollout's reward, shaped as the recipe asks"),
            ] + columns,
            make: { ExportedRow() }, weight: { $0.prompt.count + 4 * $0.response.count },
            writer: "crux-plan export")
    }
}

extension Recipe {
    /// Throws what no trainer but crux-update and its like in PyTorch can be told.
    func requirePlainTokens(_ trainer: String) throws(ExportRefusal) {
        let name = type(of: objective).name
        if objective.readsPairs || objective.isPerSequence || objective.output != .logprob {
            throw ExportRefusal(found: "objective \(name)", expected: "a loss of tokens' log-probabilities")
        }
        let terms = [
            ("entropy.bonus", loss.bonus != nil), ("objective.auxiliary", loss.auxiliary != nil),
            ("objective.drop_stale", loss.staleRows != nil),
        ]
        if let (term, _) = terms.first(where: \.1) {
            throw ExportRefusal(
                found: term, expected: "none: a plan's weights for it have no place in \(trainer)'s batch")
        }
        if credit.teacher?.policy == .current {
            throw ExportRefusal(
                found: "advantage.teacher.policy current, held against the policy as it stands at each step",
                expected: "plan: \(trainer) takes a plan's advantages as they are")
        }
        if credit.mask?.policy == .current {
            throw ExportRefusal(
                found: "entropy.mask.policy current, made anew from the policy at each step",
                expected: "plan: \(trainer) has no such mask")
        }
    }

    /// Throws where the recipe has a KL term in the loss, or one that the trainer doesn't have.
    func requireKL(_ estimators: [String], _ trainer: String) throws(ExportRefusal) {
        guard kl.isInLoss, !estimators.contains(kl.estimator.type.name) else { return }
        throw ExportRefusal(
            found: "a KL term by \(kl.estimator.type.name) in the loss",
            expected: estimators.isEmpty
                ? "none: \(trainer) has no KL term of its own weights"
                : "one by \(estimators.joined(separator: " or ")), or none")
    }
}
