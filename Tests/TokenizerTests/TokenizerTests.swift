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

    @Test(arguments: [
        "qwen", "llama3", "gpt2", "qwen35", "glm4", "olmo2", "tekken", "o200k", "llama2", "mistral", "gemma", "phi3",
    ]) func everyTextBecomesTheReferenceTokensAndComesBack(_ name: String)
        throws
    {
        let tokenizer = try Tokenizer(path: fixture("tokenizers/\(name)"))
        let cases = try cases(name)
        #expect(cases.count > 60)
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
                "\"type\": \"BertPreTokenizer\""
            )
            .contains("BertPreTokenizer"))
        #expect(try changed("\"byte_fallback\": false", "\"byte_fallback\": true").contains("byte_fallback"))
        #expect(try changed("\"dropout\": null", "\"dropout\": 0.1").contains("dropout"))
        #expect(
            try changed("\"decoder\": {\n    \"type\": \"ByteLevel\"", "\"decoder\": {\n    \"type\": \"CTC\"")
                .contains(
                    "decoder.type: found 'CTC'"))
        #expect(try changed("\"merges\": []", "\"merges\": [\"q w\"]").contains("merge 0"))
        do { _ = try Tokenizer(path: folder("nowhere")) } catch { #expect("\(error)".contains("no readable file")) }
    }

    /// Other forms of a tokenizer are named, with what makes a tokenizer.json of them.
    @Test(arguments: ["tekken.json", "tokenizer.model"]) func otherFormsAreRefused(_ name: String) throws {
        let folder = try TemporaryDirectory()
        try "x".write(toFile: folder(name), atomically: true, encoding: .utf8)
        do {
            _ = try Tokenizer(path: folder.path)
            Issue.record("accepted")
        } catch { #expect("\(error)".contains(name) && "\(error)".contains("save_pretrained"), "\(error)") }
    }

    /// A published file with a wrong pattern is followed, and said.
    @Test func mistralsWrongPatternIsSaid() throws {
        let folder = try TemporaryDirectory()
        for (name, model, notes) in [("tekken", "mistral", 0), ("glm4", "mistral", 1), ("glm4", "glm4", 0)] {
            let place = try folder.folder(name + model)
            try FileManager.default.copyItem(
                atPath: fixture("tokenizers/\(name)/tokenizer.json"), toPath: place + "/tokenizer.json")
            try #"{"model_type": "\#(model)"}"#.write(
                toFile: place + "/config.json", atomically: true, encoding: .utf8)
            #expect(try Tokenizer(path: place).notes.count == notes, "\(name) \(model)")
        }
    }

    // MARK: single steps

    private struct Variants {
        let files: [String: Any]
        let variants: [[String: Any]]

        init() throws {
            let data = try #require(FileManager.default.contents(atPath: fixture("tokenizers/variants.json")))
            let object = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
            files = try #require(object["files"] as? [String: Any])
            variants = try #require(object["variants"] as? [[String: Any]])
        }

        /// A base file with the variant's change; keys of the model one by one.
        func file(_ variant: [String: Any]) throws -> Data {
            let name = try #require(variant["file"] as? String)
            var file = try #require(files[name] as? [String: Any])
            for (key, value) in try #require(variant["change"] as? [String: Any]) {
                if key == "model", let own = file["model"] as? [String: Any], let change = value as? [String: Any] {
                    file["model"] = own.merging(change) { $1 }
                } else {
                    file[key] = value
                }
            }
            return try JSONSerialization.data(withJSONObject: file)
        }
    }

    /// Each normalizer, pre-tokenizer, decoder and option of BPE, beside the library.
    @Test func everyStepIsTheLibrarys() throws {
        let variants = try Variants(), folder = try TemporaryDirectory()
        #expect(variants.variants.count > 50)
        for variant in variants.variants {
            let name = try #require(variant["name"] as? String)
            try variants.file(variant).write(to: URL(fileURLWithPath: folder("tokenizer.json")))
            let tokenizer = try Tokenizer(path: folder("tokenizer.json"))
            let cases = try JSONDecoder().decode(
                [Case].self, from: try JSONSerialization.data(withJSONObject: try #require(variant["cases"])))
            for one in cases {
                #expect(tokenizer.encode(one.text) == one.ids, "\(name): \(one.text.debugDescription)")
                let text = tokenizer.decode(one.ids, skippingSpecialTokens: false)
                #expect(same(text, one.decoded_all), "\(name): \(one.text.debugDescription) \(text.debugDescription)")
            }
        }
    }

    /// A whole text may be one piece: merging must not take its square.
    @Test func aLongTextWithoutSpacesEnds() throws {
        let tokenizer = try Tokenizer(path: fixture("tokenizers/llama2"))
        let text = String(repeating: "the quick brown ", count: 12_500), start = ContinuousClock.now
        let ids = tokenizer.encode(text)
        #expect(ids.count > 10_000 && tokenizer.decode(ids).utf8.count == text.utf8.count)
        #expect(ContinuousClock.now - start < .seconds(60))
    }

    /// What is sampled is seen token by token: bytes, and spaces where SentencePiece writes marks.
    @Test func tokensOfCharactersHaveBytes() throws {
        let tokenizer = try Tokenizer(path: fixture("tokenizers/llama2"))
        let ids = tokenizer.encode("é中 the", specialTokens: .never)
        #expect(String(decoding: tokenizer.decodedBytes(ids), as: UTF8.self) == " é中 the")
        #expect(tokenizer.decode(ids) == "é中 the" && tokenizer.decodedBytes([ids[0]]).first == 0x20)
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
