import Files
import Foundation
import TestSupport
import Testing

@Suite struct ShellTextTests {
    private static let words = [
        "", "plain-word.arrow", "two words", "it's", "a\"b", "back\\slash", "$HOME `id` $(id)", "*?[x]{a,b}~", "a\nb",
        "--stop=\n\n", "#no comment", "!history", "ä→", "'", "''", "-n", "a;b&c|d>e<f", "tab\there", "x=1",
    ]

    /// bash itself says what it makes of them.
    @Test(arguments: words) func bashTakesAQuotedWordBackAsItWas(_ word: String) throws {
        let said = try Executable(path: "/bin/bash").run(["-c", "printf '%s|' \(ShellText.quoted(word)) end"])
        #expect(said.status == 0 && said.output == word + "|end|", "\(said.output) \(said.errors)")
    }

    @Test func quotedWordsAreReadAsTheyWere() throws {
        #expect(try ShellText.words(ShellText.quoted(Self.words)) == Self.words)
        #expect(ShellText.quoted(["a/b.c", "--set", "x=1,2"]) == "a/b.c --set x=1,2")
    }

    @Test func wordsAreThoseOfAShell() throws {
        #expect(
            try ShellText.words(#" --reward math  --stop "it's" '' a\ b "#) == [
                "--reward", "math", "--stop", "it's", "", "a b",
            ])
        #expect(try ShellText.words(#"'a\b' "c\"d""#) == [#"a\b"#, #"c"d"#])
        for open in ["'a", "\"a", "a\\"] { #expect(throws: ShellText.OpenQuote.self) { try ShellText.words(open) } }
    }
}
