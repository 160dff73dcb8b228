import Foundation

/// Cuts text into the pieces within which BPE merges.
indirect enum PreTokenizer: Sendable {
    case whole
    case split(Pattern, Behavior)
    case byteLevel(addPrefixSpace: Bool, Pattern?)
    case sequence([PreTokenizer])

    enum Behavior: String, CaseIterable {
        case isolated = "Isolated"
        case removed = "Removed"
        case mergedWithPrevious = "MergedWithPrevious"
        case mergedWithNext = "MergedWithNext"
        case contiguous = "Contiguous"
    }

    /// What GPT-2's ByteLevel splits by, with `use_regex`.
    private static let gpt2 = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

    init(_ node: TokenizerNode) throws {
        guard Self.types(node).contains("ByteLevel") else {
            throw node.unsupported(expected: "a pre-tokenizer with ByteLevel in it")
        }
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
            self = .byteLevel(
                addPrefixSpace: node["add_prefix_space"].bool ?? true, usesRegex ? try Pattern(Self.gpt2, node) : nil)
        case "Punctuation":
            self = .split(try Pattern(#"[\p{P}$+<=>^`|~]"#, node), try Self.behavior(node, default: .isolated))
        default: throw node["type"].unsupported(expected: "Sequence, Split, Digits, Punctuation or ByteLevel")
        }
    }

    private static func behavior(_ node: TokenizerNode, default fallback: Behavior? = nil) throws -> Behavior {
        if let fallback, node["behavior"].isNull { return fallback }
        return try node["behavior"].require(
            node["behavior"].string.flatMap(Behavior.init), Behavior.allCases.map(\.rawValue).joined(separator: ", "))
    }

    private static func split(_ node: TokenizerNode) throws -> PreTokenizer {
        let behavior = try behavior(node), isInverted = node["invert"].bool ?? false, pattern = node["pattern"]
        if let regex = pattern["Regex"].string {
            return .split(try Pattern(regex, pattern, isInverted: isInverted), behavior)
        }
        let text = try node.require(pattern["String"].string, "a pattern, Regex or String")
        return .split(
            try Pattern(NSRegularExpression.escapedPattern(for: text), pattern, isInverted: isInverted), behavior)
    }

    func split(_ text: String) -> [String] { text.isEmpty ? [] : pieces(text) }

    private func pieces(_ text: String) -> [String] {
        switch self {
        case .whole: return [text]
        case .sequence(let steps): return steps.reduce([text]) { pieces, step in pieces.flatMap { step.pieces($0) } }
        case .split(let pattern, let behavior): return pattern.pieces(text, behavior)
        case .byteLevel(let addPrefixSpace, let pattern):
            // By code points: a space that a mark combines with is a space.
            let text = addPrefixSpace && text.utf8.first != UInt8(ascii: " ") ? " " + text : text
            return pattern?.pieces(text, .isolated) ?? [text]
        }
    }
}

/// A regular expression of a tokenizer.json. Those are Oniguruma's; ICU reads them alike, but for what counts as a
/// space.
struct Pattern: @unchecked Sendable {
    private let expression: NSRegularExpression
    /// Gaps count as matches and matches as gaps.
    private let isInverted: Bool

    init(_ pattern: String, _ node: TokenizerNode, isInverted: Bool = false) throws {
        self.isInverted = isInverted
        // ICU's \s leaves out U+000B and U+0085, which Unicode's White_Space has.
        let same = pattern.replacingOccurrences(of: #"\s"#, with: #"\p{White_Space}"#).replacingOccurrences(
            of: #"\S"#, with: #"\P{White_Space}"#)
        do { expression = try NSRegularExpression(pattern: same) } catch {
            throw node.unsupported(found: "pattern '\(pattern)'", expected: "a regular expression that ICU knows")
        }
    }

    func pieces(_ text: String, _ behavior: PreTokenizer.Behavior) -> [String] {
        let string = text as NSString
        return Self.joined(chunks(text, string), behavior).map { string.substring(with: $0) }
    }

    /// The whole text, cut into matches and what lies between.
    private func chunks(_ text: String, _ string: NSString) -> [(range: NSRange, isMatch: Bool)] {
        var chunks: [(range: NSRange, isMatch: Bool)] = [], end = 0
        func add(_ from: Int, _ to: Int, isMatch: Bool) {
            if to > from { chunks.append((NSRange(location: from, length: to - from), isMatch != isInverted)) }
        }
        for match in expression.matches(in: text, range: NSRange(location: 0, length: string.length))
        where match.range.length > 0 {
            add(end, match.range.location, isMatch: false)
            end = match.range.location + match.range.length
            add(match.range.location, end, isMatch: true)
        }
        add(end, string.length, isMatch: false)
        return chunks
    }

    /// Of a run of matches only the first joins what stands before it (with MergedWithNext the last what stands
    /// behind).
    private static func joined(_ chunks: [(range: NSRange, isMatch: Bool)], _ behavior: PreTokenizer.Behavior)
        -> [NSRange]
    {
        switch behavior {
        case .isolated: return chunks.map(\.range)
        case .removed: return chunks.filter { !$0.isMatch }.map(\.range)
        case .mergedWithPrevious: return merged(chunks) { isMatch, wasMatch in isMatch && !wasMatch }
        case .mergedWithNext:
            return merged(chunks.reversed()) { isMatch, wasMatch in isMatch && !wasMatch }.reversed()
        case .contiguous: return merged(chunks) { isMatch, wasMatch in isMatch == wasMatch }
        }
    }

    /// `joins`: whether a chunk becomes one with its predecessor.
    private static func merged(
        _ chunks: [(range: NSRange, isMatch: Bool)], _ joins: (_ isMatch: Bool, _ wasMatch: Bool) -> Bool
    ) -> [NSRange] {
        var ranges: [NSRange] = [], wasMatch = false
        for (range, isMatch) in chunks {
            if joins(isMatch, wasMatch), let last = ranges.popLast() {
                ranges.append(NSUnionRange(last, range))
            } else {
                ranges.append(range)
            }
            wasMatch = isMatch
        }
        return ranges
    }
}
