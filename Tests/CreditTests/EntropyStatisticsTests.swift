import Credit
import Entropy
import TestSupport
import Testing

@Suite struct EntropyStatisticsTests {
    private func sample(_ entropies: [Float], tokens: [Int32]? = nil) -> EntropySample {
        var sample = EntropySample()
        sample.add(
            entropy: [9] + entropies, tokens: [0] + (tokens ?? entropies.map { _ in 1 }),
            mask: [false] + entropies.map { _ in true }, correct: true, finish: "stop")
        return sample
    }

    @Test func sharesAreTheWorkedNumbers() throws {
        let statistics = try #require(EntropyStatistics(sample([0.0001, 0.002, 0.008, 0.02, 0.3, 0.9])))
        #expect(statistics.tokens == 6 && statistics.shareBelow001 == 0.5)
        #expect(isClose(statistics.shareAbove0672, 0.1667, absolute: 1e-4))
        #expect(
            statistics.quantiles.count == 21 && isClose(statistics.quantiles[20], 0.9, absolute: 1e-6)
                && isClose(statistics.quantiles[10], 0.014, absolute: 1e-6))
        #expect(isClose(statistics.thresholds["0.2"] ?? 0, 0.3, absolute: 1e-6))
        #expect(EntropyStatistics(EntropySample()) == nil)
    }

    @Test func meansAreByPlaceOutcomeAndFinish() throws {
        var sample = sample((0..<20).map { Float($0) })
        sample.add(entropy: [4, 6], tokens: [1, 1], mask: [true, true], correct: false, finish: "length")
        let statistics = try #require(EntropyStatistics(sample))
        #expect(
            statistics.meanByOutcome == ["correct": 9.5, "wrong": 5]
                && statistics.meanByFinish == ["stop": 9.5, "length": 5])
        // Tokens 0 and 1 of twenty, and the first of two.
        #expect(statistics.meanByDecile[0] == (0 + 1 + 4) / 3.0 && statistics.meanByDecile[9] == 18.5)
    }

    @Test func tokenTablesLeaveOutTheRare() {
        let table = TokenEntropy.table(sample([1, 3, 0.5, 0.5, 9], tokens: [7, 7, 8, 8, 5]), minimumCount: 1)
        #expect(
            table == [
                TokenEntropy.table(sample([2, 2], tokens: [7, 7]), minimumCount: 1)[0],
                TokenEntropy.table(sample([0.5, 0.5], tokens: [8, 8]), minimumCount: 1)[0],
            ])
        #expect(table[0].mean == 2 && table[0].count == 2)
    }

    @Test func twoPoliciesAreComparedTokenByToken() {
        let before = (0..<100).map { Float($0) }, after = before.map { $0 >= 90 ? $0 - 95 : $0 + 1 }
        let comparison = EntropyComparison(
            before: before, after: after,
            logprobs: (before: before.map { _ in -1 }, after: before.map { $0 >= 80 ? -0.7 : -1.1 }))
        // Of the top fifth 80…99, 80…89 stay on top beside 70…79.
        #expect(
            comparison.overlaps[1].overlap == 0.5 && isClose(comparison.overlaps[1].jaccard, 10 / 30.0, absolute: 1e-12)
        )
        #expect(comparison.changeByBin[0] == 1 && comparison.changeByBin[19] == -95)
        #expect(
            comparison.clipping?.highKept == 1 && comparison.clipping?.highRest == 0
                && comparison.clipping?.lowRest == 0)
    }
}
