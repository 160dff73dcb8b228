import Credit
import Files
import Formats
import Foundation
import Recipes
import RunViews

/// What came of going back into rollouts: bases with the states that were made of them, and what was sampled there.
struct PageExpansion: Encodable {
    /// A continuation from a state.
    struct Continuation: Encodable {
        let rollout: String
        let tokens: PackedNumbers
        let judgement: Judgement
        let verdict: String
        /// As the plan shapes it, where it is known; else the scores' own.
        let reward: Double?
        /// By the plan, of its first token; null where it isn't kept.
        let advantage: Float?
        let dropped: String?
    }

    struct State: Encodable {
        /// Index in the base's tokens of the first one that was sampled anew.
        let position: Int
        let anchorEntropy: Float?
        let injected: [Int32]
        let value: Double?
        /// V - V of the state before it, as far as both are known.
        let change: Double?
        let factor: Double?
        let jobs: Int
        let continuations: [Continuation]
    }

    struct Base: Encodable {
        let rollout: String
        let group: String
        let prompt: String
        let judgement: Judgement
        let reward: Double?
        let tokens: PackedNumbers
        let mask: PackedNumbers
        let entropy: PackedNumbers?
        let states: [State]
    }

    /// The method, as recipes name it.
    let method: String
    let bases: [Base]
    let allBases: Int
    let jobs: Int
    let results: Int

    /// Tokens that occur in it.
    private(set) var tokens: Set<Int32> = []

    private enum CodingKeys: String, CodingKey { case method, bases, allBases, jobs, results }

    /// The first bases, in the plan's order, as many as the limits allow.
    init(_ run: RunView, _ directory: JobDirectory, _ limits: PageLimits) throws {
        let index = try JobIndex(directory), recipe = try ExpansionRecipe.find(run, directory)
        let shown = min(limits.bases, index.baseCount)
        let found = try ExpansionResults(run, index, bases: shown, sharesPrefixes: recipe.expansion.sharesPrefixes)
        var tokens: Set<Int32> = [], left = limits.tokens, bases: [Base] = []
        for number in 0..<shown {
            guard left > 0 else { break }
            let reader = ExpansionReader(run: run, index: index, recipe: recipe, results: found)
            let (base, occurring) = try reader.base(number)
            bases.append(base)
            tokens.formUnion(occurring.distinct)
            left -= occurring.count
        }
        (method, self.bases, self.tokens) = (type(of: recipe.expansion).name, bases, tokens)
        (allBases, jobs, results) = (index.baseCount, index.jobs.count, found.count)
    }
}

/// How a plan makes something of an expansion: its recipe.
struct ExpansionRecipe {
    let credit: CreditRecipe
    let expansion: any Expansion

    /// Of the run's plan, if it has an expansion; else of the plan that the jobs lie in; else plain means of rewards.
    static func find(_ run: RunView, _ jobs: JobDirectory) throws -> ExpansionRecipe {
        let folder = URL(fileURLWithPath: jobs.path).standardizedFileURL.deletingLastPathComponent().path
        let beside = folder + "/" + PlanView.recipeName
        let texts =
            run.plans.prefix(1).map { ($0.directory + "/" + PlanView.recipeName, $0.recipe) }
            + (try readFile(beside).map { [(beside, String(decoding: $0, as: UTF8.self))] } ?? [])
        for (file, text) in texts {
            let credit = try Recipe.load(json: text, file: file).credit
            if let expansion = credit.expansion { return ExpansionRecipe(credit: credit, expansion: expansion) }
        }
        return ExpansionRecipe(credit: CreditRecipe(), expansion: FR3E())
    }
}

/// Rows of a run that are results of the first bases' jobs.
private struct ExpansionResults {
    /// Results of all jobs.
    private(set) var count = 0
    private var rowsByState: [Int: [Int]] = [:]
    private let index: JobIndex
    private let sharesPrefixes: Bool

    init(_ run: RunView, _ index: JobIndex, bases: Int, sharesPrefixes: Bool) throws {
        (self.index, self.sharesPrefixes) = (index, sharesPrefixes)
        var wanted: Set<Int> = []
        for job in 0..<index.jobs.count where Int(index.jobs[job].base) < bases { wanted.insert(key(ofJob: job)) }
        let ids = run.rows.reading(rollouts: ["rollout_id", "job_id"], scores: ["rollout_id"])
        for row in 0..<ids.count {
            guard let job = try ids.row(row).rollout.jobID.flatMap({ index.number(ofJobID: $0) }) else { continue }
            count += 1
            if wanted.contains(key(ofJob: job)) { rowsByState[key(ofJob: job), default: []].append(row) }
        }
    }

    /// Rows of a base's state, in the dump's order. Bases with the same prefix may share its continuations.
    func rows(ofBase base: Int, state: Int) -> [Int] {
        guard let job = index.firstJob(base: base, state: state) else { return [] }
        return rowsByState[key(ofJob: job)] ?? []
    }

    private func key(ofJob job: Int) -> Int {
        sharesPrefixes ? Int(index.jobs[job].prefix) : Int(index.state(of: job))
    }
}

/// Bases with what came back from their states.
private struct ExpansionReader {
    let run: RunView
    let index: JobIndex
    let recipe: ExpansionRecipe
    let results: ExpansionResults

    /// A continuation, and its outcome where it can be judged.
    private struct Judged {
        let view: RolloutView
        let outcome: Outcome?
        let reward: Double?
    }

    func base(_ number: Int) throws -> (PageExpansion.Base, tokens: (count: Int, distinct: Set<Int32>)) {
        let base = try index.base(number), start = base.rollout.lossMask.firstIndex(of: true) ?? 0
        let judged = try base.statePositions.indices.map { state in
            try results.rows(ofBase: number, state: state).map { row in try judge(try run.rollout(row), from: start) }
        }
        let states = try base.statePositions.enumerated().map { state, position in
            let job = try index.firstJob(base: number, state: state).map { try index.job($0) }
            return ExpansionState(
                position: Int(position), injected: job?.injectedTokenIDs ?? [], anchorEntropy: job?.anchorEntropy)
        }
        let credit = recipe.expansion.credit(
            ExpandedBase(
                base: baseRollout(base), row: -1, states: states,
                outcomes: judged.map { $0.compactMap(\.outcome) }))
        let shown = states.indices.map { state in
            self.state(states[state], credit, state, judged[state], jobs: jobCount(ofBase: number, state))
        }
        let views = judged.joined().map(\.view.rollout.tokenIDs) + [base.rollout.tokenIDs]
        return (page(base, shown), (views.reduce(0) { $0 + $1.count }, Set(views.joined())))
    }

    private func jobCount(ofBase base: Int, _ state: Int) -> Int {
        guard let first = index.firstJob(base: base, state: state) else { return 0 }
        let number = index.state(of: first)
        return (first..<index.jobs.count).prefix { index.state(of: $0) == number }.count
    }

    private func page(_ base: BaseRow, _ states: [PageExpansion.State]) -> PageExpansion.Base {
        PageExpansion.Base(
            rollout: base.rollout.rolloutID, group: base.rollout.groupID,
            prompt: TokenText.visible(base.rollout.prompt), judgement: Judgement(base.correct),
            reward: base.reward.map(Double.init), tokens: PackedNumbers(base.rollout.tokenIDs),
            mask: PackedNumbers(base.rollout.lossMask), entropy: base.entropy.map { PackedNumbers($0) },
            states: states)
    }

    private func baseRollout(_ row: BaseRow) -> BaseRollout {
        var base = BaseRollout()
        (base.id, base.groupID) = (row.rollout.rolloutID, row.rollout.groupID)
        (base.tokenIDs, base.mask) = (row.rollout.tokenIDs, row.rollout.lossMask)
        (base.entropy, base.logprobs) = (row.entropy ?? [], row.oldLogprobs ?? [])
        base.correct = row.correct
        base.isTruncated = FinishReason.isTruncated(row.rollout.finishReason)
        base.thoughtEnd = row.thoughtEnd >= 0 ? Int(row.thoughtEnd) : nil
        base.reward = recipe.credit.shapedReward(
            score: Double(row.reward ?? 0), isCorrect: row.correct, length: base.mask.count { $0 })
        return base
    }

    /// `start`: where the base's response begins, from which a length penalty counts.
    private func judge(_ view: RolloutView, from start: Int) throws -> Judged {
        guard let score = view.score.reward, !isUnusable(view) else {
            return Judged(view: view, outcome: nil, reward: nil)
        }
        let isCutOff =
            recipe.expansion.judgesTruncatedWrong && FinishReason.isTruncated(view.rollout.finishReason)
        let correct = isCutOff ? false : view.score.correct
        let shaped = recipe.credit.shapedReward(
            score: isCutOff ? 0 : Double(score), isCorrect: correct, length: view.rollout.tokenIDs.count - start)
        return Judged(
            view: view,
            outcome: Outcome(row: view.number, reward: shaped, correct: correct, mask: view.rollout.lossMask),
            reward: shaped)
    }

    /// Left out for what it is itself, and not for what the other continuations of its state are.
    private func isUnusable(_ view: RolloutView) -> Bool {
        if Verdict(rawValue: view.score.verdict)?.isUnusable == true { return true }
        let ofState: [DropReason] = [.degenerateState, .valuesOnly, .missingValue]
        guard let reason = view.entries.first?.dropReason else { return false }
        return !ofState.contains { $0.name == reason }
    }

    private func state(
        _ state: ExpansionState, _ credit: ExpansionCredit, _ number: Int, _ judged: [Judged], jobs: Int
    ) -> PageExpansion.State {
        let value = number < credit.values.count ? credit.values[number] : nil
        let before = number > 0 && number <= credit.values.count ? credit.values[number - 1] : nil
        return PageExpansion.State(
            position: state.position, anchorEntropy: state.anchorEntropy, injected: state.injected, value: value,
            change: value.flatMap { value in before.map { value - $0 } },
            factor: number < credit.factors.count ? credit.factors[number] : nil, jobs: jobs,
            continuations: judged.map { continuation($0, from: state.position) })
    }

    private func continuation(_ judged: Judged, from position: Int) -> PageExpansion.Continuation {
        let view = judged.view, plan = view.entries.first?.rows.first
        let first = view.rollout.lossMask.firstIndex(of: true)
        return PageExpansion.Continuation(
            rollout: view.rollout.rolloutID, tokens: PackedNumbers(Array(view.rollout.tokenIDs.dropFirst(position))),
            judgement: Judgement(view.score.correct), verdict: view.score.verdict,
            reward: judged.reward ?? view.score.reward.map(Double.init),
            advantage: first.flatMap { first in plan.map { $0.advantages[first] } },
            dropped: view.entries.first?.dropReason)
    }
}
