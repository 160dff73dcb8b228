/// A piece of a template's text.
struct TemplateToken: Equatable, Sendable {
    enum Kind: Equatable, Sendable {
        /// Text outside of all tags.
        case data(String)
        case blockBegin, blockEnd, variableBegin, variableEnd
        case name(String)
        case integer(Int)
        case float(Double)
        case string(String)
        case symbol(Symbol)
        case end
    }

    /// Operators and brackets.
    enum Symbol: String, CaseIterable, Sendable {
        case plus = "+", minus = "-", times = "*", power = "**", divide = "/", divideWhole = "//", remainder = "%"
        case concatenate = "~"
        case equal = "==", unequal = "!=", less = "<", lessOrEqual = "<=", greater = ">", greaterOrEqual = ">="
        case assign = "=", dot = ".", comma = ",", colon = ":", pipe = "|", semicolon = ";"
        case openRound = "(", closeRound = ")", openSquare = "[", closeSquare = "]", openCurly = "{", closeCurly = "}"

        /// Longest first: `**` is not two `*`.
        static let longestFirst = allCases.sorted { $0.rawValue.count > $1.rawValue.count }

        var closing: Symbol? {
            switch self {
            case .openRound: .closeRound
            case .openSquare: .closeSquare
            case .openCurly: .closeCurly
            default: nil
            }
        }
    }

    let kind: Kind
    let line: Int

    /// For messages.
    var spelled: String {
        switch kind {
        case .data: "text"
        case .blockBegin: "'{%'"
        case .blockEnd: "'%}'"
        case .variableBegin: "'{{'"
        case .variableEnd: "'}}'"
        case .name(let name): "'\(name)'"
        case .integer(let number): "'\(number)'"
        case .float(let number): "'\(number)'"
        case .string(let text): "the text '\(text.prefix(40))'"
        case .symbol(let symbol): "'\(symbol.rawValue)'"
        case .end: "the template's end"
        }
    }
}

extension Unicode.Scalar {
    /// What Python's `str.isspace` and `\s` take for white space.
    var isPythonSpace: Bool { properties.isWhitespace || (0x1c...0x1f).contains(value) }

    var isDigit: Bool { ("0"..."9").contains(self) }
    /// Names of templates are ASCII but for exotic ones, which Jinja takes too.
    var startsName: Bool { self == "_" || properties.isXIDStart }
    var continuesName: Bool { self == "_" || properties.isXIDContinue }
}
