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
        for name in ["grpo", "dr-grpo", "dapo", "dapo-top20", "grpo-entropy-shaped", "rloo"] {
            #expect(recipes.contains { $0.hasSuffix("/recipes/\(name).yaml") })
        }
    }

    /// What docs/elsewhere.md gives for other codebases' names.
    @Test func recipesByOtherNamesLoad() throws {
        let page = try String(contentsOfFile: repositoryRoot + "/docs/elsewhere.md", encoding: .utf8)
        let rows = page.components(separatedBy: "\n").filter { $0.hasPrefix("| `") || $0.hasPrefix("| -") }
        let found = rows.compactMap { row -> String? in
            let cells = row.components(separatedBy: " | ")
            guard cells.count > 1, cells[1].hasPrefix("`{") else { return nil }
            return cells[1].trimmingCharacters(in: CharacterSet(charactersIn: "` |"))
        }
        #expect(found.count > 60)
        for recipe in found { #expect(problems(recipe) == [], "\(recipe)") }
    }

    private func problems(_ yaml: String) -> [String] {
        do {
            _ = try Recipe.load(yaml: yaml, file: "r.yaml")
            return []
        } catch let error as RecipeError { return error.problems } catch { return ["\(error)"] }
    }

    @Test func anUnknownKeyNamesTheKnownOnes() {
        let found = problems("objective: {type: ppo_clip, clip_hgih: 0.3}")
        #expect(
            found == [
                "unknown key objective.clip_hgih; known: auxiliary, clip_dual, clip_high, clip_low, drop_stale, type"
            ])
        #expect(problems("rewrad: {}").first?.contains("known: name, reward") == true)
        #expect(
            problems("entropy: {msk: {top: 0.2}}").first?.contains("known: bonus, exclude_eos, mask, shaping") == true)
    }

    @Test func anUnknownTypeNamesTheKnownOnes() {
        #expect(
            problems("advantage: {type: grop}").first
                == "unknown advantage type 'grop'; known: \(AdvantageRegistry.all.map { $0.name }.joined(separator: ", "))"
        )
        #expect(
            problems("expansion: {type: fr4e}").first
                == "unknown expansion type 'fr4e'; known: aepo, arpo, fr3e, s_grpo, tree, treepo, vineppo")
        #expect(
            problems("expansion: {type: fr3e, anchor_score: tokens}") == [
                "expansion.anchor_score is 'tokens'; expected blank_lines, entropy, surprisal"
            ])
        #expect(
            problems("expansion: {type: vineppo, segmentation: words}") == [
                "expansion.segmentation is 'words'; expected lines, math"
            ])
        #expect(
            problems("expansion: {type: fr3e, anchor: 2}").first?.contains("known: anchor_score, anchors, bases")
                == true)
        #expect(problems("trainable: {type: dora}").first?.contains("known: full, lora") == true)
        #expect(problems("trainable: {type: lora, targets: [q_proj, w_proj]}").first?.contains("known: q_proj") == true)
    }

    @Test func allProblemsAreShownAtOnce() {
        #expect(
            problems("optimizer: {lr: fast}\nentropy: {shaping: {kappa: 1}}\nobjective: {clip_dual: 0.5}").count == 3)
    }

    @Test func numbersMayBeWrittenWithoutAPoint() throws {
        let recipe = try Recipe.load(
            yaml: "optimizer: {lr: 1e-3, eps: 1E-8}\nreward: {correct: 1, wrong: -1.0}", file: "r.yaml")
        #expect(recipe.optimizer.lr == 1e-3 && recipe.optimizer.eps == 1e-8)
        #expect(recipe.credit.reward.wrong == -1)
    }

    @Test func leftOutSectionsTakeTheirDefaults() throws {
        let recipe = try Recipe.load(yaml: "name: empty\naggregation: constant\n", file: "r.yaml")
        #expect(
            recipe.credit.advantage is GRPO && recipe.objective is PPOClip
                && recipe.credit.aggregation is ConstantDivisor)
        #expect(recipe.credit.mask == nil && recipe.credit.shaping == nil && !recipe.kl.isOn)
    }

    @Test func nullTurnsAnOptionalKeyOff() throws {
        let recipe = try Recipe.load(yaml: "optimizer: {max_grad_norm: null}\nentropy: {mask: null}\n", file: "r.yaml")
        #expect(recipe.optimizer.maxGradNorm == nil && recipe.credit.mask == nil)
    }

    @Test func aPresetChangesDefaultsOnly() throws {
        let verl = try Recipe.load(
            yaml: "preset: verl\nreward: {overlong: {max_length: 10, cache_length: 4}}", file: "r.yaml")
        #expect(
            (verl.credit.advantage as? GRPO)?.groupOfOne == .raw
                && (verl.objective as? PPOClip)?.clipDual == 3)
        #expect(verl.credit.reward.overlong?.floor == false)
        let own = try Recipe.load(
            yaml: "preset: verl\nobjective: {type: ppo_clip, clip_dual: 10}\nadvantage: rloo", file: "r.yaml")
        #expect(
            (own.objective as? PPOClip)?.clipDual == 10 && (own.credit.advantage as? RLOO)?.groupOfOne == .raw)
        let trl = try Recipe.load(yaml: "preset: trl\nentropy: {mask: {top: 0.3}}", file: "r.yaml")
        #expect(
            (trl.credit.advantage as? GRPO)?.epsilon == 1e-4 && trl.credit.mask?.normalizer == .all
                && !trl.kl.bounded)
        // Where there is no mask, no preset makes one; an expansion has advantages of its own.
        #expect(try Recipe.load(yaml: "preset: trl", file: "r.yaml").credit.mask == nil)
        #expect(problems("preset: verl\nexpansion: fr3e").isEmpty)
        #expect(problems("preset: openrlhf") == ["preset is 'openrlhf'; known: trl, verl"])
    }

    @Test func sectionsThatContradictEachOtherAreRefused() {
        let cases = [
            "objective: value": "returns",
            "objective: {type: h_dpo}\naggregation: token_mean": "sequence_mean_token_sum",
            "objective: prime_ce\nentropy: {mask: {top: 0.2}}": "no entropy.mask",
            "pairs: {per_group: 2}": "reads none",
            "advantage: gae\nobjective: value\nkl: {coef: 0.1}": "log-probabilities",
            "expansion: fr3e\nkl: {coef: 0.1, placement: reward}": "placement",
            "entropy: {mask: {policy: current, scope: plan}}": "scope plan",
            "correction: {level: token, high: 0.5}": "correction.high",
            "objective: gmpo\naggregation: token_mean": "sequence_mean_token_mean",
            "objective: vespo\ncorrection: {level: token}": "a whole sequence's",
            "objective: {type: distill, divergence: kl}": "expected forward, reverse, mixed, jsd",
            "objective: {type: distill, top_k: 10}": "objective.top_k has no effect: support is full",
            "objective: {type: distill, mix: 0.3}": "objective.mix has no effect: divergence is reverse",
            "objective: {type: distill, support: teacher, top_k: 0}": "top_k is 0; expected 1 to 4096",
            "objective: {type: distill, divergence: jsd, beta: 1.5}": "beta is 1.5; expected 0 to 1",
            "objective: {type: distill, importance_cap: 0}": "importance_cap is 0.0; expected more than 0",
            "objective: distill\nkl: {coef: 0.1}": "log-probabilities",
            "objective: {type: sapo, tau_pos: 0}": "tau_pos is 0.0; expected more than 0",
            "objective: {type: h_dpo, drop_stale: {threshold: 0.5}}": "objective.drop_stale",
            "objective: {type: ppo_clip, drop_stale: {threshold: 0}}": "objective.drop_stale.threshold is 0.0",
            "objective: {type: ppo_clip, drop_stale: {against: engine}}": "expected sampler, trainer",
            "objective: {type: ppo_clip, auxiliary: {coef: 0}}": "objective.auxiliary.coef is 0.0",
            "objective: {type: ppo_clip, auxiliary: {type: nll}}": "expected positive_nll",
            "objective: {type: h_dpo, auxiliary: {coef: 1}}": "objective.auxiliary",
            "kl: {coef: 0.1, placement: reward, weighted: ratio}\nadvantage: reinforce_pp": "kl.weighted has no effect",
            "kl: {coef: 0.1, estimator: k1+, weighted: score}": "kl.weighted is score",
            "entropy: {bonus: {}}": "entropy.bonus.coef is 0",
            "entropy: {bonus: {coef: -1}}": "entropy.bonus.coef is -1.0; expected 0 or more",
            "entropy: {bonus: {coef: 0.1, tokens: kept}}": "no entropy.mask",
            "entropy: {bonus: {coef: 2, adaptive: {max: 1}}}": "expected 0.0 to 1.0",
            "entropy: {bonus: {adaptive: {target: 0}}}": "entropy.bonus.adaptive.target is 0.0",
            "entropy: {bonus: {coef: 0.1}}\nobjective: value\nadvantage: gae": "entropy.bonus needs entropies",
            "filter: {min_accuracy: 2}": "filter.min_accuracy", "objective: {type: h_dpo, alpha: 0}": "alpha",
        ]
        for (yaml, word) in cases {
            #expect(problems(yaml).contains { $0.contains(word) }, "\(yaml): \(problems(yaml))")
        }
    }

    @Test func termsOfAnyObjectiveAreReadAndWritten() throws {
        let yaml = """
            objective: {type: sapo, drop_stale: {threshold: 0.1, against: trainer}, auxiliary: {coef: 0.2}}
            entropy: {bonus: {adaptive: {target: 0.3}}}
            kl: {coef: 0.1, weighted: ratio}
            """
        let recipe = try Recipe.load(yaml: yaml, file: "r.yaml"), resolved = try recipe.resolvedJSON()
        #expect(recipe.loss.staleRows?.threshold == 0.1 && recipe.loss.staleRows?.against == .trainer)
        #expect(recipe.loss.auxiliary?.coef == 0.2 && recipe.loss.bonus?.adaptive?.target == 0.3)
        #expect(recipe.kl.weighted == .ratio && recipe.credit.aggregation is SequenceMeanTokenMean)
        #expect(try Recipe.load(json: resolved, file: "resolved").resolvedJSON() == resolved)
        // Nothing of all this where it isn't asked for.
        let plain = try Recipe.load(yaml: "objective: sapo", file: "r.yaml")
        #expect(plain.loss.staleRows == nil && plain.loss.auxiliary == nil && plain.loss.bonus == nil)
        #expect(try Recipe.load(yaml: "preset: trl\nkl: {coef: 0.1}", file: "r.yaml").kl.weighted == .ratio)
        #expect(problems("preset: trl\nadvantage: reinforce_pp\nkl: {coef: 0.1, placement: reward}").isEmpty)
        #expect(try Recipe.load(yaml: "objective: {type: dppo, cap: .inf}", file: "r.yaml").objective is DPPO)
    }

    @Test func theResolvedFormReadsBackAsItself() throws {
        for name in try FileManager.default.contentsOfDirectory(atPath: repository("recipes")).sorted() {
            let resolved = try Recipe.load(path: repository("recipes/" + name)).resolvedJSON()
            #expect(try Recipe.load(json: resolved, file: name).resolvedJSON() == resolved, "\(name)")
        }
    }

    // MARK: words and numbers

    @Test(arguments: [
        ("advantage: {type: grpo, ddof: 1.5}", "advantage.ddof is 1.5; expected a whole number"),
        ("advantage: {type: grpo, ddof: 100}", "advantage.ddof is 100; expected 0, or 1"),
        ("schedule: {groups_per_step: 1.5}", "schedule.groups_per_step is 1.5; expected a whole number"),
        (
            "reward: {overlong: {max_length: 9223372036854775808}}",
            "max_length is 9223372036854775808; expected a whole number that 64 bits"
        ),
        ("kl: {coef: .nan}", "kl.coef is .nan; expected a finite number"),
        ("kl: {coef: .inf}", "kl.coef is .inf; expected a finite number"),
        ("optimizer: {lr: 1e999}", "optimizer.lr is 1e999; expected a finite number"),
        ("optimizer: {lr: 1e-999}", "optimizer.lr is 1e-999; expected a finite number"),
        ("reward: {correct: 1e300}", "reward.correct is 1e300; expected a finite number that float32 can hold"),
        ("optimizer: {eps: 0}", "optimizer.eps is 0.0; expected more than 0"),
        ("optimizer: {lr: yes}", "optimizer.lr is yes; expected a finite"),
        ("optimizer: {warmup_steps: 010}", "optimizer.warmup_steps is '010'; expected a whole number"),
        ("optimizer: {betas: [0.9, x]}", "optimizer.betas is 'x'; expected a number"),
        ("optimizer: {betas: 0.9}", "optimizer.betas is 0.9; expected a list"),
        ("filter: {min_accuracy: 0.8, max_accuracy: 0.2}", "filter.min_accuracy is 0.8; expected at most max_accuracy"),
        ("reward: {overlong: {factor: -1}}", "reward.overlong.factor is -1.0; expected 0 or more"),
        ("reward: {correct: -1, wrong: 1}", "expected a right answer to be worth more"),
        ("reward: {wrong: 1}", "expected a right answer to be worth more"),
        ("schedule: {epochs: 1000000000000}", "schedule.epochs is 1000000000000; expected 1 to 1000000"),
        (
            "expansion: {type: fr3e, replicates: 1099511627776}",
            "expansion.replicates is 1099511627776; expected 1 to 4096"
        ),
        ("expansion: {type: fr3e, anchors: 1099511627776}", "expansion.anchors"),
        ("expansion: {type: s_grpo, exits: 1e12}", "expansion.exits"),
        ("expansion: {type: vineppo, max_tokens: 1e12}", "expansion.max_tokens"),
        ("expansion: {type: vineppo, minimum_step_characters: -1}", "minimum_step"),
        (
            "trainable: {type: lora, rank: 9223372036854775807}",
            "trainable.rank is 9223372036854775807; expected 1 to 65536"
        ),
        ("trainable: {type: lora, targets: [q_proj, q_proj]}", "twice"),
        ("aggregation: {type: constant, length: 1e15}", "aggregation.length"),
        ("entropy: {mask: {top: 1.5}}", "entropy.mask.top is 1.5; expected 0 to 1"),
        ("entropy: {mask: {top: .nan}}", "entropy.mask.top is .nan; expected"),
        ("entropy: {mask: {scope: bach}}", "entropy.mask.scope is 'bach'; expected step, plan, group, rollout"),
        ("objective: {type: clip_cov, covariance_low: 6}", "covariance_low"),
        ("correction: {reject: [{metric: k4, high: 1}]}", "correction.reject is 'k4'; expected ratio, k1"),
        ("correction: {reject: [{high: 1}]}", "correction.reject is a section; expected a metric"),
        (
            "correction: {reject: [{metric: k1, hgih: 1}]}",
            "expected no key but metric, level, low, high, scope; it has hgih"
        ),
        ("correction: {reject: [{metric: k1}]}", "correction.reject[0] has neither low nor high"),
        ("correction: {reject: [{metric: k2, low: 1}]}", "correction.reject[0].low has no effect"),
        ("correction: {reject: [{metric: ratio, level: sequence_max, high: 2}]}", "level is sequence_max"),
        ("correction: {reject: [{metric: second_moment, level: sequence_sum, high: 2}]}", "expected token"),
        ("correction: {reject: [{metric: k3, high: 2, scope: plan}]}", "scope has no effect"),
        ("correction: {veto: {}}", "correction.veto has neither low nor high"),
        ("correction: {veto: {low: 2}}", "correction.veto.low is 2.0; expected 0 to 1"),
        ("correction: {veto: {high: 2, middle: 1}}", "it has middle"),
        ("correction: {level: token, behavior: sampler}", "which corrects twice"),
        ("correction: {level: token, low: 2}", "correction.low is 2.0; expected 0 to 1"),
        ("name: [a]", "name is a list; expected a word"),
        ("preset: [verl]", "preset is a list"),
        ("expansion: fr3e\nentropy: {exclude_eos: true}", "entropy.exclude_eos with an expansion"),
        ("reward: {components: {}}", "reward.components has no name"),
        ("advantage: prime\nreward: {components: {correct: 1}}", "takes verdicts"),
        ("expansion: fr3e\nreward: {components: {correct: 1}}", "one reward"),
        ("advantage: gdpo\nreward: {overlong: {}}", "reward.overlong has no effect: advantage gdpo"),
        ("advantage: gdpo\nkl: {coef: 1, placement: reward}", "kl.placement is reward, which has no effect"),
        ("advantage: {teacher: {clip: 1, form: rlsd}}", "advantage.teacher.clip is 1.0; expected 0 to less than 1"),
        ("advantage: {teacher: {mix: 0.1}}", "advantage.teacher.mix has no effect: form is difference"),
        ("advantage: {teacher: {}}\nfilter: {degenerate_groups: drop}", "filter.degenerate_groups is drop with"),
        ("advantage: {teacher: {policy: now}}", "advantage.teacher.policy"),
        ("advantage: {teacher: {policy: current, form: rlsd}}", "expected form difference, or plan"),
        ("advantage: {teacher: {policy: current}}\nentropy: {shaping: {}}", "bounds advantages that then move"),
        ("objective: h_dpo\nadvantage: {teacher: {}}", "advantage.teacher has no effect"),
        ("expansion: fr3e\nadvantage: {type: fr3e, teacher: {}}", "unknown key advantage.teacher"),
        ("advantage: {type: fr3e, epsilon: 1}\nexpansion: fr3e", "unknown key advantage.epsilon"),
    ]) func aValueOutOfRangeIsNamed(_ yaml: String, _ expected: String) {
        let found = problems(yaml)
        #expect(found.contains { $0.contains(expected) }, "\(yaml): \(found)")
    }

    @Test func scalarsAreWhatTheirKeyAsksFor() throws {
        let recipe = try Recipe.load(
            yaml:
                "name: 2024\nexpansion: {type: vineppo, step_separators: [\"0\", 1, no, '~', \"\\n\"]}\noptimizer: {lr: \"1e-5\", warmup_steps: 1_000}",
            file: "r")
        #expect(recipe.name == "2024" && recipe.optimizer.lr == 1e-5 && recipe.optimizer.warmupSteps == 1000)
        #expect((recipe.credit.expansion as? VinePPO)?.stepSeparators == ["0", "1", "no", "~", "\n"])
        let again = try Recipe.load(json: recipe.resolvedJSON(), file: "resolved")
        #expect(
            (again.credit.expansion as? VinePPO)?.stepSeparators == ["0", "1", "no", "~", "\n"] && again.name == "2024")
    }

    @Test func anInfiniteBoundIsNone() throws {
        let recipe = try Recipe.load(
            yaml:
                "correction: {level: token, high: .inf}\nobjective: {type: ppo_clip, clip_dual: .inf}\npreset: verl\noptimizer: {max_grad_norm: .Inf}",
            file: "r")
        #expect(
            recipe.credit.correction.high == nil && (recipe.objective as? PPOClip)?.clipDual == nil
                && recipe.optimizer.maxGradNorm == nil)
        #expect(
            recipe.credit.correction.weights(trainer: [0, -1], sampler: [0, -11], mask: [false, true])[1] > 20_000)
        #expect(problems("correction: {level: token, high: -.inf}").first?.contains("finite") == true)
    }

    @Test func sharesKeepTheirDigits() throws {
        let digits = "0.33333333333333333333"
        let recipe = try Recipe.load(yaml: "entropy: {mask: {top: \(digits)}}", file: "r"),
            resolved = try recipe.resolvedJSON()
        #expect(resolved.contains(digits))
        #expect(try Recipe.load(json: resolved, file: "resolved").credit.mask?.top?.description == digits)
        let changed = try Recipe.load(
            yaml: "entropy: {mask: {top: 0.2}}", file: "r", overrides: ["entropy.mask.top=\(digits)"])
        #expect(changed.credit.mask?.top?.description == digits)
    }

    // MARK: hostile text

    @Test(arguments: [
        ("{{}}", "line 1, column 2: found a section as a key"),
        ("name: x\noptimizer: {lr: {{ lr }} }", "line 2, column 18"), ("? [a, b]\n: 1", "found a list as a key"),
        ("a: 1\na: 2", "line 1: key 'a' stands there twice"), ("name: [", "not valid YAML: line"),
        ("a: *b", "undefined alias"), ("--- a\n--- b", "another document"),
        ("x", "expected sections"), ("- a", "found a list, expected sections"), ("", "found null, expected sections"),
        (String(repeating: "[", count: 5000), "Maximum nesting"),
        (String(repeating: "{a: ", count: 40) + String(repeating: "}", count: 40), "nested more than"),
        ("\u{0}", "not valid YAML"), (String(repeating: "#", count: 1 << 19), "bytes, expected at most"),
    ]) func textThatIsNoRecipeIsRefusedWithItsPlace(_ yaml: String, _ expected: String) {
        do {
            _ = try Recipe.load(yaml: yaml, file: "r.yaml")
            Issue.record("accepted: \(yaml.prefix(40))")
        } catch {
            #expect("\(error)".contains(expected) && "\(error)".hasPrefix("r.yaml: "), "\("\(error)".prefix(300))")
        }
    }

    /// Each level is ten times the one before: as values, as merged sections, as keys that a parser compares.
    @Test(arguments: ["[%]", "{<<: [%]}", "{? [%] : 1}", "[% # *x\n]"]) func bombsEndAtOnce(_ shape: String) {
        let start = ContinuousClock.now
        for levels in [9, 30] {
            var yaml = "a0: &a0 {x: 1}\n"
            for level in 1...levels {
                let many = (0..<10).map { _ in "*a\(level - 1) " }.joined(separator: ",")
                yaml += "a\(level): &a\(level) " + shape.replacingOccurrences(of: "%", with: many) + "\n"
            }
            #expect(!problems(yaml).isEmpty)
        }
        #expect(ContinuousClock.now - start < .seconds(20))
    }

    @Test func aFewAnchorsAreFine() throws {
        let recipe = try Recipe.load(
            yaml:
                "objective: &clip {clip_low: &low 0.1, clip_high: *low}\noptimizer: {lr: 1e-5, <<: {lr: 1, eps: 1e-6}}",
            file: "r")
        #expect(
            (recipe.objective as? PPOClip)?.clipHigh == 0.1 && recipe.optimizer.lr == 1e-5
                && recipe.optimizer.eps == 1e-6)
    }

    @Test func manyProblemsMakeAShortMessage() {
        let keys = (0..<15_000).map { "k\($0): 1" }.joined(separator: "\n")
        do { _ = try Recipe.load(yaml: keys, file: "r.yaml") } catch {
            let text = "\(error)"
            #expect(text.utf8.count < 10_000 && text.contains("more problems") && text.contains("(line 1)"))
        }
        #expect(problems(String(repeating: "k", count: 100_000) + ": 1").first.map { $0.utf8.count < 1000 } == true)
    }

    // MARK: settings without effect

    /// By section and type, a key and what takes its effect away.
    @Test(arguments: [
        ("advantage: {type: grpo, normalize: none, %: 1}", ["ddof", "epsilon"]),
        ("advantage: {type: prime, variant: paper, %: 1}", ["process_coef", "outcome_coef"]),
        ("advantage: {type: prime, variant: paper, %: true}", ["normalize"]),
        ("advantage: {type: etpo_mc, beta: 0, %: k1}", ["kl"]),
        ("expansion: {type: vineppo, segmentation: math, %: 5}", ["minimum_step_characters"]),
        ("expansion: {type: vineppo, segmentation: math, %: [a]}", ["step_separators"]),
        ("expansion: {type: fr3e, anchor_score: blank_lines, %: true}", ["exclude_answer"]),
        ("expansion: {type: fr3e, anchors: 0, %: 3}", ["minimum_gap"]),
        ("expansion: {type: fr3e, %: batch}", ["normalize"]),
        ("expansion: fr3e\nfilter: {%: 0.5}", ["min_accuracy", "max_accuracy"]),
        ("expansion: s_grpo\nfilter: {%: zero}", ["degenerate_groups"]),
        ("objective: h_dpo\nfilter: {%: zero}", ["degenerate_groups"]),
        ("expansion: s_grpo\nreward: {%: 2}", ["correct"]), ("expansion: s_grpo\nreward: {%: -1}", ["wrong"]),
        ("advantage: prime\nreward: {%: 2}", ["correct"]), ("advantage: prime\nreward: {%: -1}", ["wrong"]),
        ("advantage: prime\nreward: {%: {}}", ["overlong"]),
        ("reward: {overlong: {cache_length: 0, %: false}}", ["floor"]),
        ("kl: {coef: 0.1, estimator: k1, %: true}", ["bounded"]),
        ("kl: {coef: 0.1, estimator: k2, %: false}", ["bounded"]),
        ("kl: {coef: 0.1, placement: reward, %: k3+}", ["estimator"]), ("kl: {%: k1}", ["estimator"]),
        ("kl: {%: reward}", ["placement"]),
        ("objective: h_dpo\nkl: {coef: 0.1, %: reward}", ["placement"]),
        ("objective: prime_ce\nkl: {coef: 0.1, %: reward}", ["placement"]),
        ("correction: {level: token, %: keep}", ["rejected"]), ("correction: {level: token, %: kept}", ["denominator"]),
        ("correction: {behavior: sampler, %: mask}", ["mode"]),
        ("correction: {veto: {high: 9}, %: batch}", ["normalize"]),
        ("objective: nll\ncorrection: {%: sampler}", ["behavior"]),
        ("correction: {%: mask}", ["mode"]),
        ("objective: h_dpo\n%: {level: token}", ["correction"]),
        ("entropy: {mask: {random: 0.2, %: quantile}}", ["ties"]),
        ("entropy: {mask: {random: 0.2, %: 0.1}}", ["max_undecided"]),
        ("entropy: {mask: {policy: current, %: 0.1}}", ["max_undecided"]),
        ("aggregation: constant\nentropy: {mask: {top: 0.2, %: kept}}", ["normalizer"]),
        ("objective: h_dpo\n%: rloo", ["advantage"]),
        ("objective: prime_ce\nentropy: {%: {}}", ["shaping"]),
        ("advantage: gae\nobjective: value\nentropy: {%: {}}", ["shaping"]),
        ("objective: value\nadvantage: {type: gae, %: false}", ["whiten"]), ("schedule: {%: shuffled}", ["order"]),
        ("advantage: gae\nobjective: value\nentropy: {mask: {%: current}}", ["policy"]),
    ]) func aSettingWithoutEffectIsRefused(_ yaml: String, _ keys: [String]) {
        for key in keys {
            let found = problems(yaml.replacingOccurrences(of: "%", with: key))
            #expect(
                found.contains { $0.contains(key) || $0.contains("has no coef") || $0.contains("has no level") },
                "\(yaml), \(key): \(found)")
        }
    }

    /// What a resolved recipe spells out has an effect, or it would refuse itself.
    @Test(arguments: [
        "advantage: {type: prime, variant: paper}", "advantage: {type: grpo, normalize: none}",
        "correction: {level: token}", "correction: {level: token, mode: mask}", "correction: {behavior: sampler}",
        "correction: {veto: {low: 0.1}, reject: [{metric: k3, high: 1}, {metric: second_moment, high: 0.04}]}",
        "kl: {coef: 0.1, estimator: k1}", "entropy: {mask: {random: 0.2}}", "entropy: {mask: {policy: current}}",
        "expansion: {type: vineppo, segmentation: math}",
        "expansion: {type: fr3e, anchor_score: blank_lines}", "objective: h_dpo",
        "preset: trl\nkl: {coef: 0.1, estimator: k2}",
        "preset: verl\ncorrection: {level: token}",
        "aggregation: constant\nentropy: {mask: {top: 0.1}}", "schedule: {epochs: 3}",
        "reward: {overlong: {cache_length: 0}}", "expansion: s_grpo", "entropy: {exclude_eos: true}",
        "advantage: {type: gdpo, whiten: none}\nreward: {components: {correct: 1, Format/x: 0.5}}",
        "advantage: {type: none, teacher: {form: rlsd}}", "advantage: {type: pass_at_k, form: analytic, k: 4}",
    ]) func whatIsResolvedLoadsAgain(_ yaml: String) throws {
        let resolved = try Recipe.load(yaml: yaml, file: "r").resolvedJSON()
        #expect(try Recipe.load(json: resolved, file: "resolved").resolvedJSON() == resolved)
    }

    /// Every type of every registry, as its defaults are written in a recipe.
    @Test func defaultsOfEveryTypeCanBeWrittenDown() {
        let sections: [(String, [(String, any Encodable)])] = [
            ("advantage", AdvantageRegistry.all.map { ($0.name, $0.init()) }),
            ("expansion", ExpansionRegistry.all.map { ($0.name, $0.init()) }),
            ("aggregation", AggregationRegistry.all.map { ($0.name, $0.init()) }),
        ]
        for (section, types) in sections {
            for (name, settings) in types {
                let keys = Recipe.defaults(settings), unread = (settings as? any AdvantageEstimator)?.unread ?? [:]
                let yaml = "\(section): {type: \(name)\(keys.isEmpty ? "" : ", " + keys)}"
                let found = problems(yaml).filter { problem in
                    !problem.contains("returns")
                        && !unread.keys.contains { problem.hasPrefix("\(section).\($0) has no effect") }
                }
                #expect(found.isEmpty, "\(yaml): \(found)")
            }
        }
    }

    @Test func outcomesOfAnImplicitRewardModelLieBetweenZeroAndOne() {
        #expect(problems("objective: prime_ce\nreward: {correct: 1, wrong: 0}").isEmpty)
        for reward in ["{wrong: -1}", "{correct: 2}", "{overlong: {}}"] {
            #expect(
                problems("objective: prime_ce\nreward: \(reward)").contains { $0.contains("prime_ce") }, "\(reward)")
        }
    }
}
