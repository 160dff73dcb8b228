import Files
import Foundation

/// A token that stands outside BPE: <|endoftext|>, <think>, …
struct AddedToken: Sendable {
    var id: Int32
    var content: String
    /// Takes white space before or after it along.
    var stripsLeft = false
    var stripsRight = false
    /// Not beside a word character.
    var isSingleWord = false
    /// Looked for in normalised text, and normalised itself.
    var isNormalized = false
    var isSpecial = false
}

extension AddedToken {
    /// As tokenizer.json and tokenizer_config.json write it.
    init(_ node: TokenizerNode, id: Int32) throws {
        self.id = id
        content = try node.require(node["content"].string, "an added token with content")
        isSpecial = try Self.flag(node["special"], default: false)
        stripsLeft = try Self.flag(node["lstrip"], default: false)
        stripsRight = try Self.flag(node["rstrip"], default: false)
        isSingleWord = try Self.flag(node["single_word"], default: false)
        isNormalized = try Self.flag(node["normalized"], default: !isSpecial)
    }

    private static func flag(_ node: TokenizerNode, default fallback: Bool) throws -> Bool {
        node.isNull ? fallback : try node.require(node.bool, "true or false")
    }

    /// What tells tokens apart.
    var bytes: [UInt8] { Array(content.utf8) }
}

/// Added tokens in a text, as the tokenizers library finds them: those with `normalized: false` in the text as it is;
/// then, in each chunk between them, normalised, the others, whose own texts are normalised as well.
struct AddedTokens: Sendable {
    private let raw: AddedTokenSearch
    private let normalized: AddedTokenSearch
    private let normalizer: Normalizer
    private let ids: [[UInt8]: Int32]
    /// What each decodes to.
    let bytes: [Int32: [UInt8]]
    let special: Set<Int32>

    /// `file`: for messages.
    init(_ tokens: [AddedToken], _ normalizer: Normalizer, file: String) throws {
        self.normalizer = normalizer
        func text(_ token: AddedToken) -> [UInt8] {
            token.isNormalized ? Array(normalizer.apply(token.content).utf8) : token.bytes
        }
        var seen: [[UInt8]: AddedToken] = [:]
        for token in tokens where token.isNormalized {
            guard let other = seen.updateValue(token, forKey: text(token)) else { continue }
            // The library takes one of them, by chance.
            throw FormatError(
                file: file, place: "added_tokens",
                found:
                    "tokens \(other.id) and \(token.id), which are the same text once normalised ('\(token.content)')",
                expected: "one token for a text")
        }
        raw = AddedTokenSearch(tokens.filter { !$0.isNormalized }.map { ($0, $0.bytes) })
        normalized = AddedTokenSearch(tokens.filter(\.isNormalized).map { ($0, text($0)) })
        ids = Dictionary(tokens.map { ($0.bytes, $0.id) }) { $1 }
        bytes = Dictionary(tokens.map { ($0.id, text($0)) }) { $1 }
        special = Set(tokens.filter(\.isSpecial).map(\.id))
    }

    func id(of text: String) -> Int32? { ids[Array(text.utf8)] }

    /// What holds no added token is normalised.
    enum Part: Equatable { case text(Piece), token(Int32) }

    func split(_ text: String) -> [Part] {
        var parts: [Part] = []
        for part in raw.split(Piece(bytes: Array(text.utf8)[...], startsText: true)) {
            guard case .text(let chunk) = part else {
                parts.append(part)
                continue
            }
            let own = normalizer.apply(String(decoding: chunk.bytes, as: UTF8.self))
            parts += normalized.split(Piece(bytes: Array(own.utf8)[...], startsText: chunk.startsText))
        }
        return parts
    }
}

/// One pass: leftmost-longest, each match behind the last.
private struct AddedTokenSearch: Sendable {
    /// By first byte, longest first.
    private let byFirst: [[(token: AddedToken, text: [UInt8])]]
    private let isEmpty: Bool

    init(_ tokens: [(token: AddedToken, text: [UInt8])]) {
        let sorted = tokens.filter { !$0.text.isEmpty }.sorted { $0.text.count > $1.text.count }
        let grouped = Dictionary(grouping: sorted) { Int($0.text[0]) }
        byFirst = (0..<256).map { grouped[$0] ?? [] }
        isEmpty = sorted.isEmpty
    }

    func split(_ piece: Piece) -> [AddedTokens.Part] {
        guard !isEmpty else { return piece.bytes.isEmpty ? [] : [.text(piece)] }
        let bytes = Array(piece.bytes), whole = Piece(bytes: bytes[...], startsText: piece.startsText)
        var parts: [AddedTokens.Part] = [], done = 0, position = 0
        func add(text range: Range<Int>) {
            if !range.isEmpty { parts.append(.text(whole.part(range))) }
        }
        while position < bytes.count {
            let known = byFirst[Int(bytes[position])]
            guard !known.isEmpty, let (token, text) = known.first(where: { starts(bytes, position, $0.text) }) else {
                position += 1
                continue
            }
            var start = position, end = position + text.count
            // A match that is no word of its own is passed over whole. The search goes on behind the token's own text,
            // also where white space behind it was taken along.
            position = end
            if token.isSingleWord,
                Self.scalar(before: start, bytes)?.isWord == true || Self.scalar(at: end, bytes)?.isWord == true
            {
                continue
            }
            if token.stripsLeft {
                while let scalar = Self.scalar(before: start, bytes), scalar.properties.isWhitespace {
                    start -= UTF8.width(scalar)
                }
                start = max(start, done)
            }
            if token.stripsRight {
                while let scalar = Self.scalar(at: end, bytes), scalar.properties.isWhitespace {
                    end += UTF8.width(scalar)
                }
            }
            if done < start { add(text: done..<start) }
            // Of a token whose place was swallowed nothing is left.
            if start < end { parts.append(.token(token.id)) }
            done = end
        }
        add(text: done..<bytes.count)
        return parts
    }

    private func starts(_ bytes: [UInt8], _ position: Int, _ text: [UInt8]) -> Bool {
        position + text.count <= bytes.count && bytes[position..<position + text.count].elementsEqual(text)
    }

    /// The bytes are sound UTF-8, and the places ends of characters.
    private static func scalar(at start: Int, _ bytes: [UInt8]) -> Unicode.Scalar? {
        start < bytes.count
            ? String(decoding: bytes[start..<min(bytes.count, start + 4)], as: UTF8.self).unicodeScalars.first : nil
    }

    private static func scalar(before end: Int, _ bytes: [UInt8]) -> Unicode.Scalar? {
        guard end > 0 else { return nil }
        var start = end - 1
        while start > 0, bytes[start] & 0xc0 == 0x80 { start -= 1 }
        return String(decoding: bytes[start..<end], as: UTF8.self).unicodeScalars.first
    }
}

extension Unicode.Scalar {
    /// `\w` of the regex crate: Alphabetic, marks, decimal digits, connector punctuation, join controls (UTS 18, Annex
    /// C).
    fileprivate var isWord: Bool {
        if properties.isAlphabetic || properties.isJoinControl { return true }
        switch properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: return true
        default: return false
        }
    }
}
