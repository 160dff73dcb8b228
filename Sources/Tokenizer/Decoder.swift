/// Something that is done to tokens' texts on the way back.
protocol DecoderStep: Sendable {
    /// Its `type` in a tokenizer.json.
    static var name: String { get }
    init(_ node: TokenizerNode) throws
    func apply(_ texts: [String]) -> [String]
    /// What a token stands for by itself; where that depends on its neighbours, most likely.
    func bytes(of token: [UInt8]) -> [UInt8]
}

enum DecoderRegistry {
    /// A newcomer: one type, one line here.
    static let all: [any DecoderStep.Type] = [
        ByteFallbackDecoder.self, ByteLevelDecoder.self, DecoderSequence.self, FuseDecoder.self, MetaspaceDecoder.self,
        ReplaceDecoder.self, StripDecoder.self,
    ]

    static func step(_ node: TokenizerNode) throws -> any DecoderStep {
        let name = try node.require(node["type"].string, "a decoder with a type")
        guard let kind = all.first(where: { $0.name == name }) else {
            throw node["type"].unsupported(expected: all.map { $0.name }.joined(separator: ", "))
        }
        return try kind.init(node)
    }
}

struct DecoderSequence: DecoderStep {
    static let name = "Sequence"
    private let steps: [any DecoderStep]

    init(_ node: TokenizerNode) throws {
        _ = try node.require(node["decoders"].values, "a list of decoders")
        steps = try node["decoders"].list.map(DecoderRegistry.step)
    }

    func apply(_ texts: [String]) -> [String] { steps.reduce(texts) { $1.apply($0) } }
    func bytes(of token: [UInt8]) -> [UInt8] { steps.reduce(token) { $1.bytes(of: $0) } }
}

struct ReplaceDecoder: DecoderStep {
    static let name = "Replace"
    private let replacement: Replacement

    init(_ node: TokenizerNode) throws { replacement = try Replacement(node) }

    func apply(_ texts: [String]) -> [String] { texts.map(replacement.apply) }

    func bytes(of token: [UInt8]) -> [UInt8] {
        // Part of a character, of ByteFallback, is no text.
        guard let text = String(validating: token, as: UTF8.self) else { return token }
        return Array(replacement.apply(text).utf8)
    }
}

/// Runs of `<0x..>` to the text whose bytes they are.
struct ByteFallbackDecoder: DecoderStep {
    static let name = "ByteFallback"

    init(_ node: TokenizerNode) throws {}

    static func byte(_ token: some Collection<UInt8>) -> UInt8? {
        let all = Array(token)
        guard all.count == 6, all.starts(with: Array("<0x".utf8)), all[5] == UInt8(ascii: ">"),
            all[3] != UInt8(ascii: "+")
        else { return nil }
        return UInt8(String(decoding: all[3...4], as: UTF8.self), radix: 16)
    }

    func apply(_ texts: [String]) -> [String] {
        var result: [String] = [], run: [UInt8] = []
        func end() {
            guard !run.isEmpty else { return }
            if let text = String(validating: run, as: UTF8.self) {
                result.append(text)
            } else {
                // One for each byte, sound beginnings too.
                result += run.map { _ in "\u{fffd}" }
            }
            run = []
        }
        for text in texts {
            if let byte = Self.byte(text.utf8) {
                run.append(byte)
            } else {
                end()
                result.append(text)
            }
        }
        end()
        return result
    }

    func bytes(of token: [UInt8]) -> [UInt8] { Self.byte(token).map { [$0] } ?? token }
}

struct FuseDecoder: DecoderStep {
    static let name = "Fuse"

    init(_ node: TokenizerNode) throws {}

    func apply(_ texts: [String]) -> [String] { [texts.joined()] }
    func bytes(of token: [UInt8]) -> [UInt8] { token }
}

/// So many of a character off both ends of each text.
struct StripDecoder: DecoderStep {
    static let name = "Strip"
    private let character: Unicode.Scalar
    private let start: Int
    private let stop: Int

    init(_ node: TokenizerNode) throws {
        let content = node["content"].isNull ? " " : node["content"].string ?? ""
        guard let scalar = content.unicodeScalars.first, content.unicodeScalars.count == 1 else {
            throw node["content"].error(expected: "one character")
        }
        character = scalar
        start = Int(node["start"].number ?? 0)
        stop = Int(node["stop"].number ?? 0)
    }

    func apply(_ texts: [String]) -> [String] {
        texts.map { text in
            var scalars = Array(text.unicodeScalars)[...]
            for _ in 0..<max(0, start) where scalars.first == character { scalars = scalars.dropFirst() }
            for _ in 0..<max(0, stop) where scalars.last == character { scalars = scalars.dropLast() }
            var view = String.UnicodeScalarView()
            view.append(contentsOf: scalars)
            return String(view)
        }
    }

    /// Only the whole text's beginning is meant.
    func bytes(of token: [UInt8]) -> [UInt8] { token }
}

struct MetaspaceDecoder: DecoderStep {
    static let name = "Metaspace"
    private let mark: Unicode.Scalar
    private let scheme: MetaspaceScheme

    init(_ node: TokenizerNode) throws {
        let bytes = try MetaspaceScheme.mark(node)
        mark = String(decoding: bytes, as: UTF8.self).unicodeScalars.first ?? "▁"
        scheme = try MetaspaceScheme(node)
    }

    /// All marks of the first token vanish, not only the one that was put there.
    func apply(_ texts: [String]) -> [String] {
        texts.enumerated().map { place, text in spaced(text, dropping: place == 0 && scheme != .never) }
    }

    private func spaced(_ text: String, dropping: Bool) -> String {
        var view = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            if scalar != mark { view.append(scalar) } else if !dropping { view.append(" ") }
        }
        return String(view)
    }

    func bytes(of token: [UInt8]) -> [UInt8] {
        String(validating: token, as: UTF8.self).map { Array(spaced($0, dropping: false).utf8) } ?? token
    }
}

/// GPT-2's writing back to bytes, of all tokens together.
struct ByteLevelDecoder: DecoderStep {
    static let name = "ByteLevel"

    init(_ node: TokenizerNode) throws {}

    func apply(_ texts: [String]) -> [String] {
        [String(decoding: texts.flatMap { bytes(of: Array($0.utf8)) }, as: UTF8.self)]
    }

    func bytes(of token: [UInt8]) -> [UInt8] { ByteAlphabet.bytes(of: String(decoding: token, as: UTF8.self)) ?? token }
}
