import Credit
import Objectives
import Recipes
import StageSupport

/// A model that learns beside the policy from the same rollouts. What it is follows from its recipe's objective.
struct AuxiliaryModel: Sendable {
    enum Role: String, Sendable {
        case critic
        case processReward = "process-reward"
        case qNetwork = "q-network"
    }

    let role: Role
    let path: String
    let overrides: [String]
    let recipe: Recipe

    /// `overrides`: those whose section.key=value the companion's recipe is to take.
    init(path: String, overrides: [String]) throws {
        recipe = try Recipe.load(path: path, overrides: overrides)
        (self.path, self.overrides) = (path, overrides)
        switch (recipe.objective.output, recipe.objective.reference) {
        case (.value, _): role = .critic
        case (.tokenLogit, _): role = .qNetwork
        case (_, .process): role = .processReward
        default:
            throw StageError(
                .usage,
                "--companion \(path): found objective \(type(of: recipe.objective).name), expected one that trains a critic (value), a Q network (etpo_q) or a reward model (prime_ce)"
            )
        }
    }

    /// Folders of an iteration.
    var planName: String { role.rawValue + "-plan" }
    var updateName: String { role.rawValue }

    /// What scoring reads of it after `iteration`: the update, whose masters the next one goes on from; of a Q network
    /// its slow copy.
    func scorer(after iteration: Iteration, start: String) throws -> String {
        try iteration.trained(updateName)?.path(updateName) ?? start
    }

    /// What an update reads that has it beside.
    func auxiliary(after iteration: Iteration, start: String) throws -> String {
        guard let trained = try iteration.trained(updateName) else { return start }
        return role == .qNetwork ? trained.path(updateName + "/target") : try trained.lastStep(of: updateName)
    }

    func checkpoint(after iteration: Iteration, start: String) throws -> String {
        try iteration.trained(updateName)?.lastStep(of: updateName) ?? start
    }
}

/// Which models scoring must run so that every recipe of a loop finds what it reads.
struct ModelNeeds: Sendable {
    let needsPolicy: Bool
    let needsReference: Bool
    /// Whether rollouts must be sampled with their logits, and scored with sums of squared probabilities.
    let needsLogits: Bool
    /// Whether any recipe has a model that stands still beside its own, in scoring or in its update.
    let readsReference: Bool
    /// Whether a teacher has a say about sampled tokens.
    let needsTeacher: Bool
    /// Whether anything reads a model that stands still in scoring besides a teacher.
    private let needsReferenceBesides: Bool
    private let needsSumPSquared: Bool
    private let roles: Set<AuxiliaryModel.Role>

    init(_ recipes: [Recipe]) {
        let columns = recipes.reduce(into: Set<TokenColumn>()) { $0.formUnion($1.credit.columns) }
        let whole = !columns.isDisjoint(with: [.referenceKL, .expectedQ])
        needsPolicy = whole || recipes.contains { $0.credit.correction.isOn }
        needsSumPSquared = columns.contains(.sumPSquared)
        needsLogits = needsSumPSquared || columns.contains(.entropy)
        needsTeacher = columns.contains(.teacherLogprobs)
        needsReferenceBesides =
            whole || columns.contains(.referenceLogprobs)
            || recipes.contains { $0.kl.isOn || $0.objective.reference == .policy }
        needsReference = needsReferenceBesides || needsTeacher
        readsReference =
            needsReference || recipes.contains { $0.objective.distillation != nil || $0.objective.boltzmann != nil }
        var roles = Set<AuxiliaryModel.Role>()
        if columns.contains(.values) { roles.insert(.critic) }
        if columns.contains(.processRewards) || recipes.contains(where: { $0.objective.reference == .process }) {
            roles.insert(.processReward)
        }
        if columns.contains(.expectedQ) { roles.insert(.qNetwork) }
        self.roles = roles
    }

    /// Roles that nobody fills, with the recipe that would.
    func missing(_ auxiliaries: [AuxiliaryModel]) -> [String] {
        let examples: [AuxiliaryModel.Role: String] = [
            .critic: "recipes/ppo-critic.yaml", .processReward: "recipes/prime-reward-model.yaml",
            .qNetwork: "recipes/etpo-q.yaml",
        ]
        return roles.subtracting(auxiliaries.map(\.role)).compactMap { examples[$0] }.sorted()
    }

    /// Flags of crux-score. `reference` is frozen; auxiliaries set out from `start`. `trainer`: the policy that the
    /// update will start with, where it is not the one that sampled. `privileged`: the policy itself is the teacher, and
    /// is told so much more.
    func flags(
        policy: String, trainer: String?, privileged: String? = nil, start: String, reference: String,
        auxiliaries: [AuxiliaryModel],
        before: Iteration
    ) throws -> [String] {
        var flags = (trainer ?? (needsPolicy ? policy : nil)).map { ["--checkpoint", $0] } ?? []
        if privileged == nil ? needsReference : needsReferenceBesides { flags += ["--reference", reference] }
        if let privileged { flags += ["--teacher", trainer ?? policy, "--privileged", privileged] }
        for auxiliary in auxiliaries where roles.contains(auxiliary.role) {
            flags += ["--" + auxiliary.role.rawValue, try auxiliary.scorer(after: before, start: start)]
        }
        if needsSumPSquared { flags.append("--sum-p-squared") }
        return flags + (roles.contains(.processReward) ? ["--process-reference", start] : [])
    }
}
