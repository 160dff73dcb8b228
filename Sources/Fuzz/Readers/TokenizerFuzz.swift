import Foundation
import Tokenizer

/// Bytes as a tokenizer.json, which then encodes and decodes.
final class TokenizerFuzz: FuzzTarget {
    static let name = "tokenizer", subject = "a tokenizer.json"
    private let path: String
    private let text = "Why not? Σ 1+1 = 2\n\n  naïve 日本 <|im_end|> don't 🤯\u{200d}x"

    init(folder: String) { path = folder + "/tokenizer.json" }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        try bytes.write(to: path)
        let tokenizer = try Tokenizer(path: path)
        let ids = tokenizer.encode(text)
        _ = tokenizer.decode(ids)
        _ = tokenizer.decodedBytes([-1, 0, .max] + ids, skippingSpecialTokens: false)
    }
}

/// Bytes as text: what a tokenizer encodes it must decode.
final class TextFuzz: FuzzTarget {
    static let name = "text", subject = "text for six tokenizers; the first byte chooses one"
    private let tokenizers: [Tokenizer]

    init(folder: String) throws {
        tokenizers = try ["gpt2", "llama3", "qwen", "llama2", "mistral", "gemma"].map {
            try Tokenizer(path: fixture("tokenizers/" + $0))
        }
    }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        let (kind, rest) = bytes.choice
        let text = String(decoding: rest, as: UTF8.self), tokenizer = tokenizers[kind % tokenizers.count]
        _ = tokenizer.decode(tokenizer.encode(text), skippingSpecialTokens: false)
    }
}
