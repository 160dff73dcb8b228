import Arrow
import Formats
import Foundation
import TestSupport
import Testing

/// Rollouts of several turns that say who wrote each token.
@Suite struct EnvironmentTests {
    private let run: Pipeline

    init() throws { run = try Pipeline() }

    /// prompt, policy, tool, template, user, policy.
    private static let roles: [UInt8] = [0, 0, 1, 1, 2, 2, 5, 3, 1]
    private static let environment = [4, 5]

    /// `trained`: what the mask says of each token by its role.
    private func rollout(_ index: Int, trained: Set<UInt8> = [1], roles: [UInt8]? = Self.roles) -> TinyRollout {
        var rollout = TinyRollout(id: "r-\(index)")
        rollout.removeLogits()
        rollout.frame.tokenIDs = [17, 16, 5, Int32(3 + index), 9, 11, 7, 8, 2]
        rollout.frame.lossMask = Self.roles.map { trained.contains($0) }
        rollout.frame.rolloutLogprobs = nil
        rollout.frame.metadata["reward"] = "\(index)"
        rollout.frame.tokenRoles = roles
        // Another beginning is another prompt.
        if !trained.contains(1) { rollout.frame.metadata["group_id"] = "g-\(index)" }
        return rollout
    }

    private func plan(_ rollouts: [TinyRollout], _ set: [String] = [], to name: String) throws -> Executable.Result {
        try writeShard(rollouts, to: run.folder(name + ".rollouts.zst"))
        try run.ingest([run.folder(name + ".rollouts.zst")], to: name + "-ingest")
        try run.score(["--checkpoint", fixture("policy")], from: name + "-ingest", to: name + "-score")
        return try run.runPlan(
            repository("recipes/grpo-echo.yaml"), to: name, set.flatMap { ["--set", $0] }, scores: name + "-score",
            input: name + "-ingest")
    }

    private func rows(_ name: String) throws -> [PlanRow] {
        try ArrowTableReader(path: run.folder(name) + "/plan.arrow", table: Tables.plan).rows()
    }

    private func loss(_ name: String) throws -> Double {
        try run.update(plan: name, to: name + "-update")
        return try #require(
            ArrowTableReader(path: run.folder(name + "-update") + "/metrics.arrow", table: Tables.metrics).rows().first
        ).loss
    }

    @Test func whatToolsSayIsLearntBesideTheObjective() throws {
        let two = [rollout(0), rollout(1)]
        #expect(try plan(two, to: "with").status == 0)
        for row in try rows("with") {
            // Four chosen tokens in the step.
            #expect(row.auxiliaryWeights == Self.roles.indices.map { Self.environment.contains($0) ? 0.025 : 0 })
        }
        #expect(try plan(two, ["objective.auxiliary=null"], to: "without").status == 0)
        // Their log-probabilities, as of a dump in which they are what is trained on.
        try writeShard(
            [rollout(0, trained: [2], roles: nil), rollout(1, trained: [2], roles: nil)],
            to: run.folder("tools.rollouts.zst"))
        try run.ingest([run.folder("tools.rollouts.zst")], to: "tools-ingest")
        try run.score(["--checkpoint", fixture("policy")], from: "tools-ingest", to: "tools-score")
        let logprobs = try ArrowTableReader(
            path: run.folder("tools-score/scores-00000.arrow"), table: Tables.scores
        ).rows().flatMap { try #require($0.oldLogprobs) }.reduce(0.0) { $0 + Double($1) }
        let difference = try loss("with") - loss("without")
        #expect(isClose(difference, -0.025 * logprobs, absolute: 1e-5), "\(difference) of \(logprobs)")
    }

    @Test func theRolesThatAreChosenDecide() throws {
        let result = try plan(
            [rollout(0), rollout(1)], ["objective.auxiliary.tool=0", "objective.auxiliary.user=0.5"], to: "user")
        #expect(result.status == 0, "\(result.errors)")
        #expect(try rows("user").allSatisfy { $0.auxiliaryWeights?[7] == 0.25 && $0.auxiliaryWeights?[4] == 0 })
        let none = try run.runPlan(
            repository("recipes/grpo-echo.yaml"), to: "none", ["--set", "objective.auxiliary.tool=0"],
            scores: "user-score", input: "user-ingest")
        #expect(none.status == 3 && none.errors.contains("expected one of them above 0"), "\(none.errors)")
    }

    @Test func withoutRolesItIsRefusedNotGuessed() throws {
        let result = try plan([rollout(0, roles: nil), rollout(1)], to: "unknown")
        #expect(result.status == 3)
        #expect(result.errors.contains("found no token_roles"), "\(result.errors)")
        #expect(!FileManager.default.fileExists(atPath: run.folder("unknown/plan.arrow")))
    }

    @Test(
        arguments: [
            ([0, 0, 1, 1, 2, 2, 6, 3, 1], "token_roles 6 at position 6"),
            ([0, 0, 2, 1, 2, 2, 5, 3, 1], "loss_mask 1 on a token of role tool at position 2"),
        ] as [([UInt8], String)])
    func rolesThatCantBeAreRejected(_ roles: [UInt8], _ found: String) throws {
        try writeShard([rollout(0, roles: roles), rollout(1)], to: run.folder("bad.rollouts.zst"))
        try run.ingest([run.folder("bad.rollouts.zst")], to: "ingest")
        let rejected = try ArrowTableReader(path: run.folder("ingest/rejected.arrow"), table: Tables.rejected).rows()
        #expect(rejected.map(\.reason) == ["invalid_value"])
        #expect(rejected.first?.detail.contains(found) == true, "\(rejected)")
    }
}
