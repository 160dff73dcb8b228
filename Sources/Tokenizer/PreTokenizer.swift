import Formats
import Foundation

/// Cuts text into the pieces within which BPE merges.
indirect enum PreTokenizer: Sendable {
    case whole
    case split(Pattern, Behavior)
    case byteLevel(addPrefixSpace: Bool, Pattern?)
    case sequence([PreTokenizer])

    enum Behavior: String { case isolated = "Isolated", removed = "Removed", mergedWithPrevious = "MergedWithPrevious", mergedWithNext = "MergedWithNext" }

    /// What GPT-2's ByteLevel splits by, with `use_regex`.
    private static let gpt2 = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

    init(_ node: TokenizerNode) throws {
        guard !node.isNull else { throw node.error(expected: "a pre-tokenizer with ByteLevel in it") }
        guard Self.types(node).contains("ByteLevel") else { throw node.error(expected: "a pre-tokenizer with ByteLevel in it") }
        try self.init(step: node)
    }

    private static func types(_ node: TokenizerNode) -> [String] {
        [node["type"].string ?? ""] + node["pretokenizers"].list.flatMap(types)
    }

    private init(step node: TokenizerNode) throws {
        switch node["type"].string {
        case "Sequence": self = .sequence(try node["pretokenizers"].list.map { try PreTokenizer(step: $0) })
        case "Split": self = try Self.split(node)
        case "Digits":
            let individual = node["individual_digits"].bool ?? false
            self = .split(try Pattern(individual ? #"\p{N}"# : #"\p{N}+"#, node), .isolated)
        case "ByteLevel":
            let usesRegex = node["use_regex"].bool ?? true
            self = .byteLevel(addPrefixSpace: node["add_prefix_space"].bool ?? true, usesRegex ? try Pattern(Self.gpt2, node) : nil)
        default: throw node["type"].error(expected: "Sequence, Split, Digits or ByteLevel")
        }
    }

    private static func split(_ node: TokenizerNode) throws -> PreTokenizer {
        guard node["invert"].bool != true else { throw node["invert"].error(expected: "false") }
        let name = try node.require(node["behavior"].string, "a split with a behavior")
        guard let behavior = Behavior(rawValue: name) else {
            throw node["behavior"].error(expected: "Isolated, Removed, MergedWithPrevious or MergedWithNext")
        }
        if let regex = node["pattern"]["Regex"].string { return .split(try Pattern(regex, node["pattern"]), behavior) }
        let text = try node.require(node["pattern"]["String"].string, "a pattern, Regex or String")
        return .split(try Pattern(NSRegularExpression.escapedPattern(for: text), node["pattern"]), behavior)
    }

    func split(_ text: String) -> [String] { text.isEmpty ? [] : pieces(text) }

    private func pieces(_ text: String) -> [String] {
        switch self {
        case .whole: return [text]
        case .sequence(let steps): return steps.reduce([text]) { pieces, step in pieces.flatMap { step.pieces($0) } }
        case .split(let pattern, let behavior): return pattern.pieces(text, behavior)
        case .byteLevel(let addPrefixSpace, let pattern):
            let text = addPrefixSpace && !text.hasPrefix(" ") ? " " + text : text
            return pattern?.pieces(text, .isolated) ?? [text]
        }
    }
}

/// A regular expression of a tokenizer.json. Those are Oniguruma's; ICU reads them alike, but for what counts as a space.
struct Pattern: @unchecked Sendable {
    private let expression: NSRegularExpression

    init(_ pattern: String, _ node: TokenizerNode) throws {
        // ICU's \s leaves out U+000B and U+0085, which Unicode's White_Space has.
        let same = pattern.replacingOccurrences(of: #"\s"#, with: #"\p{White_Space}"#).replacingOccurrences(of: #"\S"#, with: #"\P{White_Space}"#)
        do { expression = try NSRegularExpression(pattern: same) } catch {
            throw node.error(found: "pattern '\(pattern)'", expected: "a regular expression that ICU knows")
        }
    }

    func pieces(_ text: String, _ behavior: PreTokenizer.Behavior) -> [String] {
        let string = text as NSString
        var pieces: [String] = [], end = 0, pending = ""
        func add(_ range: NSRange, isMatch: Bool) {
            guard range.length > 0 else { return }
            let piece = string.substring(with: range)
            switch (behavior, isMatch) {
            case (.removed, true): break
            case (.mergedWithPrevious, true) where !pieces.isEmpty: pieces[pieces.count - 1] += piece
            case (.mergedWithNext, true):
                if !pending.isEmpty { pieces.append(pending) }
                pending = piece
            case (.mergedWithNext, false):
                pieces.append(pending + piece)
                pending = ""
            default: pieces.append(piece)
            }
        }
        for match in expression.matches(in: text, range: NSRange(location: 0, length: string.length)) where match.range.length > 0 {
            add(NSRange(location: end, length: match.range.location - end), isMatch: false)
            add(match.range, isMatch: true)
            end = match.range.location + match.range.length
        }
        add(NSRange(location: end, length: string.length - end), isMatch: false)
        if !pending.isEmpty { pieces.append(pending) }
        return pieces
    }
}
