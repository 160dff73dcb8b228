import Credit
import Foundation
import Objectives
import Recipes
import TestSupport
import Testing

private let recipes: [String] = [repositoryRoot + "/recipes", fixture("recipes")].flatMap { folder in
    ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted().map { folder + "/" + $0 }
}

@Suite struct RecipeTests {
    @Test(arguments: recipes) func everyRecipeResolvesToAFormThatLoadsToItself(_ path: String) throws {
        let resolved = try Recipe.load(path: path).resolvedJSON()
        #expect(try Recipe.load(json: resolved, file: "resolved").resolvedJSON() == resolved)
    }

    @Test func theRecipesOfTheReadmeAreThere() {
        for name in ["grpo", "dr-grpo", "dapo", "dapo-top20", "grpo-entropy-shaped", "rloo"] { #expect(recipes.contains { $0.hasSuffix("/recipes/\(name).yaml") }) }
    }

    private func problems(_ yaml: String) -> [String] {
        do {
            _ = try Recipe.load(yaml: yaml, file: "r.yaml")
            return []
        } catch let error as RecipeError { return error.problems } catch { return ["\(error)"] }
    }

    @Test func anUnknownKeyNamesTheKnownOnes() {
        let found = problems("objective: {type: ppo_clip, clip_hgih: 0.3}")
        #expect(found == ["unknown key objective.clip_hgih; known: clip_dual, clip_high, clip_low, type"])
        #expect(problems("rewrad: {}").first?.contains("known: name, reward") == true)
        #expect(problems("entropy: {msk: {top: 0.2}}").first?.contains("known: mask, shaping") == true)
    }

    @Test func anUnknownTypeNamesTheKnownOnes() {
        #expect(problems("advantage: {type: grop}").first == "unknown advantage type 'grop'; known: \(AdvantageRegistry.all.map { $0.name }.joined(separator: ", "))")
        #expect(problems("expansion: {type: fr4e}").first == "unknown expansion type 'fr4e'; known: fr3e, s_grpo, vineppo")
        #expect(problems("expansion: {type: fr3e, anchor: 2}").first?.contains("known: anchor_score, anchors, bases") == true)
        #expect(problems("trainable: {type: lora}").first?.contains("known: full") == true)
    }

    @Test func allProblemsAreShownAtOnce() {
        #expect(problems("optimizer: {lr: fast}\nentropy: {shaping: {kappa: 1}}\nobjective: {clip_dual: 0.5}").count == 3)
    }

    @Test func numbersMayBeWrittenWithoutAPoint() throws {
        let recipe = try Recipe.load(yaml: "optimizer: {lr: 1e-3, eps: 1E-8}\nreward: {correct: 1, wrong: -1.0}", file: "r.yaml")
        #expect(recipe.optimizer.lr == 1e-3 && recipe.optimizer.eps == 1e-8)
        #expect(recipe.credit.reward.wrong == -1)
    }

    @Test func leftOutSectionsTakeTheirDefaults() throws {
        let recipe = try Recipe.load(yaml: "name: empty\naggregation: constant\n", file: "r.yaml")
        #expect(recipe.credit.advantage is GroupNormalized && recipe.objective is PPOClip && recipe.credit.aggregation is ConstantDivisor)
        #expect(recipe.credit.mask == nil && recipe.credit.shaping == nil && !recipe.kl.isOn)
    }

    @Test func nullTurnsAnOptionalKeyOff() throws {
        let recipe = try Recipe.load(yaml: "optimizer: {max_grad_norm: null}\nentropy: {mask: null}\n", file: "r.yaml")
        #expect(recipe.optimizer.maxGradNorm == nil && recipe.credit.mask == nil)
    }
}
