/// Tokens → statements.
struct TemplateParser {
    private var tokens: ExpressionParser
    private var depth = 0
    private var loops = 0
    private(set) var hasGenerationMarks = false

    private static let deepest = 50

    struct Parsed {
        let body: [Statement]
        let hasGenerationMarks: Bool
        let asksForDate: Bool
    }

    static func parse(_ text: String, name: String) throws -> Parsed {
        let tokens = try TemplateLexer.tokens(text, name: name)
        var parser = TemplateParser(tokens: ExpressionParser(tokens, name: name))
        let body = try parser.statements(until: [])
        return Parsed(
            body: body, hasGenerationMarks: parser.hasGenerationMarks,
            asksForDate: tokens.contains { $0.kind == .name("strftime_now") })
    }

    private init(tokens: ExpressionParser) { self.tokens = tokens }

    /// Up to a tag with one of the words, whose word stands next then; to the end where there are none.
    private mutating func statements(until ends: [String]) throws -> [Statement] {
        let opening = tokens.token.line
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.deepest else {
            throw TemplateError(
                template: tokens.name, line: opening, reason: .bound("blocks nested more than \(Self.deepest) deep"))
        }
        var body: [Statement] = []
        while true {
            let line = tokens.token.line
            switch tokens.token.kind {
            case .data(let text):
                tokens.advance()
                body.append(Statement(line: line, form: .text(text)))
            case .variableBegin:
                tokens.advance()
                body.append(Statement(line: line, form: .output(try tokens.tuple())))
                try tokens.expect(.variableEnd, "'}}'")
            case .blockBegin:
                tokens.advance()
                if ends.contains(where: tokens.isNext) { return body }
                body.append(Statement(line: line, form: try statement()))
            default:
                guard ends.isEmpty else {
                    throw tokens.error(expected: "{% \(ends.joined(separator: " %} or {% ")) %}")
                }
                return body
            }
        }
    }

    /// Tags of Jinja that no chat template uses.
    private static let unknown: Set<String> = [
        "autoescape", "block", "call", "debug", "do", "extends", "filter", "from", "import", "include", "print", "raw",
        "trans", "with",
    ]

    private mutating func statement() throws -> Statement.Form {
        let line = tokens.token.line, word = try tokens.expectName()
        switch word {
        case "for": return try loop()
        case "if": return try branches()
        case "set": return try set()
        case "macro": return try macro()
        case "generation": return try generation()
        case "break", "continue":
            guard loops > 0 else { throw tokens.error(expected: "'\(word)' within a loop") }
            try tokens.expect(.blockEnd, "'%}'")
            return word == "break" ? .breakLoop : .continueLoop
        default:
            if Self.unknown.contains(word) { throw tokens.unsupported("the statement '\(word)'", line: line) }
            throw TemplateError(
                template: tokens.name, line: line, reason: .syntax(found: "'\(word)'", expected: "a statement of Jinja")
            )
        }
    }

    /// The word that ended a body, and its tag's end.
    private mutating func end(_ word: String) throws {
        try tokens.expect(.name(word), "'\(word)'")
        try tokens.expect(.blockEnd, "'%}'")
    }

    private mutating func body(until word: String) throws -> [Statement] {
        try tokens.expect(.blockEnd, "'%}'")
        let body = try statements(until: [word])
        try end(word)
        return body
    }

    // MARK: loops and branches

    private mutating func loop() throws -> Statement.Form {
        let target = try targets()
        guard tokens.takes("in") else { throw tokens.error(expected: "'in'") }
        let source = try tokens.tuple(withChoice: false)
        let filter = tokens.takes("if") ? try tokens.expression() : nil
        if tokens.isNext("recursive") { throw tokens.unsupported("a recursive loop") }
        try tokens.expect(.blockEnd, "'%}'")
        loops += 1
        let body = try statements(until: ["endfor", "else"])
        loops -= 1
        var otherwise: [Statement] = []
        if tokens.takes("else") {
            try tokens.expect(.blockEnd, "'%}'")
            otherwise = try statements(until: ["endfor"])
        }
        try end("endfor")
        return .loop(.init(target: target, source: source, filter: filter, body: body, otherwise: otherwise))
    }

    private mutating func branches() throws -> Statement.Form {
        var branches: [(condition: Expression, body: [Statement])] = []
        repeat {
            let condition = try tokens.tuple(withChoice: false)
            try tokens.expect(.blockEnd, "'%}'")
            branches.append((condition, try statements(until: ["elif", "else", "endif"])))
        } while tokens.takes("elif")
        var otherwise: [Statement] = []
        if tokens.takes("else") {
            try tokens.expect(.blockEnd, "'%}'")
            otherwise = try statements(until: ["endif"])
        }
        try end("endif")
        return .branches(branches, otherwise: otherwise)
    }

    // MARK: names

    /// Names with commas between them, in brackets or not.
    private mutating func targets() throws -> Target {
        var parts = [try target()], isTuple = false
        while tokens.takes(.comma) {
            isTuple = true
            if tokens.isNext("in") || tokens.isNext(.assign) { break }
            parts.append(try target())
        }
        return isTuple ? .tuple(parts) : parts[0]
    }

    private mutating func target() throws -> Target {
        if tokens.takes(.openRound) {
            let inner = try targets()
            try tokens.expect(.symbol(.closeRound), "')'")
            return inner
        }
        let name = try tokens.expectName()
        if tokens.takes(.dot) { return .attribute(name, try tokens.expectName()) }
        guard !["true", "false", "none", "True", "False", "None", "loop"].contains(name) else {
            throw tokens.error(expected: "a name that can be set, not '\(name)'")
        }
        return .name(name)
    }

    private mutating func set() throws -> Statement.Form {
        let target = try targets()
        if tokens.takes(.assign) {
            let value = try tokens.tuple()
            try tokens.expect(.blockEnd, "'%}'")
            return .set(target, value)
        }
        var filters: [(filter: TemplateFilter, arguments: ArgumentList)] = []
        while tokens.takes(.pipe) { filters.append(try tokens.filter()) }
        return .capture(target, filters: filters, body: try body(until: "endset"))
    }

    private mutating func macro() throws -> Statement.Form {
        let name = try tokens.expectName()
        try tokens.expect(.symbol(.openRound), "'('")
        var parameters: [(name: String, fallback: Expression?)] = []
        while !tokens.takes(.closeRound) {
            let parameter = try tokens.expectName()
            parameters.append((parameter, tokens.takes(.assign) ? try tokens.expression() : nil))
            if !tokens.isNext(.closeRound) { try tokens.expect(.symbol(.comma), "',' or ')'") }
        }
        // A macro's body is a function of its own: a loop around it can't be left from there.
        let outer = loops
        loops = 0
        defer { loops = outer }
        return .macro(MacroDefinition(name: name, parameters: parameters, body: try body(until: "endmacro")))
    }

    private mutating func generation() throws -> Statement.Form {
        hasGenerationMarks = true
        let outer = loops
        loops = 0
        defer { loops = outer }
        return .generation(try body(until: "endgeneration"))
    }
}
