import Foundation
import Models
import TestSupport
import Testing

@Suite struct StopConditionTests {
    /// Pieces of text until a stop string is complete: how many were needed, which string, and the text before it.
    private func stop(_ texts: [String], _ pieces: [[UInt8]]) -> (pieces: Int, text: String, before: String)? {
        var search = StopTextSearch(texts), seen: [UInt8] = []
        for (index, piece) in pieces.enumerated() {
            seen += piece
            if let found = search.append(piece) {
                return (index + 1, found.text, String(decoding: seen.prefix(found.start), as: UTF8.self))
            }
        }
        return nil
    }

    private func pieces(_ texts: String...) -> [[UInt8]] { texts.map { Array($0.utf8) } }

    @Test func aStringIsFoundAcrossPiecesAndAtTheFirstThatCompletesIt() throws {
        for cut in ["Answer: 7\n\nQ: 8", "Answer: 7\n\nQ: "] {
            // Whatever the pieces' length, the string ends in the first piece that has its last byte.
            for length in 1...cut.utf8.count {
                let bytes = Array(cut.utf8)
                let pieces = stride(from: 0, to: bytes.count, by: length).map {
                    Array(bytes[$0..<min(bytes.count, $0 + length)])
                }
                let found = try #require(stop(["\n\nQ:"], pieces))
                #expect(
                    found.before == "Answer: 7" && found.pieces == (13 + length - 1) / length, "pieces of \(length)")
            }
        }
        #expect(stop(["\n\nQ:"], pieces("Answer", ": 7\n", "\nQ", " :")) == nil)
    }

    @Test func aCharacterMayBeCutByPieces() throws {
        let bytes = Array("a😀b".utf8)
        let found = try #require(stop(["😀"], bytes.map { [$0] }))
        #expect(found.pieces == 5 && found.before == "a")
        // The first three bytes of it are no such character, nor is another that ends alike.
        #expect(
            stop(["😀"], [Array(bytes[0..<4]), Array("x".utf8)]) == nil && stop(["é"], [[0xe3, 0xa9, 0xa9]]) == nil)
    }

    @Test func equalityIsThatOfCodePoints() {
        #expect(stop(["\u{e9}"], pieces("e\u{301}")) == nil)
        #expect(stop(["e\u{301}"], pieces("e", "\u{301}"))?.pieces == 2)
        // A letter that a mark follows is found all the same: engines compare code points, not what one sees.
        #expect(stop(["e"], pieces("e\u{301}"))?.pieces == 1)
    }

    @Test func ofSeveralTheOneThatEndsFirstWinsThenTheListsOrder() {
        #expect(stop(["cd", "b"], pieces("abcd"))?.text == "b")
        #expect(stop(["b", "cd"], pieces("abcd"))?.text == "b")
        #expect(stop(["abc", "bc"], pieces("a", "bc"))?.text == "abc")
        #expect(stop(["bc", "abc"], pieces("a", "bc"))?.text == "bc")
        #expect(stop(["aab"], pieces("a", "a", "a", "b"))?.before == "a")
    }

    @Test func aLongTextIsForgottenButItsLengthIsNot() throws {
        let long = (0..<1000).map { _ in Array("0123456789".utf8) } + pieces("#", "##")
        let found = try #require(stop(["###"], long))
        #expect(found.before.utf8.count == 10_000 && found.pieces == 1002)
    }
}
