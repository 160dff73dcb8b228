import Files
import Foundation
import TestSupport
import Testing
import Tokenizer

/// Against the tokenizers library, whose answers lie in fixtures/tokenizers (conformance/make_tokenizer_fixtures.py).
@Suite struct TokenizerTests {
    private struct Case: Decodable {
        let text: String
        let ids: [Int32]
        let plain: [Int32]
        let decoded: String
        let decoded_all: String
    }

    private func cases(_ name: String) throws -> [Case] {
        let data = try #require(FileManager.default.contents(atPath: fixture("tokenizers/\(name)/cases.json")))
        return try JSONDecoder().decode([Case].self, from: data)
    }

    /// Bytes, because Swift calls canonically equal texts equal.
    private func same(_ a: String, _ b: String) -> Bool { Array(a.utf8) == Array(b.utf8) }

    @Test(arguments: ["qwen", "llama3", "gpt2"]) func everyTextBecomesTheReferenceTokensAndComesBack(_ name: String)
        throws
    {
        let tokenizer = try Tokenizer(path: fixture("tokenizers/\(name)"))
        let cases = try cases(name)
        #expect(cases.count > 100)
        for one in cases {
            #expect(tokenizer.encode(one.text) == one.ids, "\(one.text.debugDescription)")
            #expect(tokenizer.encode(one.text, addingSpecialTokens: false) == one.plain, "\(one.text.debugDescription)")
            #expect(same(tokenizer.decode(one.ids), one.decoded), "\(one.text.debugDescription)")
            #expect(
                same(tokenizer.decode(one.ids, skippingSpecialTokens: false), one.decoded_all),
                "\(one.text.debugDescription)")
        }
    }

    @Test func thePolicysTokenizerReadsItsPrompts() throws {
        let tokenizer = try Tokenizer(path: fixture("policy"))
        #expect(
            tokenizer.encode("Q: 27+45+27=?\nA: ") == [17, 16, 19, 3, 8, 11, 5, 6, 11, 3, 8, 12, 15, 20, 18, 16, 19])
        #expect(tokenizer.decode([3, 8, 13, 0]) == "27.")
        // A byte without a token is left out, as the reference does.
        #expect(tokenizer.encode("2x7") == [3, 8])
        #expect(
            tokenizer.id(of: "<|endoftext|>") == 0 && tokenizer.id(of: "7") == 8 && tokenizer.id(of: "no such") == nil)
    }

    @Test func whatItCanNotReadIsRefusedByName() throws {
        let folder = try TemporaryDirectory()
        func refusal(_ json: String) throws -> String {
            try json.write(toFile: folder("tokenizer.json"), atomically: true, encoding: .utf8)
            do { _ = try Tokenizer(path: folder.path) } catch { return "\(error)" }
            return ""
        }
        let whole = try String(contentsOfFile: fixture("policy/tokenizer.json"), encoding: .utf8)
        func changed(_ from: String, _ to: String) throws -> String {
            try refusal(whole.replacingOccurrences(of: from, with: to))
        }
        #expect(try refusal("{").contains("damaged"))
        #expect(try refusal("[]").contains("found a list of 0, expected a tokenizer.json"))
        #expect(try changed("\"type\": \"BPE\"", "\"type\": \"Unigram\"").contains("model.type: found 'Unigram'"))
        #expect(
            try changed("\"normalizer\": null", "\"normalizer\": {\"type\": \"Lowercase\"}").contains(
                "normalizer.type: found 'Lowercase'"))
        #expect(
            try changed(
                "\"type\": \"ByteLevel\",\n    \"add_prefix_space\": false,\n    \"trim_offsets\": true,\n    \"use_regex\": false",
                "\"type\": \"Metaspace\""
            )
            .contains("ByteLevel"))
        #expect(try changed("\"byte_fallback\": false", "\"byte_fallback\": true").contains("byte_fallback"))
        #expect(try changed("\"merges\": []", "\"merges\": [\"q w\"]").contains("merge 0"))
        do { _ = try Tokenizer(path: folder("nowhere")) } catch { #expect("\(error)".contains("no readable file")) }
    }

    @Test func stopTokensComeFromTheGenerationConfigurationFirst() throws {
        let folder = try TemporaryDirectory()
        func write(_ name: String, _ json: String) throws {
            try json.write(toFile: folder(name), atomically: true, encoding: .utf8)
        }
        #expect(try StopTokens.read(folder.path) == nil)
        try write("config.json", #"{"eos_token_id": 7}"#)
        #expect(try StopTokens.read(folder.path) == [7])
        try write("generation_config.json", #"{"eos_token_id": [3, 5]}"#)
        #expect(try StopTokens.read(folder.path) == [3, 5])
        try write("generation_config.json", #"{"eos_token_id": null}"#)
        #expect(try StopTokens.read(folder.path) == [7])
        // What is there and can't be read is not passed over: rollouts would end elsewhere.
        for damaged in [
            "{", "", "[7]", #"{"eos_token_id": 7} x"#, #"{"eos_token_id": "7"}"#, #"{"eos_token_id": [1.5]}"#,
            #"{"eos_token_id": -1}"#,
        ] {
            try write("generation_config.json", damaged)
            #expect(throws: FormatError.self, "\(damaged)") { try StopTokens.read(folder.path) }
        }
    }
}
