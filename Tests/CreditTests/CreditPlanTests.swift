import Credit
import Foundation
import Quantiles
import Scratch
import Testing

/// Counts how often each row's tokens are read for an estimator.
private final class CountedTokens: TokenSource, @unchecked Sendable {
    private let tokens: InMemoryTokens
    private let lock = NSLock()
    private(set) var reads: [Int32: Int] = [:]

    init(_ inputs: [CreditInput]) { tokens = InMemoryTokens(inputs: inputs) }

    func inputs(of rows: ArraySlice<Int32>, reading columns: Set<TokenColumn>) -> [CreditInput] {
        lock.withLock { for row in rows { reads[row, default: 0] += 1 } }
        return tokens.inputs(of: rows, reading: columns)
    }

    func trainable(
        _ rows: ArraySlice<Int32>, _ columns: [TokenColumn], _ body: (Int, [UnsafeBufferPointer<Float>]) throws -> Void
    ) throws { try tokens.trainable(rows, columns, body) }

    func readUnchecked(
        _ rows: ArraySlice<Int32>, _ column: TokenColumn, _ body: (Int, UnsafeBufferPointer<Float>) throws -> Void
    ) throws { try tokens.readUnchecked(rows, column, body) }

    func gather(_ ranges: [GatherRange], _ column: TokenColumn, into target: UnsafeMutablePointer<Float>) {
        tokens.gather(ranges, column, into: target)
    }

    func together(with row: Int32) -> Range<Int32> { tokens.together(with: row) }

    func inOrder<Value: Sendable>(
        _ count: Int, _ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void
    ) throws { try tokens.inOrder(count, produce, consume) }
}

@Suite struct CreditPlanTests {
    private static func inputs() -> [CreditInput] {
        (0..<24).map { index in
            let length = 3 + index % 5, mask = (0..<length).map { $0 > 0 }
            let column = mask.indices.map { Float((index * 7 + $0 * 3) % 11) / 8 }
            var input = CreditInput(
                groupID: "g\(index % 4)", reward: Double(index % 3), correct: nil, isTruncated: false, mask: mask,
                entropy: column)
            for name in TokenColumn.allCases where ![.entropy, .entropyLow, .entropyHigh].contains(name) {
                input.columns[name] = column
            }
            // Each group has one.
            input.isGreedy = index < 4
            return input
        }
    }

    /// Groups lie scattered, and whitening wants to know every token twice: all the same a row is read once, and once
    /// more where the method has a figure of the whole plan.
    @Test(arguments: AdvantageRegistry.all.map { $0.name }) func anEstimatorRunsOnce(_ name: String) throws {
        var recipe = CreditRecipe()
        recipe.advantage = try #require(AdvantageRegistry.all.first { $0.name == name }).init()
        let inputs = Self.inputs(), source = CountedTokens(inputs)
        let plan = try recipe.buildPlan(
            try RolloutFacts(inputs, reward: recipe.shapedReward), source, seed: 0)
        for position in plan.kept.indices {
            _ = plan.credits(position..<position + 1, [inputs[Int(plan.kept[position].row)]])
        }
        let reads = !recipe.advantage.readsTokens ? 0 : recipe.advantage.readsWholePlan ? 2 : 1
        #expect(inputs.indices.allSatisfy { source.reads[Int32($0)] ?? 0 == reads }, "\(source.reads)")
    }

    @Test func reasonsForLeavingOutHaveNamesOfTheirOwnAndMeanSomething() {
        let names = DropReason.all.map(\.name)
        #expect(Set(names).count == names.count)
        #expect(DropReason.all.allSatisfy { !$0.meaning.isEmpty && $0.name.allSatisfy { $0.isASCII } })
        #expect(AdvantageRegistry.all.allSatisfy { DropReason.all.contains($0.dropReason) })
    }
}
