import ArgumentParser
import Formats
import Rewards
import StageSupport

/// What becomes of a row whose external judge gave no verdict.
enum RewardFailure: String, ExpressibleByArgument, CaseIterable, Sendable { case null, zero, fail }

/// Rewards of rows: by a function of ours, by an external command, or by the command where the function is undecided.
struct Judge: Sendable {
    private let function: TimeLimitedReward?
    private let external: ExternalReward?
    /// Judges of further rewards, by their names.
    private let others: [(name: String, reward: ExternalReward)]
    private let onFailure: RewardFailure
    private let workers: Int

    init(_ command: ScoreCommand, log: String, _ context: StageContext) throws {
        let name = command.reward ?? (command.rewardCommand == nil ? AutomaticReward.name : nil)
        function = name.flatMap(RewardRegistry.named).map { TimeLimitedReward($0, seconds: command.rewardTimeout) }
        workers = command.rewardWorkers ?? context.threads
        func program(_ text: String) -> ExternalReward {
            ExternalReward(
                ExternalReward.Settings(
                    command: text, workers: command.rewardWorkers ?? context.threads, seconds: command.rewardTimeout,
                    log: log,
                    check: { try context.checkInterruption() }))
        }
        external = command.rewardCommand.map(program)
        others = try command.judges.map { ($0.name, program($0.command)) }
        onFailure = command.onRewardFailure
    }

    func close() {
        external?.close()
        others.forEach { $0.reward.close() }
    }

    /// One outcome per row, in order.
    func judge(_ rows: [RolloutRow]) throws -> [RewardOutcome] {
        let inputs = rows.map(Self.input)
        var outcomes = try judge(inputs, rows)
        for (name, reward) in others {
            for (index, outcome) in try answers(reward, inputs, rows).enumerated() {
                outcomes[index].rewards[name] = outcome.reward.map { Double($0) }
            }
        }
        return outcomes
    }

    private func judge(_ inputs: [RewardInput], _ rows: [RolloutRow]) throws -> [RewardOutcome] {
        guard var outcomes = try function?.judge(inputs).enumerated().map({ try checked($1, rows[$0]) }) else {
            return try external(inputs, rows)
        }
        guard external != nil else { return outcomes }
        let open = outcomes.indices.filter { outcomes[$0].verdict == .undecided }
        for (index, outcome) in zip(open, try external(open.map { inputs[$0] }, open.map { rows[$0] })) {
            outcomes[index] = outcome
        }
        return outcomes
    }

    private func external(_ inputs: [RewardInput], _ rows: [RolloutRow]) throws -> [RewardOutcome] {
        guard let external else { return inputs.map { _ in .open(.noReward) } }
        return try answers(external, inputs, rows)
    }

    private func answers(_ external: ExternalReward, _ inputs: [RewardInput], _ rows: [RolloutRow]) throws
        -> [RewardOutcome]
    {
        var outcomes: [RewardOutcome] = []
        try parallelInOrder(inputs.count, threads: workers) {
            try ask(external, inputs[$0], rows[$0])
        } consume: {
            outcomes.append($1)
        }
        return outcomes
    }

    private func ask(_ external: ExternalReward, _ input: RewardInput, _ row: RolloutRow) throws -> RewardOutcome {
        do { return try checked(try external.judge(input), row) } catch let error as ExternalReward.NeverAnswers {
            throw StageError(.invalidInput, error.description)
        }
    }

    /// What a row is worth whose judge failed.
    private func checked(_ outcome: RewardOutcome, _ row: RolloutRow) throws -> RewardOutcome {
        guard outcome.verdict.isRewardFailure else { return outcome }
        var outcome = outcome
        switch onFailure {
        case .null: break
        case .zero: (outcome.reward, outcome.correct) = (0, false)
        case .fail:
            throw StageError(
                .invalidInput,
                "rollout '\(row.rolloutID)': found \(outcome.verdict) \(outcome.extracted), expected a score")
        }
        return outcome
    }

    private static func input(_ row: RolloutRow) -> RewardInput {
        var input = RewardInput(
            completion: row.completion, referenceAnswer: row.referenceAnswer, dataSource: row.dataSource,
            givenReward: row.givenReward)
        (input.prompt, input.extras) = (row.prompt, row.extras)
        return input
    }
}
