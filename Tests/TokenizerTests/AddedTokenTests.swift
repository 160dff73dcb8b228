import Files
import Foundation
import TestSupport
import Testing
import Tokenizer

/// Added tokens as the tokenizers library has them; its answers, by tokenizers 0.23.3 and transformers 5.24.0, stand
/// here.
@Suite struct AddedTokenTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    private func texts(_ name: String) throws -> [String] {
        try JSONDecoder().decode(
            [String].self, from: try Data(contentsOf: URL(fileURLWithPath: fixture("cases/\(name)/texts.json"))))
    }

    @Test func aSingleWordStandsBetweenNonWords() throws {
        let tokenizer = try Tokenizer(path: fixture("cases/B03-single-word"))
        let expected: [[Int32]] = [
            [158, 222, 242, 700, 158, 222, 242], [159, 222, 224, 700, 159, 222, 224],
            [158, 222, 250, 700, 158, 222, 251], [700, 126, 254, 87],
            [700, 172, 253, 246, 222], [126, 110, 700],
        ]
        #expect(try texts("B03-single-word").map { tokenizer.encode($0) } == expected)
        // Letters, marks, digits, connectors and joiners of any script are word characters.
        for neighbour in ["é", "中", "Ⅻ", "º", "\u{301}", "\u{200d}", "٣", "‿"] {
            #expect(
                !tokenizer.encode(neighbour + "foo").contains(700)
                    && !tokenizer.encode("foo" + neighbour).contains(700), "\(neighbour)")
        }
    }

    @Test func normalizedTokensAreFoundInNormalisedText() throws {
        let tokenizer = try Tokenizer(path: fixture("cases/B05-normalized-token"))
        #expect(try texts("B05-normalized-token").map { tokenizer.encode($0) } == [[700]])
        #expect(tokenizer.decode([700], skippingSpecialTokens: false).utf8.elementsEqual("caf\u{e9}".utf8))
    }

    @Test func aPrefixSpaceIsAskedForByCodePoints() throws {
        let tokenizer = try Tokenizer(path: fixture("cases/B06-prefix-space"))
        #expect(try texts("B06-prefix-space").map { tokenizer.encode($0) } == [[220, 136, 230, 64], [632, 235, 64]])
    }

    /// As the Standard says. The library goes by Unicode 10 and leaves the last text's marks as they stand, [52, 137,
    /// 103, 172, …].
    @Test func nfcIsTheStandards() throws {
        let tokenizer = try Tokenizer(path: fixture("cases/B07-nfc"))
        let expected: [[Int32]] = [
            [87, 172, 254, 223, 223, 136, 223, 88], [87, 172, 238, 223, 223, 136, 222, 88],
            [172, 239, 121, 238, 136, 223],
            [87, 156, 111, 233, 88], [157, 227, 98, 169, 241, 101, 157, 228, 100],
            [52, 172, 238, 121, 238, 137, 103, 157, 235, 251],
        ]
        #expect(try texts("B07-nfc").map { tokenizer.encode($0) } == expected)
    }

    @Test func tokensThatOnlyTheConfigurationKnows() throws {
        let tokenizer = try Tokenizer(path: fixture("cases/B08-added-in-config"))
        #expect(try texts("B08-added-in-config").map { tokenizer.encode($0) } == [[64, 700, 65]])
        #expect(tokenizer.decode([64, 700, 65]) == "a<think>b" && tokenizer.notes.isEmpty)
    }

    @Test func aSecondBeginningIsNotAdded() throws {
        let tokenizer = try Tokenizer(path: fixture("cases/B01-bos-twice"))
        let chat = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhat is 2+2?<|eot_id|>"
        func heads(_ text: String) -> [[Int32]] {
            SpecialTokenRule.allCases.map { Array(tokenizer.encode(text, specialTokens: $0).prefix(2)) }
        }
        // auto, always, never
        #expect(heads(chat) == [[700, 702], [700, 700], [700, 702]])
        #expect(heads("What") == [[700, 54], [700, 54], [54, 319]])
    }

    // MARK: files beside tokenizer.json

    private func read(_ files: [String: String], changing change: (inout [String: Any]) -> Void = { _ in }) throws
        -> Tokenizer
    {
        let source = try Data(contentsOf: URL(fileURLWithPath: fixture("cases/B08-added-in-config/tokenizer.json")))
        var object = try #require(try JSONSerialization.jsonObject(with: source) as? [String: Any])
        change(&object)
        let place = try folder.folder("\(files.hashValue)")
        try JSONSerialization.data(withJSONObject: object).write(to: URL(fileURLWithPath: place + "/tokenizer.json"))
        for (name, text) in files { try text.write(toFile: place + "/" + name, atomically: true, encoding: .utf8) }
        return try Tokenizer(path: place)
    }

    private func token(_ content: String, _ more: String = "") -> String {
        #"{"content": "\#(content)", "lstrip": false, "rstrip": false, "normalized": false, "single_word": false\#(more)}"#
    }

    private func with(_ content: String, id: Int) -> (inout [String: Any]) -> Void {
        { object in
            object["added_tokens"] = [
                [
                    "id": id, "content": content, "lstrip": false, "rstrip": false, "normalized": false,
                    "single_word": false, "special": false,
                ]
            ]
        }
    }

    @Test(arguments: [
        ["added_tokens.json": #"{"<think>": 700}"#],
        ["tokenizer_config.json": #"{"eos_token": "<think>"}"#],
        ["tokenizer_config.json": #"{"additional_special_tokens": ["<think>"]}"#],
        ["tokenizer_config.json": #"{"extra_special_tokens": ["<think>"]}"#],
        ["tokenizer_config.json": "{}", "special_tokens_map.json": #"{"eos_token": {"content": "<think>"}}"#],
    ]) func everyFileThatTransformersReadsIsRead(_ files: [String: String]) throws {
        let tokenizer = try read(files)
        #expect(tokenizer.encode("a<think>b") == [64, 700, 65])
        #expect(tokenizer.decode([64, 700, 65]) == (files["added_tokens.json"] == nil ? "ab" : "a<think>b"))
    }

    @Test func whereFlagsDifferTheConfigurationWinsAndItIsSaid() throws {
        let flags = token("<think>").replacingOccurrences(of: #""lstrip": false"#, with: #""lstrip": true"#)
        let tokenizer = try read(
            ["tokenizer_config.json": #"{"added_tokens_decoder": {"700": \#(flags)}}"#],
            changing: with("<think>", id: 700))
        #expect(tokenizer.encode("a  <think>b") == [64, 700, 65] && tokenizer.notes.count == 1)
        #expect(tokenizer.notes.first?.contains("'<think>'") == true)
    }

    @Test(arguments: [
        (#"{"900": TOKEN}"#, "<other>", 700, "'<think>' with id 900"),
        (#"{"703": TOKEN}"#, "<think>", 700, "expected id 700"),
        (#"{"700": TOKEN}"#, "<other>", 700, "'<think>' with id 700"),
        (#"{"x": TOKEN}"#, "<other>", 700, "the key 'x'"),
        (#"{"701": {"content": 3}}"#, "<other>", 700, "an added token with content"),
        ("[]", "<other>", 700, "an object"),
    ]) func contradictionsBetweenFilesAreNamed(_ decoder: String, _ content: String, _ id: Int, _ message: String)
        throws
    {
        let files = [
            "tokenizer_config.json":
                #"{"added_tokens_decoder": \#(decoder.replacingOccurrences(of: "TOKEN", with: token("<think>")))}"#
        ]
        do {
            _ = try read(files, changing: with(content, id: id))
            Issue.record("accepted: \(decoder)")
        } catch { #expect("\(error)".contains(message) && "\(error)".contains("tokenizer_config.json"), "\(error)") }
    }

    @Test func damagedFilesBesideItAreRefused() throws {
        for name in ["tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"] {
            #expect(throws: FormatError.self, "\(name)") { try read([name: "{"]) }
            #expect(throws: FormatError.self, "\(name)") { try read([name: "[]"]) }
        }
    }

    // MARK: bytes

    /// Two writings that Unicode calls equivalent are two tokens, in the vocabulary and among added tokens.
    @Test func canonicallyEquivalentTokensStayApart() throws {
        let raw = "e\u{301}<", composed = "\u{e9}<"
        let json = try String(contentsOfFile: fixture("cases/B08-added-in-config/tokenizer.json"), encoding: .utf8)
        let entry = { (text: String, id: Int) in
            #"{"id": \#(id), "content": "\#(text)", "lstrip": false, "rstrip": false, "normalized": false, "single_word": false, "special": false}"#
        }
        let place = try folder.folder("apart")
        let added = #""added_tokens": [\#(entry(raw, 700)), \#(entry(composed, 701))]"#
        let changed = json.replacing(/"added_tokens":\s*\[\]/, with: added)
        try #require(changed != json)
        try changed.write(toFile: place + "/tokenizer.json", atomically: true, encoding: .utf8)
        let tokenizer = try Tokenizer(path: place)
        #expect(
            tokenizer.encode(raw + composed) == [700, 701] && tokenizer.id(of: raw) == 700
                && tokenizer.id(of: composed) == 701)
        #expect(
            tokenizer.decode([700]).utf8.elementsEqual(raw.utf8)
                && tokenizer.decode([701]).utf8.elementsEqual(composed.utf8))
        // The same in model.vocab, as tokens that no byte stands for.
        let vocabulary = json.replacing(#""vocab":{"#, with: #""vocab":{"\#(raw)": 700, "\#(composed)": 701, "#)
        let spaced =
            vocabulary == json
            ? json.replacing(/"vocab":\s*\{/, with: #""vocab": {"\#(raw)": 700, "\#(composed)": 701, "#) : vocabulary
        try spaced.write(toFile: place + "/tokenizer.json", atomically: true, encoding: .utf8)
        let both = try Tokenizer(path: place)
        #expect(both.isKnown(700) && both.isKnown(701) && both.tokenCount == 702)
    }

    @Test(arguments: [
        "{\"a\": \"\\ud800\"}", "{\"a\": 1} 2", "{\"a\": 01}", "{\"a\": nul}", "{\"a\": \"\u{1}\"}", "\u{feff}{}",
        "{\"a\": 1e999}",
    ])
    func textThatIsNoJSONIsRefused(_ text: String) throws {
        try text.write(toFile: folder("tokenizer.json"), atomically: true, encoding: .utf8)
        #expect(throws: FormatError.self) { try Tokenizer(path: folder.path) }
    }

    @Test func nestingIsBounded() throws {
        let deep = String(repeating: "[", count: 200_000)
        try ("{\"a\": " + deep).write(toFile: folder("tokenizer.json"), atomically: true, encoding: .utf8)
        do { _ = try Tokenizer(path: folder.path) } catch { #expect("\(error)".contains("nested"), "\(error)") }
    }

    @Test func equalTextsOfTwoNormalizedTokensAreRefused() throws {
        let json = try String(contentsOfFile: fixture("cases/B05-normalized-token/tokenizer.json"), encoding: .utf8)
        let changed = json.replacing("<X>", with: "cafe\u{301}").replacing(
            #""normalized": false"#, with: #""normalized": true"#
        )
        .replacing(#""normalized":false"#, with: #""normalized":true"#)
        try changed.write(toFile: folder("tokenizer.json"), atomically: true, encoding: .utf8)
        do {
            _ = try Tokenizer(path: folder.path)
            Issue.record("accepted")
        } catch { #expect("\(error)".contains("tokens 700 and 701"), "\(error)") }
    }
}
