import Foundation
import SlurmJobs
import StageSupport
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

    @Test func aValueMayBeForOneStage() {
        #expect(StageValue(argument: "score=8") == StageValue(stage: .score, "8"))
        #expect(StageValue(argument: "--gres=gpu:1") == StageValue("--gres=gpu:1"))
        #expect(StageValue(argument: "update=--gres=gpu:1") == StageValue(stage: .update, "--gres=gpu:1"))
        let values = ["2", "score=8", "rollout=4", "score=9"].compactMap { StageValue(argument: $0) }
        #expect(values.value(of: .score) == "9" && values.value(of: .ingest) == "2")
        #expect(values.values(of: .score) == ["2", "8", "9"] && values.values(of: .plan) == ["2"])
        #expect([StageValue]().value(of: .plan) == nil)
    }
}
