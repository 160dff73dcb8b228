import Credit
import Foundation
import Recipes
import Scratch
import TestSupport
import Testing

/// Plans whose lists lie in files: the same as those of plans in memory.
@Suite struct RolloutFactsTests {
    private static let folder = FileManager.default.temporaryDirectory.path

    @Test(arguments: [[0, 0, 0, 1, 1, 2], [0, 1, 0, 2, 1, 0], [0], []] as [[Int32]]) func groupsHaveTheirMembersInOrder(
        _ numbers: [Int32]
    ) throws {
        let count = Int(numbers.max() ?? -1) + 1
        for space in [ScratchSpace.memory, ScratchSpace(folder: Self.folder, mostInMemory: 1)] {
            let groups = try Groups(space, of: numbers.count, in: count) { numbers[$0] }
            #expect(groups.count == count)
            for group in 0..<count {
                #expect(groups[group] == numbers.indices.filter { numbers[$0] == group }.map { Int32($0) })
            }
        }
    }

    /// Rollouts of some tokens in groups whose members stand side by side, or don't.
    private static func inputs(scattered: Bool) -> [CreditInput] {
        var random = SplitMix(seed: scattered ? 5 : 6), seen: Set<Int> = []
        return (0..<240).map { index in
            let length = 3 + Int(random.next() % 40), group = scattered ? Int(random.next() % 30) : index / 8
            let mask = (0..<length).map { $0 > 0 && random.next() % 8 > 0 }
            func column() -> [Float] { mask.map { $0 ? Float(random.next() % 64) / 32 : 0 } }
            let correct = group % 7 == 3 || random.next() % 3 == 0
            var input = CreditInput(
                groupID: "g\(group)", reward: correct ? 1 : 0, correct: correct, isTruncated: random.next() % 9 == 0,
                mask: mask, entropy: column())
            for name in TokenColumn.allCases where name != .entropy && name != .entropyLow && name != .entropyHigh {
                input.columns[name] = column()
            }
            input.isGreedy = !seen.contains(group)
            seen.insert(group)
            return input
        }
    }

    static let recipes: [String] =
        AdvantageRegistry.all.map { "advantage: \($0.name)" }
        + MaskRegistry.all.flatMap { type in
            EntropyMask.Scope.allCases.flatMap { scope in
                (type.readsEntropy ? EntropyMask.Ties.allCases.map { ", ties: \($0.rawValue)" } : [""]).map {
                    "entropy: {mask: {\(type.name): 0.3, scope: \(scope.rawValue)\($0)}}\nschedule: {groups_per_step: 4}"
                }
            }
        }
        + ["drop", "zero"].map {
            "advantage: grpo\nfilter: {degenerate_groups: \($0), truncated: drop}\nschedule: {groups_per_step: 3, order: shuffled}"
        }
        + AggregationRegistry.all.map { "aggregation: \($0.name)\nentropy: {mask: {top: 0.2, scope: plan}}" }
        + ["objective: {type: h_dpo, alpha: 1, beta: 0.1}\npairs: {per_group: 2}\nschedule: {groups_per_step: 2}"]

    @Test(arguments: recipes) func listsInFilesPlanTheSame(_ text: String) throws {
        let policy = try Recipe.load(yaml: "name: test\n" + text + "\n", file: "test.yaml").credit
        for scattered in [false, true] {
            let inputs = Self.inputs(scattered: scattered)
            let plans = try [ScratchSpace.memory, ScratchSpace(folder: Self.folder, mostInMemory: 32)].map { space in
                try policy.buildPlan(
                    try RolloutFacts(inputs, space, reward: policy.shapedReward), InMemoryTokens(inputs: inputs),
                    seed: 7)
            }
            #expect(try Self.text(plans[0], inputs) == Self.text(plans[1], inputs))
            #expect(plans[0].kept.count + plans[0].dropped.count >= inputs.count)
        }
    }

    /// All that a plan says.
    private static func text(_ plan: CreditPlan, _ inputs: [CreditInput]) throws -> [String] {
        let credits = plan.credits(plan.kept.indices, plan.kept.map { inputs[Int($0.row)] }).map { "\($0)" }
        let dropped = plan.dropped.entries.map { "\($0)" }
        return credits + dropped + [
            "\(plan.thresholds) \(plan.warnings) \(Array(plan.keptTokens)) \(Array(plan.resample)) \(plan.entropyQuantiles ?? []) \(plan.undecided) \(plan.trainable)"
        ]
    }
}
