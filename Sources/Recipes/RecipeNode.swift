import Foundation

/// A recipe as a tree: scalars are kept as they were written, since what they are depends on who asks for them.
indirect enum RecipeNode: Equatable {
    case null
    /// Without quotes: a number, true, a word.
    case plain(String)
    /// In quotes: text.
    case text(String)
    case list([RecipeNode])
    case map([String: RecipeNode])

    /// A scalar's text.
    var scalar: String? {
        switch self {
        case .plain(let text), .text(let text): text
        default: nil
        }
    }

    /// An entry of a map; nil elsewhere.
    subscript(key: String) -> RecipeNode? {
        if case .map(let map) = self { map[key] } else { nil }
    }

    /// What lies at a path such as "reward.overlong", unless it is null.
    func written(at path: String) -> RecipeNode? {
        let found = path.split(separator: ".").reduce(Optional(self)) { $0?[String($1)] }
        return found == .null ? nil : found
    }

    /// This tree with another value at `path`. A bare word where a section is needed is its type.
    func replacing(_ path: ArraySlice<String>, with value: RecipeNode) -> RecipeNode {
        guard let key = path.first else { return value }
        var map: [String: RecipeNode] = [:]
        if case .map(let existing) = self { map = existing } else if scalar != nil { map = ["type": self] }
        map[key] = (map[key] ?? .null).replacing(path.dropFirst(), with: value)
        return .map(map)
    }

    /// As YAML's flow style has it.
    var written: String {
        switch self {
        case .null: "null"
        case .plain(let value): value
        case .text(let value): value.contains("\n") ? "\"\(value.replacingOccurrences(of: "\n", with: "\\n"))\"" : value
        case .list(let list): "[\(list.map(\.written).joined(separator: ", "))]"
        case .map(let map):
            "{\(map.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value.written)" }.joined(separator: ", "))}"
        }
    }

    /// For messages, which must not grow with what was found.
    var description: String {
        switch self {
        case .null: "null"
        case .plain(let text) where RecipeScalar.isSpecial(text): Self.cut(text)
        case .plain(let text), .text(let text): "'\(Self.cut(text))'"
        case .list: "a list"
        case .map: "a section"
        }
    }

    static func cut(_ text: String) -> String { text.count > 60 ? text.prefix(60) + "…" : text }
}

/// What plain scalars stand for: YAML 1.2's words, and what people write in YAML 1.1.
enum RecipeScalar {
    static func isNull(_ text: String) -> Bool { ["", "~", "null", "Null", "NULL"].contains(text) }

    static func bool(_ text: String) -> Bool? {
        switch text.lowercased() {
        case "true", "yes", "on": true
        case "false", "no", "off": false
        default: nil
        }
    }

    /// `.inf` and its like, in whatever spelling.
    static func isInfinite(_ text: String) -> Bool {
        ["inf", "infinity"].contains(text.lowercased().drop { "+-.".contains($0) })
    }

    static func isNotANumber(_ text: String) -> Bool { text.lowercased().drop { "+-.".contains($0) } == "nan" }

    /// A decimal number as Swift reads it, without the underscores that YAML allows. nil where it is none: also with
    /// leading zeros, which one version of YAML takes for octal.
    static func decimal(_ text: String) -> String? {
        var rest = Substring(text), isNegative = false
        if let sign = rest.first, "+-".contains(sign) { (isNegative, rest) = (sign == "-", rest.dropFirst()) }
        let number = rest.filter { $0 != "_" }, bytes = Array(number.utf8)
        guard bytes.count == number.count, bytes.contains(where: isDigit) else { return nil }
        let mantissa = bytes.prefix { isDigit($0) || $0 == UInt8(ascii: ".") },
            exponent = bytes.dropFirst(mantissa.count)
        let whole = mantissa.prefix { isDigit($0) }
        guard mantissa.count { $0 == UInt8(ascii: ".") } <= 1, mantissa.contains(where: isDigit) else { return nil }
        guard whole.count <= 1 || whole.first != UInt8(ascii: "0"), isExponent(exponent) else { return nil }
        return (isNegative ? "-" : "") + number
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    private static func isExponent(_ bytes: ArraySlice<UInt8>) -> Bool {
        guard let first = bytes.first else { return true }
        let digits = bytes.dropFirst().drop { $0 == UInt8(ascii: "+") || $0 == UInt8(ascii: "-") }
        return (first | 0x20) == UInt8(ascii: "e") && !digits.isEmpty && digits.allSatisfy(isDigit)
            && bytes.count - digits.count <= 2
    }

    /// A finite number; nil also where a Double would make 0 or infinity of it.
    static func double(_ text: String) -> Double? {
        guard let decimal = decimal(text), let value = Double(decimal), value.isFinite else { return nil }
        let mantissa = decimal.utf8.prefix { ($0 | 0x20) != UInt8(ascii: "e") }
        return value == 0 && mantissa.contains { (UInt8(ascii: "1")...UInt8(ascii: "9")).contains($0) } ? nil : value
    }

    /// A whole number, also written as 1e3 or 2.0.
    static func int(_ text: String) -> Int? {
        guard let decimal = decimal(text) else { return nil }
        if let value = Int(decimal) { return value }
        return Double(decimal).flatMap { Int(exactly: $0) }.flatMap { abs($0) <= 1 << 53 ? $0 : nil }
    }

    /// What a message shows without quotes.
    static func isSpecial(_ text: String) -> Bool {
        decimal(text) != nil || bool(text) != nil || isInfinite(text) || isNotANumber(text)
    }
}

extension RecipeNode: Encodable {
    func encode(to encoder: any Encoder) throws {
        switch self {
        case .map(let map):
            var container = encoder.container(keyedBy: Key.self)
            for (key, value) in map { try container.encode(value, forKey: Key(stringValue: key)) }
        case .list(let list):
            var container = encoder.unkeyedContainer()
            for value in list { try container.encode(value) }
        default:
            var container = encoder.singleValueContainer()
            switch self {
            case .plain(let text): try Self.encode(plain: text, into: &container)
            case .text(let text): try container.encode(text)
            default: try container.encodeNil()
            }
        }
    }

    /// Numbers with all the digits they were written with.
    private static func encode(plain text: String, into container: inout any SingleValueEncodingContainer) throws {
        guard let decimal = RecipeScalar.decimal(text), let value = RecipeScalar.double(text) else {
            if let value = RecipeScalar.bool(text) { return try container.encode(value) }
            return try container.encode(text)
        }
        if let whole = Int(decimal) { return try container.encode(whole) }
        guard let exact = Decimal(string: decimal), Decimal(string: "\(value)") != exact else {
            return try container.encode(value)
        }
        try container.encode(exact)
    }

    struct Key: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }
}
