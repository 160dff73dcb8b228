import Formats
import TestSupport
import Testing

/// Columns whose text is one of a few words.
@Suite struct TableWordTests {
    struct Described: Sendable, CustomTestStringConvertible {
        let word: String
        let documentation: String
        var testDescription: String { word }

        init(_ word: some TableWord) { (self.word, documentation) = (word.rawValue, word.documentation) }
    }

    private static let words =
        EntropySource.allCases.map { Described($0) } + RejectReason.allCases.map { Described($0) }
        + Verdict.allCases.map { Described($0) }

    @Test(arguments: words) func wordsAreInSmallLettersWithoutSpaces(_ described: Described) {
        #expect(described.word.wholeMatch(of: /[a-z][a-z0-9]*(_[a-z0-9]+)*/) != nil)
    }

    @Test(arguments: words) func everyWordIsExplainedInOneLine(_ described: Described) {
        #expect(described.documentation.count > 10 && described.documentation.count <= 120)
        #expect(!described.documentation.contains("\n") && !described.documentation.hasSuffix("."))
    }

    /// Plans and older readers go by how the words begin.
    @Test(arguments: Verdict.allCases) func verdictsBeginAsTheirKindDoes(_ verdict: Verdict) {
        #expect(verdict.isUnusable == verdict.rawValue.hasPrefix("invalid_"))
        #expect(verdict.isRewardFailure == verdict.rawValue.hasPrefix("reward_"))
    }

    @Test(arguments: RejectReason.allCases) func rowsHoldTheWord(_ reason: RejectReason) {
        let row = RejectedRow(shard: "a", frameIndex: 3, frameOffset: 40, rolloutID: "r", reason: reason, detail: "d")
        #expect(row.reason == reason.rawValue && "\(reason)" == reason.rawValue)
        #expect(row.frameIndex == 3 && row.frameOffset == 40 && row.rolloutID == "r" && row.detail == "d")
    }

    @Test(arguments: Verdict.allCases) func scoresHoldTheWord(_ verdict: Verdict) {
        var row = ScoreRow()
        row.setVerdict(verdict)
        #expect(row.verdict == verdict.rawValue)
    }

    @Test(arguments: FinishReason.allCases) func enginesWordsAreKnownInAnyCase(_ reason: FinishReason) {
        for word in reason.words {
            #expect(FinishReason(word) == reason && FinishReason(word.uppercased()) == reason, "\(word)")
        }
        #expect(reason.ownWord.isEmpty == (reason == .unknown))
    }

    /// What is not known stays the engine's own and is taken for neither whole nor cut off.
    @Test(arguments: ["", "something", "stopp", "stop "]) func otherWordsAreUnknown(_ word: String) {
        #expect(FinishReason(word) == .unknown && !FinishReason.isTruncated(word))
    }

    @Test func cruxWritesTheWordsThatMostEnginesHave() {
        #expect(FinishReason(isStopped: true).ownWord == "stop" && FinishReason(isStopped: false).ownWord == "length")
    }
}
