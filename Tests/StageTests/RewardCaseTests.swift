import Arrow
import Formats
import Foundation
import TestSupport
import Testing

/// Answers that once stopped a run or were judged wrongly, through ingest and score.
@Suite struct RewardCaseTests {
    private func verdicts(_ name: String, _ reward: String) throws -> [String] {
        let run = try Pipeline()
        try run.ingest(fixture("cases/\(name)/dump"))
        try run.score(["--reward", reward])
        var verdicts: [String] = []
        try ArrowTableReader(path: run.folder("score/scores-00000.arrow"), table: Tables.scores).forEachRow {
            verdicts.append($0.verdict)
        }
        return verdicts
    }

    @Test(arguments: ["numeric", "auto"]) func anExponentOutOfBoundsIsUndecidedAndTheOthersAreJudged(_ reward: String)
        throws
    {
        #expect(try verdicts("F01-exponent-crash", reward) == ["correct", "undecided", "wrong"])
        #expect(try verdicts("F01b-exponent-crash-times", reward) == ["undecided"])
    }

    @Test func aFormulaIsNoNumberWithAUnit() throws {
        #expect(try verdicts("F02-formula-as-unit", "numeric") == [String](repeating: "undecided", count: 10))
    }

    @Test func theLastNumberIsTakenWhole() throws {
        let expected =
            ["correct", "wrong", "correct", "wrong"] + [String](repeating: "correct", count: 5) + [
                "undecided", "undecided",
            ]
        #expect(try verdicts("F04-last-number", "numeric") == expected)
    }

    @Test func nestedFractionsAreUndecidedAtOnce() throws {
        #expect(try verdicts("F05-nested-fractions-slow", "numeric") == ["undecided"])
    }

    @Test func aPointAloneIsWhatVerlTakesItFor() throws {
        #expect(try verdicts("F07-flexible-dot", "gsm8k_flexible") == ["correct"])
    }
}
