/// A part of the text, within which BPE merges.
struct Piece: Sendable, Equatable {
    /// Sound UTF-8.
    var bytes: ArraySlice<UInt8>
    /// Whether it stands at the beginning of the whole text.
    var startsText: Bool

    func part(_ range: Range<Int>) -> Piece {
        Piece(bytes: bytes[range], startsText: startsText && range.lowerBound == bytes.startIndex)
    }
}

/// Something that cuts pieces.
protocol PreTokenizerStep: Sendable {
    /// Its `type` in a tokenizer.json.
    static var name: String { get }
    init(_ node: TokenizerNode) throws
    func split(_ piece: Piece, into pieces: inout [Piece])
}

enum PreTokenizerRegistry {
    /// A newcomer: one type, one line here.
    static let all: [any PreTokenizerStep.Type] = [
        ByteLevelSplit.self, DigitsSplit.self, MetaspaceSplit.self, PatternSplit.self, PreTokenizerSequence.self,
        PunctuationSplit.self,
    ]

    static func step(_ node: TokenizerNode) throws -> any PreTokenizerStep {
        let name = try node.require(node["type"].string, "a pre-tokenizer with a type")
        guard let kind = all.first(where: { $0.name == name }) else {
            throw node["type"].unsupported(expected: all.map { $0.name }.joined(separator: ", "))
        }
        return try kind.init(node)
    }
}

/// What a tokenizer.json says under `pre_tokenizer`; where it says null, the whole text is one piece.
struct PreTokenizer: Sendable {
    private let step: (any PreTokenizerStep)?
    /// Whether tokens are written as bytes (ByteLevel), and not as characters.
    let writesBytes: Bool

    init(_ node: TokenizerNode) throws {
        step = node.isNull ? nil : try PreTokenizerRegistry.step(node)
        let steps = Self.steps(node)
        writesBytes = steps.contains { $0["type"].string == ByteLevelSplit.name }
        // Behind ByteLevel others would see its writing of bytes.
        if let own = steps.firstIndex(where: { $0["type"].string == ByteLevelSplit.name }), own < steps.count - 1 {
            throw steps[own + 1]["type"].unsupported(expected: "ByteLevel as the last step")
        }
    }

    private static func steps(_ node: TokenizerNode) -> [TokenizerNode] {
        node["type"].string == PreTokenizerSequence.name ? node["pretokenizers"].list.flatMap(steps) : [node]
    }

    func split(_ piece: Piece, into pieces: inout [Piece]) {
        guard !piece.bytes.isEmpty else { return }
        guard let step else { return pieces.append(piece) }
        step.split(piece, into: &pieces)
    }
}

struct PreTokenizerSequence: PreTokenizerStep {
    static let name = "Sequence"
    private let steps: [any PreTokenizerStep]

    init(_ node: TokenizerNode) throws {
        _ = try node.require(node["pretokenizers"].values, "a list of pre-tokenizers")
        steps = try node["pretokenizers"].list.map(PreTokenizerRegistry.step)
    }

    func split(_ piece: Piece, into pieces: inout [Piece]) {
        guard let first = steps.first else { return pieces.append(piece) }
        guard steps.count > 1 else { return first.split(piece, into: &pieces) }
        var current: [Piece] = [], next: [Piece] = []
        first.split(piece, into: &current)
        for step in steps.dropFirst().dropLast() {
            next.removeAll(keepingCapacity: true)
            for part in current { step.split(part, into: &next) }
            swap(&current, &next)
        }
        for part in current { steps[steps.count - 1].split(part, into: &pieces) }
    }
}

struct PatternSplit: PreTokenizerStep {
    static let name = "Split"
    private let splitter: Splitter

    init(_ node: TokenizerNode) throws {
        splitter = Splitter(
            try TextPattern(node["pattern"]), try Splitter.Behavior(node), isInverted: node["invert"].bool ?? false)
    }

    func split(_ piece: Piece, into pieces: inout [Piece]) { splitter.split(piece, into: &pieces) }
}

struct DigitsSplit: PreTokenizerStep {
    static let name = "Digits"
    private let splitter: Splitter

    init(_ node: TokenizerNode) throws {
        let isIndividual = node["individual_digits"].bool ?? false
        splitter = Splitter(try TextPattern(regex: isIndividual ? #"\p{N}"# : #"\p{N}+"#, node), .isolated)
    }

    func split(_ piece: Piece, into pieces: inout [Piece]) { splitter.split(piece, into: &pieces) }
}

/// ASCII's punctuation, signs of money and arithmetic among it, and Unicode's.
struct PunctuationSplit: PreTokenizerStep {
    static let name = "Punctuation"
    private let splitter: Splitter

    init(_ node: TokenizerNode) throws {
        let behavior = node["behavior"].isNull ? .isolated : try Splitter.Behavior(node)
        splitter = Splitter(try TextPattern(regex: #"[\p{P}$+<=>\^`|~]"#, node), behavior)
    }

    func split(_ piece: Piece, into pieces: inout [Piece]) { splitter.split(piece, into: &pieces) }
}

/// A space before each piece that has none, if asked for, and GPT-2's pattern. That bytes are written as characters
/// then is left out: tokens are known by their bytes.
struct ByteLevelSplit: PreTokenizerStep {
    static let name = "ByteLevel"
    private let addsPrefixSpace: Bool
    private let splitter: Splitter?

    private static let gpt2 = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

    init(_ node: TokenizerNode) throws {
        addsPrefixSpace = node["add_prefix_space"].bool ?? true
        splitter = node["use_regex"].bool ?? true ? Splitter(try TextPattern(regex: Self.gpt2, node), .isolated) : nil
    }

    func split(_ piece: Piece, into pieces: inout [Piece]) {
        var piece = piece
        // By code points: a space that a mark combines with is a space.
        if addsPrefixSpace, piece.bytes.first != UInt8(ascii: " ") { piece.bytes = [UInt8(ascii: " ")] + piece.bytes }
        guard let splitter else { return pieces.append(piece) }
        splitter.split(piece, into: &pieces)
    }
}

/// SentencePiece's writing of spaces as ▁.
struct MetaspaceSplit: PreTokenizerStep {
    static let name = "Metaspace"
    private let mark: [UInt8]
    private let scheme: MetaspaceScheme
    /// Before each mark.
    private let splitter: Splitter?

    init(_ node: TokenizerNode) throws {
        mark = try MetaspaceScheme.mark(node)
        scheme = try MetaspaceScheme(node)
        splitter = node["split"].bool ?? true ? Splitter(TextPattern(literal: mark), .mergedWithNext) : nil
    }

    func split(_ piece: Piece, into pieces: inout [Piece]) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(piece.bytes.count + piece.bytes.count / 2 + mark.count)
        for byte in piece.bytes { if byte == UInt8(ascii: " ") { bytes += mark } else { bytes.append(byte) } }
        let isAsked = scheme == .always || scheme == .first && piece.startsText
        if isAsked, !bytes.starts(with: mark) { bytes = mark + bytes }
        let marked = Piece(bytes: bytes[...], startsText: piece.startsText)
        guard let splitter else { return pieces.append(marked) }
        splitter.split(marked, into: &pieces)
    }
}

/// Where Metaspace puts a mark that the text doesn't have.
enum MetaspaceScheme: String, Sendable, CaseIterable {
    case always, first, never

    /// Older files have `add_prefix_space` alone.
    init(_ node: TokenizerNode) throws {
        guard !node["prepend_scheme"].isNull else {
            self = node["add_prefix_space"].bool ?? true ? .always : .never
            return
        }
        let known = Self.allCases.map(\.rawValue).joined(separator: ", ")
        self = try node["prepend_scheme"].require(node["prepend_scheme"].string.flatMap(Self.init), known)
        if node["add_prefix_space"].bool == false, self != .never {
            throw node["prepend_scheme"].error(expected: "'never', as add_prefix_space beside it says")
        }
    }

    static func mark(_ node: TokenizerNode) throws -> [UInt8] {
        let text =
            node["replacement"].isNull ? "▁" : try node["replacement"].require(node["replacement"].string, "a text")
        guard text.unicodeScalars.count == 1 else { throw node["replacement"].error(expected: "one character") }
        return Array(text.utf8)
    }
}

/// Cuts by a pattern.
struct Splitter: Sendable {
    enum Behavior: String, CaseIterable, Sendable {
        case isolated = "Isolated"
        case removed = "Removed"
        case mergedWithPrevious = "MergedWithPrevious"
        case mergedWithNext = "MergedWithNext"
        case contiguous = "Contiguous"

        init(_ node: TokenizerNode) throws {
            self = try node["behavior"].require(
                node["behavior"].string.flatMap(Behavior.init),
                Behavior.allCases.map(\.rawValue).joined(separator: ", "))
        }
    }

    private let pattern: TextPattern
    private let behavior: Behavior
    /// Gaps count as matches and matches as gaps.
    private let isInverted: Bool

    private typealias Chunk = (range: Range<Int>, isMatch: Bool)

    init(_ pattern: TextPattern, _ behavior: Behavior, isInverted: Bool = false) {
        (self.pattern, self.behavior, self.isInverted) = (pattern, behavior, isInverted)
    }

    func split(_ piece: Piece, into pieces: inout [Piece]) {
        guard behavior != .isolated else { return isolate(piece, into: &pieces) }
        for range in Self.joined(chunks(piece), behavior) { pieces.append(piece.part(range)) }
    }

    /// What most do, without a list in between.
    private func isolate(_ piece: Piece, into pieces: inout [Piece]) {
        var done = piece.bytes.startIndex
        pattern.matches(in: piece.bytes) { match in
            if match.lowerBound > done { pieces.append(piece.part(done..<match.lowerBound)) }
            pieces.append(piece.part(match))
            done = match.upperBound
        }
        if done < piece.bytes.endIndex { pieces.append(piece.part(done..<piece.bytes.endIndex)) }
    }

    /// The whole piece, cut into matches and what lies between.
    private func chunks(_ piece: Piece) -> [Chunk] {
        var chunks: [Chunk] = [], done = piece.bytes.startIndex
        func add(_ range: Range<Int>, isMatch: Bool) {
            if !range.isEmpty { chunks.append((range, isMatch != isInverted)) }
        }
        pattern.matches(in: piece.bytes) { match in
            add(done..<match.lowerBound, isMatch: false)
            add(match, isMatch: true)
            done = match.upperBound
        }
        add(done..<piece.bytes.endIndex, isMatch: false)
        return chunks
    }

    /// Of a run of matches only the first joins what stands before it (with MergedWithNext the last what stands
    /// behind).
    private static func joined(_ chunks: [Chunk], _ behavior: Behavior) -> [Range<Int>] {
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
    private static func merged(_ chunks: [Chunk], _ joins: (_ isMatch: Bool, _ wasMatch: Bool) -> Bool) -> [Range<Int>]
    {
        var ranges: [Range<Int>] = [], wasMatch = false
        for (range, isMatch) in chunks {
            if joins(isMatch, wasMatch), let last = ranges.popLast() {
                ranges.append(min(last.lowerBound, range.lowerBound)..<max(last.upperBound, range.upperBound))
            } else {
                ranges.append(range)
            }
            wasMatch = isMatch
        }
        return ranges
    }
}
