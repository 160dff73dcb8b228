import Files
import Formats
import Foundation

/// Text ↔ token ids by a checkpoint's `tokenizer.json`: BPE of bytes (Qwen, Llama 3, Tekken, o200k) or of characters with
/// bytes for unknown ones (Llama 2, Mistral, Gemma, Phi-3), with added tokens. Everything else that such a file can say is refused by name rather than guessed at. Tokens are told apart by
/// bytes.
package struct Tokenizer: Sendable {
    private let added: AddedTokens
    private let preTokenizer: PreTokenizer
    private let model: BytePairEncoding
    private let template: SpecialTokenTemplate
    private let decoder: (any DecoderStep)?
    /// Whether tokens are put together as bytes; else as texts, step by step.
    private let writesBytes: Bool
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
        model = try BytePairEncoding(root["model"], writesBytes: preTokenizer.writesBytes)
        let steps = root["decoder"].isNull ? nil : try DecoderRegistry.step(root["decoder"])
        // Tokens of bytes without a decoder are still bytes.
        writesBytes =
            preTokenizer.writesBytes && (steps == nil || root["decoder"]["type"].string == ByteLevelDecoder.name)
        decoder = steps
        let tokens = try AddedTokenFiles(root["added_tokens"], model, folder: isFolder ? path : nil)
        added = try AddedTokens(tokens.tokens, normalizer, file: file)
        template = try SpecialTokenTemplate(root["post_processor"])
        bytes = Self.bytes(of: model, steps, isByteLevel: preTokenizer.writesBytes).merging(added.bytes) { $1 }
        let note = isFolder ? try MistralPattern.note(root, folder: path) : nil
        notes = tokens.notes + [note].compactMap { $0 }
    }

    private static func bytes(
        of model: BytePairEncoding, _ decoder: (any DecoderStep)?, isByteLevel: Bool
    ) -> [Int32: [UInt8]] {
        model.entryTexts.mapValues { text in
            let own = Array(text.utf8)
            return decoder?.bytes(of: own) ?? (isByteLevel ? ByteAlphabet.bytes(of: text) ?? own : own)
        }
    }

    /// Files that others make a tokenizer of.
    private static let foreign = ["tekken.json", "tokenizer.model", "vocab.json", "spiece.model"]

    private static func read(_ file: String) throws -> JSONValue {
        let folder = String(file.dropLast("tokenizer.json".count))
        if try !fileExists(file), file.hasSuffix("/tokenizer.json"),
            let other = try foreign.first(where: { try fileExists(folder + $0) })
        {
            throw FormatError(
                file: folder + other, place: "", found: "a tokenizer in another form than tokenizer.json",
                expected: "a tokenizer.json beside it",
                remedy: "AutoTokenizer.from_pretrained(…).save_pretrained(…) of transformers writes one.")
        }
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
        var ids: [Int32] = [], pieces: [Piece] = [], work = BytePairEncoding.Workspace()
        for part in added.split(text) {
            switch part {
            case .token(let id): ids.append(id)
            case .text(let piece):
                pieces.removeAll(keepingCapacity: true)
                preTokenizer.split(piece, into: &pieces)
                for piece in pieces { model.encode(piece.bytes, &work, into: &ids) }
            }
        }
        return template.apply(ids, specialTokens)
    }

    package func encode(_ text: String, addingSpecialTokens: Bool = true) -> [Int32] {
        encode(text, specialTokens: addingSpecialTokens ? .always : .never)
    }

    /// Bytes that are no UTF-8 become U+FFFD. Ids that the tokenizer does not know are passed over.
    package func decode(_ ids: some Swift.Sequence<Int32>, skippingSpecialTokens: Bool = true) -> String {
        if writesBytes {
            return String(decoding: decodedBytes(ids, skippingSpecialTokens: skippingSpecialTokens), as: UTF8.self)
        }
        let texts = ids.compactMap { id in
            skippingSpecialTokens && added.special.contains(id)
                ? nil : added.bytes[id].map { String(decoding: $0, as: UTF8.self) } ?? model.entryTexts[id]
        }
        return decoder?.apply(texts).joined() ?? texts.joined(separator: " ")
    }

    /// Each token's own bytes, one behind the other: what a text has so far while it is sampled. `decode` of the whole
    /// may leave out a space that SentencePiece's tokenizers put at the very beginning.
    package func decodedBytes(_ ids: some Swift.Sequence<Int32>, skippingSpecialTokens: Bool = true) -> [UInt8] {
        ids.flatMap { skippingSpecialTokens && added.special.contains($0) ? [] : bytes[$0] ?? [] }
    }

    /// The id of a token by its whole text; nil where there is none.
    package func id(of token: String) -> Int32? { added.id(of: token) ?? model.vocabulary[Array(token.utf8)] }
}
