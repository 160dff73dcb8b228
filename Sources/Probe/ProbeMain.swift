import ArgumentParser
import Credit
import Foundation
import Objectives
import Recipes
import StageSupport

// Assigns credit, or evaluates a loss, on arrays given as JSON: one request line on stdin, one answer line on stdout.
// It is the window through which conformance holds the rooms below the stages against other codebases; no stage reads
// it.

/// Rows for a plan, or sequences for a loss, under a recipe in YAML.
private struct Request: Decodable {
    struct Row: Decodable {
        var group: String
        var reward: Double
        var correct: Bool?
        var mask: [Bool]
        var entropy: [Float]?
        var columns: [String: [Float]]?
        var greedy: Bool?
        var rewards: [String: Double]?
    }

    struct Sequence: Decodable {
        var outputs: [Float]
        var old: [Float]
        var advantages: [Float]
        var weights: [Float]
        var mask: [Bool]
        var reference: [Float]?
        var klWeights: [Float]?
        var returns: [Float]?
        var values: [Float]?
        var reward: Double?
        var sampler: [Float]?
        var auxiliaryWeights: [Float]?
    }

    var recipe: String
    var rows: [Row]?
    /// Each a unit: one sequence, or a pair.
    var units: [[Sequence]]?
    var seed: UInt64?
}

private struct Answer: Encodable {
    struct Row: Encodable {
        var index: Int
        var advantages: [Double]
        var weights: [Double]
        var klWeights: [Double]
        var mask: [Bool]
        var returns: [Double]?
        var pair: Int?
    }

    var rows: [Row]?
    var loss: Double?
    var gradients: [[[Float]]]?
    var selected: [[Bool]]?
    var error: String?
}

private func plan(_ rows: [Request.Row], _ recipe: Recipe, seed: UInt64) -> Answer {
    let inputs = rows.map { row in
        var input = CreditInput(
            groupID: row.group, reward: row.reward, correct: row.correct, isTruncated: false, mask: row.mask,
            entropy: row.entropy ?? [])
        (input.isGreedy, input.rewards) = (row.greedy ?? false, row.rewards ?? [:])
        for (name, values) in row.columns ?? [:] {
            if let column = TokenColumn(rawValue: name) { input.columns[column] = values }
        }
        if recipe.kl.isInReward, let logprobs = input.columns[.oldLogprobs],
            let reference = input.columns[.referenceLogprobs]
        {
            input.tokenRewards = recipe.kl.rewards(logprobs: logprobs, reference: reference, mask: row.mask)
        }
        return input
    }
    let plan = recipe.credit.assign(inputs, seed: seed)
    if let refusal = plan.refusal { return Answer(error: refusal) }
    let kept = plan.kept.map { credit in
        Answer.Row(
            index: credit.index, advantages: credit.advantages, weights: credit.weights,
            klWeights: credit.unmaskedWeights, mask: credit.entropyMask,
            returns: credit.returns, pair: credit.pair)
    }
    return Answer(rows: kept)
}

private func inputs(_ sequence: Request.Sequence) -> SequenceInputs {
    var inputs = SequenceInputs(
        logprobs: sequence.outputs, oldLogprobs: sequence.old, advantages: sequence.advantages,
        weights: sequence.weights, mask: sequence.mask,
        referenceLogprobs: sequence.reference, klWeights: sequence.klWeights)
    (inputs.returns, inputs.oldValues, inputs.reward) = (sequence.returns, sequence.values, sequence.reward ?? 0)
    (inputs.samplerLogprobs, inputs.auxiliaryWeights) = (sequence.sampler, sequence.auxiliaryWeights)
    return inputs
}

private func loss(_ units: [[Request.Sequence]], _ recipe: Recipe, seed: UInt64) -> Answer {
    var units = units.map { $0.map(inputs) }
    let selected = recipe.objective.selectsTokens ? recipe.objective.selection(units.flatMap { $0 }, seed: seed) : nil
    var next = 0
    for unit in units.indices {
        for member in units[unit].indices {
            units[unit][member].selected = selected?[next]
            next += 1
        }
    }
    var total = 0.0
    let gradients = units.map { unit in
        var gradients = unit.map { [Float](repeating: 0, count: $0.mask.count) }
        total += recipe.loss.evaluate(unit: unit, gradients: &gradients).loss
        return gradients
    }
    return Answer(loss: total, gradients: gradients, selected: selected)
}

private func answer(_ line: String) -> Answer {
    do {
        let request = try JSONDecoder().decode(Request.self, from: Data(line.utf8)),
            recipe = try Recipe.load(yaml: request.recipe, file: "request")
        if let rows = request.rows { return plan(rows, recipe, seed: request.seed ?? 0) }
        return loss(request.units ?? [], recipe, seed: request.seed ?? 0)
    } catch { return Answer(error: "\(error)") }
}

@main
enum ProbeMain {
    static func main() { ProbeCommand.runPlainly() }
}

struct ProbeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-probe",
        abstract: "Rooms below the stages, for conformance: JSON lines on stdin, an answer for each on stdout.",
        version: cruxVersion, subcommands: [CreditProbe.self, TokensProbe.self, ChatsProbe.self],
        defaultSubcommand: CreditProbe.self)
}

struct CreditProbe: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "credit",
        abstract:
            "Assigns credit, or evaluates a loss, on arrays: one JSON request line on stdin, one answer line on stdout."
    )

    func run() throws {
        let encoder = JSONEncoder()
        while let line = readLine() {
            FileHandle.standardOutput.write(try encoder.encode(answer(line)) + Data("\n".utf8))
        }
    }
}
