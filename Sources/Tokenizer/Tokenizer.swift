import Formats
import Foundation

/// Text ↔ token ids by a checkpoint's `tokenizer.json`: byte-level BPE with added tokens, as Qwen, Llama 3 and GPT-2 use
/// it. Everything else that such a file can say is refused by name rather than guessed at.
package struct Tokenizer: Sendable {
    private let normalizer: Normalizer
    private let added: AddedTokens
    private let preTokenizer: PreTokenizer
    private let model: BytePairEncoding
    private let template: SpecialTokenTemplate
    /// Bytes of every token, by id.
    private let bytes: [Int32: [UInt8]]

    /// `path`: the file, or the checkpoint folder that holds it.
    package init(path: String) throws {
        var isFolder: ObjCBool = false
        let exists = FileManager.default.fileExists(atPath: path, isDirectory: &isFolder)
        let file = try TokenizerFile(path: exists && isFolder.boolValue ? path + "/tokenizer.json" : path)
        normalizer = try Normalizer(file.root["normalizer"])
        preTokenizer = try PreTokenizer(file.root["pre_tokenizer"])
        model = try BytePairEncoding(file.root["model"])
        added = try AddedTokens(file.root["added_tokens"])
        template = try SpecialTokenTemplate(file.root["post_processor"])
        bytes = model.bytes.merging(added.bytes) { $1 }
    }

    /// One more than the largest id.
    package var vocabularySize: Int { Int(bytes.keys.max() ?? -1) + 1 }

    package var tokenCount: Int { bytes.count }

    /// Whether an id stands for a token; ids above the tokenizer's are rows by which a model's vocabulary was padded.
    package func isKnown(_ id: Int32) -> Bool { bytes[id] != nil }

    /// `addingSpecialTokens`: what the file's template puts around a text, such as a leading <|begin_of_text|>.
    package func encode(_ text: String, addingSpecialTokens: Bool = true) -> [Int32] {
        let ids = added.split(text).flatMap { part -> [Int32] in
            switch part {
            case .token(let id): [id]
            case .text(let text): preTokenizer.split(normalizer.apply(text)).flatMap { model.encode(Array($0.utf8)) }
            }
        }
        return addingSpecialTokens ? template.apply(ids) : ids
    }

    /// Bytes that are no UTF-8 become U+FFFD. Ids that the tokenizer does not know are passed over.
    package func decode(_ ids: some Swift.Sequence<Int32>, skippingSpecialTokens: Bool = true) -> String {
        String(decoding: decodedBytes(ids, skippingSpecialTokens: skippingSpecialTokens), as: UTF8.self)
    }

    package func decodedBytes(_ ids: some Swift.Sequence<Int32>, skippingSpecialTokens: Bool = true) -> [UInt8] {
        ids.flatMap { skippingSpecialTokens && added.special.contains($0) ? [] : bytes[$0] ?? [] }
    }

    /// The id of a token by its whole text; nil where there is none.
    package func id(of token: String) -> Int32? { added.ids[token] ?? model.vocabulary[Array(token.utf8)] }
}

/// A piece of a tokenizer's JSON that knows where it stands.
struct TokenizerNode {
    let file: String
    let place: String
    let value: Any?

    subscript(key: String) -> TokenizerNode {
        TokenizerNode(file: file, place: place.isEmpty ? key : place + "." + key, value: (value as? [String: Any])?[key])
    }

    var isNull: Bool { value == nil || value is NSNull }
    var string: String? { value as? String }
    var bool: Bool? { value as? Bool }
    var int: Int? { (value as? NSNumber)?.intValue }
    var object: [String: Any]? { value as? [String: Any] }
    var list: [TokenizerNode] {
        (value as? [Any] ?? []).enumerated().map { TokenizerNode(file: file, place: "\(place)[\($0)]", value: $1) }
    }

    func error(found: String? = nil, expected: String) -> FormatError {
        FormatError(
            file: file, place: place, found: found ?? (isNull ? "nothing" : "'\(String(describing: value!).prefix(80))'"), expected: expected,
            remedy: "Crux reads byte-level BPE tokenizers, as Qwen and Llama 3 have them.")
    }

    func require<T>(_ value: T?, _ expected: String) throws -> T {
        guard let value else { throw error(expected: expected) }
        return value
    }
}

struct TokenizerFile {
    let root: TokenizerNode

    init(path: String) throws {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw FormatError(
                file: path, place: "", found: "no readable file", expected: "a tokenizer.json",
                remedy: "Give the checkpoint's folder; save its tokenizer there with save_pretrained if it has none.")
        }
        guard let object = try? JSONSerialization.jsonObject(with: data) as? [String: Any] else {
            throw FormatError(file: path, place: "", found: "text that is not a JSON object", expected: "a tokenizer.json")
        }
        root = TokenizerNode(file: path, place: "", value: object)
    }
}
