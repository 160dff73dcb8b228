/// A pattern as a tree.
indirect enum PatternNode: Sendable {
    case set(ScalarSet)
    case sequence([PatternNode])
    case choice([PatternNode])
    /// `greed`: whether it takes as much as it can, as little, or all and gives nothing back.
    case `repeat`(PatternNode, least: Int, most: Int, Greed)
    case look(PatternNode, isNegated: Bool)

    enum Greed: Sendable { case greedy, lazy, possessive }
}

/// The part of Oniguruma's language that tokenizers' patterns are written in: alternatives, groups, `(?i:…)`, lookahead,
/// classes with `\p{…}`, `\s`, `\S`, `\d`, ranges, quantifiers. nil for everything else, which ICU reads then.
struct PatternParser {
    private let scalars: [Unicode.Scalar]
    private var position = 0
    private var ignoresCase = false
    private var depth = 0

    static func parse(_ pattern: String) -> PatternNode? {
        var parser = PatternParser(scalars: Array(pattern.unicodeScalars))
        guard let node = parser.choice(), parser.position == parser.scalars.count else { return nil }
        return node
    }

    private init(scalars: [Unicode.Scalar]) { self.scalars = scalars }

    private var next: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

    private mutating func takes(_ text: String) -> Bool {
        let wanted = Array(text.unicodeScalars)
        guard position + wanted.count <= scalars.count,
            scalars[position..<position + wanted.count].elementsEqual(wanted)
        else { return false }
        position += wanted.count
        return true
    }

    private mutating func choice() -> PatternNode? {
        depth += 1
        defer { depth -= 1 }
        guard depth < 50 else { return nil }
        var branches: [PatternNode] = []
        repeat {
            guard let branch = sequence() else { return nil }
            branches.append(branch)
        } while takes("|")
        return branches.count == 1 ? branches[0] : .choice(branches)
    }

    private mutating func sequence() -> PatternNode? {
        var nodes: [PatternNode] = []
        var letters = ""
        while let scalar = next, scalar != "|", scalar != ")" {
            if ignoresCase {
                letters.unicodeScalars.append(scalar)
                // Letters that together are one in another writing (ß for ss, ﬁ for fi): ICU knows them.
                if ["ss", "ff", "fi", "fl", "st"].contains(String(letters.suffix(2)).lowercased()) { return nil }
            }
            guard let atom = atom(), let node = quantified(atom) else { return nil }
            nodes.append(node)
        }
        return .sequence(nodes)
    }

    private mutating func atom() -> PatternNode? {
        guard let scalar = next else { return nil }
        switch scalar {
        case "(": return group()
        case "[":
            position += 1
            return bracketed().map { .set($0) }
        case "\\":
            position += 1
            return escape().map { .set($0) }
        case ".":
            position += 1
            return .set(ScalarSet([.range(10...10)], isNegated: true))
        case "^", "$", "*", "+", "?", "{", "}", "]": return nil
        default:
            position += 1
            return .set(folded(scalar))
        }
    }

    private mutating func group() -> PatternNode? {
        let outer = ignoresCase
        defer { ignoresCase = outer }
        if takes("(?:") {
        } else if takes("(?i:") {
            ignoresCase = true
        } else if takes("(?=") || takes("(?!") {
            let isNegated = scalars[position - 1] == "!"
            guard let inner = choice(), takes(")") else { return nil }
            return .look(inner, isNegated: isNegated)
        } else if takes("(?") {
            return nil
        } else {
            position += 1
        }
        guard let inner = choice(), takes(")") else { return nil }
        return inner
    }

    // MARK: quantifiers

    private mutating func quantified(_ atom: PatternNode) -> PatternNode? {
        var least = 1, most = 1
        if takes("?") {
            (least, most) = (0, 1)
        } else if takes("*") {
            (least, most) = (0, .max)
        } else if takes("+") {
            (least, most) = (1, .max)
        } else if next == "{" {
            guard let bounds = bounds() else { return nil }
            (least, most) = bounds
            // Oniguruma reads {1,3}+ as a repetition of repetitions.
            if next == "+" { return nil }
        } else {
            return atom
        }
        let greed: PatternNode.Greed = takes("?") ? .lazy : takes("+") ? .possessive : .greedy
        // A quantifier behind a quantifier is another matter.
        if let next, "*+?{".unicodeScalars.contains(next) { return nil }
        if case .look = atom { return nil }
        return .repeat(atom, least: least, most: most, greed)
    }

    private mutating func bounds() -> (Int, Int)? {
        position += 1
        guard let least = number() else { return nil }
        var most = least
        if takes(",") { most = next == "}" ? .max : number() ?? -1 }
        guard takes("}"), most >= least, least <= 1000 else { return nil }
        return (least, most)
    }

    private mutating func number() -> Int? {
        var digits = ""
        while let scalar = next, ("0"..."9").contains(scalar), digits.count < 5 {
            digits.unicodeScalars.append(scalar)
            position += 1
        }
        return Int(digits)
    }

    // MARK: sets

    private static let plainEscapes: [Unicode.Scalar: Unicode.Scalar] = [
        "n": "\n", "r": "\r", "t": "\t", "f": "\u{c}", "v": "\u{b}", "a": "\u{7}", "e": "\u{1b}",
    ]

    /// Behind a backslash.
    private mutating func escape() -> ScalarSet? {
        guard let scalar = next else { return nil }
        position += 1
        switch scalar {
        case "s": return ScalarSet([.space])
        case "S": return ScalarSet([.space], isNegated: true)
        case "d": return CategorySet("Nd").map { ScalarSet([.categories($0)]) }
        case "D": return CategorySet("Nd").map { ScalarSet([.categories($0)], isNegated: true) }
        case "p", "P": return property(isNegated: scalar == "P")
        case "u", "x": return nil
        default:
            if let meant = Self.plainEscapes[scalar] { return ScalarSet(meant) }
            // Of letters and digits each has a meaning of its own.
            guard !scalar.properties.isAlphabetic, !("0"..."9").contains(scalar) else { return nil }
            return folded(scalar)
        }
    }

    private mutating func property(isNegated: Bool) -> ScalarSet? {
        guard takes("{") else { return nil }
        let isInverted = takes("^")
        var name = ""
        while let scalar = next, scalar != "}" {
            name.unicodeScalars.append(scalar)
            position += 1
        }
        guard takes("}") else { return nil }
        let items: [ScalarSet.Item]
        if let categories = CategorySet(name) {
            items = [.categories(categories)]
        } else if name == "White_Space" {
            items = [.space]
        } else {
            return nil
        }
        return ScalarSet(items, isNegated: isNegated != isInverted)
    }

    /// Behind `[`.
    private mutating func bracketed() -> ScalarSet? {
        let isNegated = takes("^")
        var items: [ScalarSet.Item] = [], isFirst = true
        while let scalar = next, scalar != "]" || isFirst {
            isFirst = false
            // Sets within sets, and intersections.
            if scalar == "[" || scalar == "&" && position + 1 < scalars.count && scalars[position + 1] == "&" {
                return nil
            }
            guard let (set, single) = member() else { return nil }
            if let low = single, next == "-", position + 1 < scalars.count, scalars[position + 1] != "]" {
                position += 1
                guard let (_, high) = member(), let high, high.value >= low.value else { return nil }
                items.append(.range(low.value...high.value))
                if ignoresCase, !isCaseless(low.value...high.value) { return nil }
            } else {
                items += set.isNegated ? [.not(set.inverted)] : set.items
            }
        }
        guard takes("]") else { return nil }
        return ScalarSet(items, isNegated: isNegated)
    }

    private func isCaseless(_ range: ClosedRange<UInt32>) -> Bool {
        range.count < 0x10000 && range.allSatisfy { Unicode.Scalar($0).map { !$0.properties.isCased } ?? true }
    }

    /// One of a bracket: its set, and the character where it is a single one.
    private mutating func member() -> (ScalarSet, Unicode.Scalar?)? {
        guard let scalar = next else { return nil }
        position += 1
        guard scalar == "\\" else { return (folded(scalar), scalar) }
        guard let letter = next else { return nil }
        if let meant = Self.plainEscapes[letter] {
            position += 1
            return (ScalarSet(meant), meant)
        }
        let isPlain = !letter.properties.isAlphabetic && !("0"..."9").contains(letter)
        return escape().map { ($0, isPlain ? letter : nil) }
    }

    /// A character and, where case doesn't count, its other forms.
    private func folded(_ scalar: Unicode.Scalar) -> ScalarSet {
        guard ignoresCase else { return ScalarSet(scalar) }
        let forms = [
            scalar.properties.lowercaseMapping, scalar.properties.uppercaseMapping, scalar.properties.titlecaseMapping,
        ]
        var values = Set(forms.compactMap { $0.unicodeScalars.count == 1 ? $0.unicodeScalars.first?.value : nil })
        values.insert(scalar.value)
        // Two characters whose small form is an ASCII letter: the long s and the Kelvin sign.
        if values.contains(0x73) { values.insert(0x17f) }
        if values.contains(0x6b) { values.insert(0x212a) }
        return ScalarSet(values.sorted().map { .range($0...$0) })
    }
}
