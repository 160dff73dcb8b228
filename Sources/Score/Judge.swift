import ArgumentParser
import Formats
import Rewards
import StageSupport

/// What becomes of a row whose external judge gave no verdict.
enum RewardFailure: String, ExpressibleByArgument, CaseIterable, Sendable { case null, zero, fail }

/// Rewards of rows: by a function of ours, by an external command, or by the command where the function is undecided.
struct Judge: Sendable {
    private let function: (any RewardFunction)?
    private let external: ExternalReward?
    private let onFailure: RewardFailure
    private let workers: Int

    init(_ command: ScoreCommand, log: String, _ context: StageContext) throws {
        let name = command.reward ?? (command.rewardCommand == nil ? AutomaticReward.name : nil)
        function = name.flatMap(RewardRegistry.named)
        workers = command.rewardWorkers ?? context.threads
        external = command.rewardCommand.map {
            ExternalReward(ExternalReward.Settings(command: $0, workers: command.rewardWorkers ?? context.threads, seconds: command.rewardTimeout, log: log))
        }
        onFailure = command.onRewardFailure
    }

    func close() { external?.close() }

    /// One outcome per row, in order.
    func judge(_ rows: [RolloutRow]) throws -> [RewardOutcome] {
        let inputs = rows.map(Self.input)
        guard let external else { return inputs.map { function?.judge($0) ?? .open("no_reward") } }
        var outcomes = inputs.map { function?.judge($0) }
        let open = outcomes.indices.filter { outcomes[$0].map { $0.verdict == "undecided" } ?? true }
        try parallelInOrder(open.count, threads: workers) { index in
            try ask(external, inputs[open[index]], rows[open[index]])
        } consume: { index, outcome in
            outcomes[open[index]] = outcome
        }
        return outcomes.compactMap { $0 }
    }

    private func ask(_ external: ExternalReward, _ input: RewardInput, _ row: RolloutRow) throws -> RewardOutcome {
        var outcome: RewardOutcome
        do { outcome = try external.judge(input) } catch let error as ExternalReward.NeverAnswers { throw StageError(.invalidInput, error.description) }
        guard outcome.verdict.hasPrefix("reward_") else { return outcome }
        switch onFailure {
        case .null: break
        case .zero: (outcome.reward, outcome.correct) = (0, false)
        case .fail:
            throw StageError(.invalidInput, "rollout '\(row.rolloutID)': found \(outcome.verdict) \(outcome.extracted), expected a score from the reward command")
        }
        return outcome
    }

    private static func input(_ row: RolloutRow) -> RewardInput {
        var input = RewardInput(completion: row.completion, referenceAnswer: row.referenceAnswer, dataSource: row.dataSource, givenReward: row.givenReward)
        (input.prompt, input.extras) = (row.prompt, row.extras)
        return input
    }
}
