import Foundation
import Models
import Tensors
import TestSupport
import Testing

@Suite struct SharedPrefixTests {
    /// Sequences that grow from common stems: prefixes of every length are shared, some sequences end inside others,
    /// some are the same.
    private func family(of count: Int, seed: UInt64) -> [SequenceQuery] {
        var generator = SplitMix(seed: seed), sequences: [[Int32]] = [[3, 1, 4]]
        while sequences.count < count {
            let parent = sequences[Int(generator.next() % UInt64(sequences.count))]
            let kept = 2 + Int(generator.next() % UInt64(parent.count - 1)), added = Int(generator.next() % 6)
            sequences.append(Array(parent.prefix(kept)) + (0..<added).map { _ in Int32(generator.next() % 32) })
        }
        return sequences.enumerated().map { index, tokens in
            SequenceQuery(
                tokenIDs: tokens, wanted: tokens.indices.map { $0 > 1 }, temperature: index % 3 == 0 ? 0.8 : 1)
        }
    }

    private func gradients(_ model: LanguageModel, _ batches: [[SequenceQuery]]) throws -> (
        scores: [[Float]], gradients: [Float]
    ) {
        let buffer = Buffer(model.layout.count)
        var scores: [[Float]] = []
        for batch in batches {
            let batchScores = try model.accumulateGradients(batch, into: buffer) { _ in
                batch.map { query in
                    query.tokenIDs.indices.map {
                        query.wanted[$0] ? Float(sin(Double($0) + Double(query.tokenIDs.count))) : 0
                    }
                }
            }
            scores += batchScores.map(\.logprobs)
        }
        return (scores, buffer.array)
    }

    private func model(threads: Int) throws -> LanguageModel {
        let checkpoint = try Checkpoint(directory: fixture("policy"))
        return LanguageModel(checkpoint.architecture, parameters: try checkpoint.loadParameters(), threads: threads)
    }

    @Test(arguments: [1, 2, 3] as [UInt64]) func aForestHasTheGradientsOfItsSequencesOneByOne(_ seed: UInt64) throws {
        let model = try model(threads: 2), queries = family(of: 12, seed: seed)
        let together = try gradients(model, [queries]), apart = try gradients(model, queries.map { [$0] })
        for (one, other) in zip(together.scores, apart.scores) {
            // Products of other shapes, and with what other tests of this process leave OpenBLAS's threads at: logits of
            // 20 were once 1.1e-5 apart.
            #expect(firstDifference(one, other, absolute: 1e-5, relative: 2e-6) == nil)
        }
        // Sums in another order, in float32: a few units in the last place of the largest terms.
        #expect(relativeDistance(together.gradients, apart.gradients) < 1e-5)
    }

    @Test func oneAndTwoThreadsAgreeWithinRounding() throws {
        let queries = family(of: 8, seed: 9)
        let one = try gradients(try model(threads: 1), [queries]), two = try gradients(try model(threads: 2), [queries])
        #expect(relativeDistance(one.gradients, two.gradients) < 1e-5)
    }

    @Test func everyDistinctPrefixStandsOnce() {
        let forest = TokenForest([[1, 2, 3], [1, 2, 4, 5], [1, 2], [7]])
        // Distinct prefixes: 1, 12, 123, 124, 1245, 7.
        #expect(forest.tokenIDs.count == 6)
        #expect(forest.tokens(of: 1).map { forest.tokenIDs[$0] } == [1, 2, 4, 5])
        #expect(forest.tokens(of: 2).map { forest.positions[$0] } == [0, 1])
        #expect(forest.tokens(of: 0).prefix(2) == forest.tokens(of: 1).prefix(2))
    }

    @Test func onlyStatesBeforeWantedTokensAreRead() {
        func query(_ tokens: [Int32], wanted: [Int]) -> SequenceQuery {
            SequenceQuery(tokenIDs: tokens, wanted: tokens.indices.map { wanted.contains($0) }, temperature: 1)
        }
        let forest = TokenForest([
            query([1, 2, 3, 4], wanted: [2]), query([1, 2, 5, 6], wanted: [2, 3]), query([9, 9], wanted: []),
        ])
        // Computed: 1, 2, 5. The state of 2 says both 3 and 5, that of 5 says 6.
        #expect(forest.tokenIDs == [1, 2, 5])
        #expect(forest.outputPositions.count == 2 && !forest.outputPositions.isAll)
        #expect(forest.outputPositions.places[1] == 0 && forest.outputPositions.places[2] == 1)
    }

    @Test func chosenRowsGoThereAndBack() {
        let x = Buffer([0, 1, 10, 11, 20, 21, 30, 31]), compact = Buffer(4),
            back = Buffer([Float](repeating: 7, count: 8))
        let some = RowSubset([1, 3], of: 4), all = RowSubset([0, 1, 2, 3], of: 4)
        withExtendedLifetime((x, compact, back)) {
            some.scatter(some.gather(x.matrix(rows: 4), into: compact.matrix(rows: 2)), into: back.matrix(rows: 4))
            #expect(compact.array == [10, 11, 30, 31] && back.array == [0, 0, 10, 11, 0, 0, 30, 31])
            #expect(all.isAll && all.gather(x.matrix(rows: 4), into: compact.matrix(rows: 2)).base == x.pointer)
        }
    }
}
