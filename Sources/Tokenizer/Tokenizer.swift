import Files
import Formats
import Foundation

/// Text ↔ token ids by a checkpoint's `tokenizer.json`: byte-level BPE with added tokens, as Qwen, Llama 3 and GPT-2
/// use it. Everything else that such a file can say is refused by name rather than guessed at. Tokens are told apart by
/// bytes.
package struct Tokenizer: Sendable {
    private let added: AddedTokens
    private let preTokenizer: PreTokenizer
    private let model: BytePairEncoding
    private let template: SpecialTokenTemplate
    /// Bytes of every token, by id.
    private let bytes: [Int32: [UInt8]]
    /// What a reader should know: where the files beside tokenizer.json say something else.
    package let notes: [String]

    /// `path`: the file, or the checkpoint folder that holds it; then the files beside it are read for added tokens
    /// too.
    package init(path: String) throws {
        let isFolder = try Folder.isFolder(path), file = isFolder ? path + "/tokenizer.json" : path
        let root = TokenizerNode(file: file, place: "", value: try Self.read(file))
        guard root.object != nil else { throw root.error(expected: "a tokenizer.json") }
        let normalizer = try Normalizer(root["normalizer"])
        preTokenizer = try PreTokenizer(root["pre_tokenizer"])
        model = try BytePairEncoding(root["model"])
        let tokens = try AddedTokenFiles(root["added_tokens"], model, folder: isFolder ? path : nil)
        added = try AddedTokens(tokens.tokens, normalizer, file: file)
        template = try SpecialTokenTemplate(root["post_processor"])
        bytes = model.bytes.merging(added.bytes) { $1 }
        notes = tokens.notes
    }

    private static func read(_ file: String) throws -> JSONValue {
        guard try fileExists(file) else {
            throw FormatError(
                file: file, place: "", found: "no readable file", expected: "a tokenizer.json",
                remedy: "Give the checkpoint's folder; save its tokenizer there with save_pretrained if it has none."
                    + ModelFolder.remark(file))
        }
        return try JSONValue(file: file, expected: "a tokenizer.json")
    }

    /// Every file that the tokens depend on, for manifests; `path` as `init` takes it.
    package static func inputPaths(_ path: String) throws -> [String] {
        guard try Folder.isFolder(path) else { return [path] }
        return try (["tokenizer.json"] + AddedTokenFiles.names).map { path + "/" + $0 }.filter(fileExists)
    }

    /// One more than the largest id.
    package var vocabularySize: Int { Int(bytes.keys.max() ?? -1) + 1 }

    package var tokenCount: Int { bytes.count }

    /// Whether an id stands for a token; ids above the tokenizer's are rows by which a model's vocabulary was padded.
    package func isKnown(_ id: Int32) -> Bool { bytes[id] != nil }

    /// `specialTokens`: whether the file's template puts something around a text, such as a leading <|begin_of_text|>.
    package func encode(_ text: String, specialTokens: SpecialTokenRule) -> [Int32] {
        let ids = added.split(text).flatMap { part -> [Int32] in
            switch part {
            case .token(let id): [id]
            case .text(let text): preTokenizer.split(text).flatMap { model.encode(Array($0.utf8)) }
            }
        }
        return template.apply(ids, specialTokens)
    }

    package func encode(_ text: String, addingSpecialTokens: Bool = true) -> [Int32] {
        encode(text, specialTokens: addingSpecialTokens ? .always : .never)
    }

    /// Bytes that are no UTF-8 become U+FFFD. Ids that the tokenizer does not know are passed over.
    package func decode(_ ids: some Swift.Sequence<Int32>, skippingSpecialTokens: Bool = true) -> String {
        String(decoding: decodedBytes(ids, skippingSpecialTokens: skippingSpecialTokens), as: UTF8.self)
    }

    package func decodedBytes(_ ids: some Swift.Sequence<Int32>, skippingSpecialTokens: Bool = true) -> [UInt8] {
        ids.flatMap { skippingSpecialTokens && added.special.contains($0) ? [] : bytes[$0] ?? [] }
    }

    /// The id of a token by its whole text; nil where there is none.
    package func id(of token: String) -> Int32? { added.id(of: token) ?? model.vocabulary[Array(token.utf8)] }
}
