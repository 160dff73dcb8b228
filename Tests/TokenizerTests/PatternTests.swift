import Foundation
import Testing
import Tokenizer

/// Patterns beside ICU, which tokenizers' patterns were read by before.
@Suite struct PatternTests {
    private static let short = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    static let patterns = [
        short + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#,
        #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#,
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"# + short
            + #"?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}{1,3}|\s+"#,
        ##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"##,
        #"[一-龥぀-ゟ゠-ヿ]+"#, #"a(b|cd)*?e|(?=\d)\d{2,}|x{2}y?+"#, #"\p{N}++|\p{L}?+[^\p{L}]"#, #"(?:ab|a)(?:c|bcd)(?!d)"#,
        #"[^\S\n]+|\P{L}"#,
    ]

    private static let texts = [
        "I'LL don't we'Ve x'S 'ſ 12345 naïve   \n\n  end ", "Hello, wörld! ÀÉ中文テスト½Ⅻ \u{85}\u{b}x",
        "abcdeabeacdcde 123 1 xxyxx",
        "e\u{301}a\u{300} \u{1d400}😀  \t\r\n x", "", " ", "\n", "aaaaaaaaaaaaaaaaaaaaaaaaaaaab abcd abbcd abcdd",
        "$100.50 [a] ^_`{|}~",
    ]

    @Test(arguments: patterns) func thePartThatIsReadHereIsICUs(_ pattern: String) throws {
        let program = try #require(PatternProgram(pattern: pattern), "left to ICU")
        let icu = try ForeignPattern(pattern: pattern)
        for text in Self.texts {
            let bytes = Array(text.utf8)
            var found: [Range<Int>] = [], expected: [Range<Int>] = []
            bytes.withUnsafeBufferPointer { program.matches(in: $0) { found.append($0) } }
            icu.matches(in: bytes[...]) { expected.append($0) }
            #expect(found == expected, "\(pattern) in \(text.debugDescription)")
        }
    }

    /// What is beyond it, ICU reads.
    @Test(arguments: [
        #"\bx"#, "(?<=a)b", "(?<name>a)", #"\p{Script=Han}+"#, "^a", "a$", "(?i:ss)", "[a&&b]", "(a*)*", #"\u0041"#,
    ])
    func othersAreLeftToICU(_ pattern: String) {
        #expect(PatternProgram(pattern: pattern).map { _ in 1 } == nil)
    }
}
