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
        #expect(problems("expansion: {type: fr3e, anchor_score: tokens}") == ["expansion.anchor_score is 'tokens': expected blank_lines, entropy, surprisal"])
        #expect(problems("expansion: {type: vineppo, segmentation: words}") == ["expansion.segmentation is 'words': expected lines, math"])
        #expect(problems("expansion: {type: fr3e, anchor: 2}").first?.contains("known: anchor_score, anchors, bases") == true)
        #expect(problems("trainable: {type: dora}").first?.contains("known: full, lora") == true)
        #expect(problems("trainable: {type: lora, targets: [q_proj, w_proj]}").first?.contains("known: q_proj") == true)
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

    @Test func aPresetChangesDefaultsOnly() throws {
        let verl = try Recipe.load(yaml: "preset: verl\nreward: {overlong: {max_length: 10, cache_length: 4}}", file: "r.yaml")
        #expect((verl.credit.advantage as? GroupNormalized)?.groupOfOne == .raw && (verl.objective as? PPOClip)?.clipDual == 3)
        #expect(verl.credit.reward.overlong?.floor == false)
        let own = try Recipe.load(yaml: "preset: verl\nobjective: {type: ppo_clip, clip_dual: 10}\nadvantage: rloo", file: "r.yaml")
        #expect((own.objective as? PPOClip)?.clipDual == 10 && (own.credit.advantage as? LeaveOneOut)?.groupOfOne == .raw)
        let trl = try Recipe.load(yaml: "preset: trl\nentropy: {mask: {top: 0.3}}", file: "r.yaml")
        #expect((trl.credit.advantage as? GroupNormalized)?.epsilon == 1e-4 && trl.credit.mask?.normalizer == .all && !trl.kl.bounded)
        // Where there is no mask, no preset makes one; an expansion has advantages of its own.
        #expect(try Recipe.load(yaml: "preset: trl", file: "r.yaml").credit.mask == nil)
        #expect(problems("preset: verl\nexpansion: fr3e").isEmpty)
        #expect(problems("preset: openrlhf") == ["preset is 'openrlhf'; known: trl, verl"])
    }

    @Test func sectionsThatContradictEachOtherAreRefused() {
        let cases = [
            "objective: value": "returns", "objective: {type: h_dpo}\naggregation: token_mean": "sequence_mean_token_sum",
            "objective: prime_ce\nentropy: {mask: {top: 0.2}}": "no entropy.mask", "pairs: {per_group: 2}": "reads none",
            "advantage: gae\nobjective: value\nkl: {coef: 0.1}": "log-probabilities", "expansion: fr3e\nkl: {coef: 0.1, placement: reward}": "placement",
            "entropy: {mask: {policy: current, scope: plan}}": "scope plan", "correction: {level: token, high: 0.5}": "correction.high",
            "filter: {min_accuracy: 2}": "filter.min_accuracy", "objective: {type: h_dpo, alpha: 0}": "alpha",
        ]
        for (yaml, word) in cases { #expect(problems(yaml).contains { $0.contains(word) }, "\(yaml): \(problems(yaml))") }
    }

    @Test func theResolvedFormReadsBackAsItself() throws {
        for name in try FileManager.default.contentsOfDirectory(atPath: repository("recipes")).sorted() {
            let resolved = try Recipe.load(path: repository("recipes/" + name)).resolvedJSON()
            #expect(try Recipe.load(json: resolved, file: name).resolvedJSON() == resolved, "\(name)")
        }
    }
}
