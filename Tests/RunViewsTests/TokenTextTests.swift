import RunViews
import TestSupport
import Testing
import Tokenizer

@Suite struct TokenTextTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let bytes: [UInt8]
        let shown: String
        var testDescription: String { shown }

        init(_ bytes: [UInt8], _ shown: String) { (self.bytes, self.shown) = (bytes, shown) }
        init(_ text: String, _ shown: String) { self.init(Array(text.utf8), shown) }
    }

    static let cases = [
        Case(" Wait", " Wait"),
        Case("a\nb", "a⏎\nb"),
        Case("\t", "⇥"),
        Case("\u{1b}[31m", "␛[31m"),
        Case("\u{7f}", "␡"),
        Case("\u{202e}abc", "⟨U+202E⟩abc"),
        Case("\u{9b}", "⟨U+9B⟩"),
        Case("\u{200b}", "⟨U+200B⟩"),
        Case("👩‍🚀", "👩‍🚀"),
        Case("<script>", "<script>"),
        // Pieces of a character that three tokens may share: its beginning, its middle, and one within a text.
        Case([0xf0, 0x9f], "⟨F0 9F⟩"),
        Case([0x98], "⟨98⟩"),
        Case([0x61, 0xe2, 0x96], "a⟨E2 96⟩"),
        Case([0x96, 0x61], "⟨96⟩a"),
        Case([0xe2, 0x61], "⟨E2⟩a"),
        Case([0xc0, 0x80], "⟨C0 80⟩"),
        Case([0xff, 0xfe], "⟨FF⟩⟨FE⟩"),
        Case([], ""),
    ]

    @Test(arguments: cases) func showsWhatCannotBeSeen(_ one: Case) {
        #expect(TokenText.visible(one.bytes) == one.shown)
    }

    @Test func tokensWithoutTokenizerAreIDs() { #expect(TokenText(nil).text(17) == "⟨#17⟩") }

    @Test func tokensHaveTheirTexts() throws {
        let tokenizer = try Tokenizer(path: fixture("policy"))
        let texts = TokenText(tokenizer)
        let ids = tokenizer.encode("12+34=", addingSpecialTokens: false)
        #expect(ids.map(texts.text).joined() == "12+34=")
        #expect(texts.text(1_000_000) == "⟨#1000000⟩")
    }

    @Test func tableCellsHaveNoLineBreaks() { #expect(TokenText.oneLine("a⏎\nb") == "a⏎b") }
}
