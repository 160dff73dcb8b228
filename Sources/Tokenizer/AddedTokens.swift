import Formats
import Foundation

/// Tokens that stand outside BPE: <|endoftext|>, <think>, … Found in the text first; the longest at the leftmost place wins.
struct AddedTokens: Sendable {
    private struct Token: Sendable {
        let id: Int32
        let text: [UInt8]
        let takesSpaceBefore: Bool
        let takesSpaceAfter: Bool
        let isSingleWord: Bool
    }

    /// By first byte, longest first.
    private let byFirst: [UInt8: [Token]]
    let ids: [String: Int32]
    let bytes: [Int32: [UInt8]]
    let special: Set<Int32>

    init(_ node: TokenizerNode) throws {
        var tokens: [Token] = [], ids: [String: Int32] = [:], special: Set<Int32> = []
        for entry in node.list {
            let text = try entry.require(entry["content"].string, "an added token with content")
            let id = Int32(clamping: try entry.require(entry["id"].int, "an added token with id"))
            guard !text.isEmpty else { continue }
            tokens.append(
                Token(
                    id: id, text: Array(text.utf8), takesSpaceBefore: entry["lstrip"].bool ?? false, takesSpaceAfter: entry["rstrip"].bool ?? false,
                    isSingleWord: entry["single_word"].bool ?? false))
            ids[text] = id
            if entry["special"].bool ?? false { special.insert(id) }
        }
        tokens.sort { $0.text.count > $1.text.count }
        byFirst = Dictionary(grouping: tokens) { $0.text[0] }
        bytes = Dictionary(tokens.map { ($0.id, $0.text) }) { first, _ in first }
        (self.ids, self.special) = (ids, special)
    }

    enum Part: Equatable { case text(String), token(Int32) }

    func split(_ text: String) -> [Part] {
        guard !byFirst.isEmpty else { return text.isEmpty ? [] : [.text(text)] }
        let bytes = Array(text.utf8)
        var parts: [Part] = [], start = 0, position = 0
        func flush(_ end: Int) { if end > start { parts.append(.text(String(decoding: bytes[start..<end], as: UTF8.self))) } }
        while position < bytes.count {
            guard let token = byFirst[bytes[position]]?.first(where: { matches($0, bytes, position) }) else {
                position += 1
                continue
            }
            var end = position
            if token.takesSpaceBefore { while end > start, Self.isSpace(bytes[end - 1]) { end -= 1 } }
            flush(end)
            parts.append(.token(token.id))
            position += token.text.count
            if token.takesSpaceAfter { while position < bytes.count, Self.isSpace(bytes[position]) { position += 1 } }
            start = position
        }
        flush(bytes.count)
        return parts
    }

    private func matches(_ token: Token, _ bytes: [UInt8], _ position: Int) -> Bool {
        let end = position + token.text.count
        guard end <= bytes.count, bytes[position..<end].elementsEqual(token.text) else { return false }
        guard token.isSingleWord else { return true }
        return !(position > 0 && Self.isWord(bytes[position - 1])) && !(end < bytes.count && Self.isWord(bytes[end]))
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }
    private static func isWord(_ byte: UInt8) -> Bool {
        byte >= 0x80 || byte == 0x5f || (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
    }
}

/// What is done to text before it is cut.
enum Normalizer: Sendable {
    case none, nfc

    init(_ node: TokenizerNode) throws {
        switch node["type"].string {
        case nil where node.isNull: self = .none
        case "NFC": self = .nfc
        case "Sequence" where node["normalizers"].list.isEmpty: self = .none
        case "Sequence" where node["normalizers"].list.count == 1: self = try Normalizer(node["normalizers"].list[0])
        default: throw node["type"].error(expected: "no normalizer, or NFC")
        }
    }

    func apply(_ text: String) -> String { self == .nfc ? text.precomposedStringWithCanonicalMapping : text }
}

/// Ids that are put before and after every text.
struct SpecialTokenTemplate: Sendable {
    private var before: [Int32] = []
    private var after: [Int32] = []

    init(_ node: TokenizerNode) throws {
        switch node["type"].string {
        case nil where node.isNull: break
        case "ByteLevel": break
        case "TemplateProcessing": try read(node)
        case "Sequence": for step in node["processors"].list where step["type"].string != "ByteLevel" { try read(step) }
        default: throw node["type"].error(expected: "TemplateProcessing, ByteLevel, a Sequence of these, or null")
        }
    }

    private mutating func read(_ node: TokenizerNode) throws {
        guard node["type"].string == "TemplateProcessing" else { throw node["type"].error(expected: "TemplateProcessing") }
        var isAfter = false
        for step in node["single"].list {
            if !step["Sequence"].isNull { isAfter = true }
            guard let name = step["SpecialToken"]["id"].string else { continue }
            let ids = node["special_tokens"][name]["ids"].list.compactMap { $0.int.map { Int32(clamping: $0) } }
            guard !ids.isEmpty else { throw step.error(found: "special token '\(name)' without ids", expected: "its ids in special_tokens") }
            if isAfter { after += ids } else { before += ids }
        }
    }

    func apply(_ ids: [Int32]) -> [Int32] { before + ids + after }
}
