/// Tokens one after the other, and expressions made of them, with Jinja's own precedences.
struct ExpressionParser {
    let name: String
    private let tokens: [TemplateToken]
    private var position = 0
    private var depth = 0

    /// What a chain (`a.b.c`, `a + b + c`, `x|f|g`) may have of links: it is a tree as deep as it is long.
    private static let longestChain = 200
    private static let deepest = 100

    init(_ tokens: [TemplateToken], name: String) { (self.tokens, self.name) = (tokens, name) }

    var token: TemplateToken { tokens[position] }
    private var next: TemplateToken { tokens[min(position + 1, tokens.count - 1)] }

    mutating func advance() { if position < tokens.count - 1 { position += 1 } }

    // MARK: errors

    func error(expected: String) -> TemplateError {
        TemplateError(
            template: name, line: token.line, reason: .syntax(found: token.spelled, expected: expected))
    }

    func unsupported(_ what: String, line: Int? = nil) -> TemplateError {
        TemplateError(template: name, line: line ?? token.line, reason: .unsupported(what))
    }

    // MARK: tokens

    func isNext(_ symbol: TemplateToken.Symbol) -> Bool { token.kind == .symbol(symbol) }
    func isNext(_ word: String) -> Bool { token.kind == .name(word) }

    mutating func takes(_ symbol: TemplateToken.Symbol) -> Bool {
        guard isNext(symbol) else { return false }
        advance()
        return true
    }

    mutating func takes(_ word: String) -> Bool {
        guard isNext(word) else { return false }
        advance()
        return true
    }

    mutating func expect(_ kind: TemplateToken.Kind, _ what: String) throws {
        guard token.kind == kind else { throw error(expected: what) }
        advance()
    }

    mutating func expectName() throws -> String {
        guard case .name(let name) = token.kind else { throw error(expected: "a name") }
        advance()
        return name
    }

    /// Brackets within brackets, bounded: each is several frames of the stack.
    private mutating func nested<T>(_ body: (inout ExpressionParser) throws -> T) throws -> T {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.deepest else {
            throw TemplateError(
                template: name, line: token.line,
                reason: .bound("expressions nested more than \(Self.deepest) deep"))
        }
        return try body(&self)
    }

    /// Repeats while `link` gives something that goes on from the expression.
    private mutating func chain(
        _ start: Expression, _ link: (inout ExpressionParser, Expression) throws -> Expression?
    ) throws -> Expression {
        var expression = start, count = 0
        while let longer = try link(&self, expression) {
            (expression, count) = (longer, count + 1)
            guard count <= Self.longestChain else {
                throw TemplateError(
                    template: name, line: token.line,
                    reason: .bound("an expression of more than \(Self.longestChain) parts"))
            }
        }
        return expression
    }

    // MARK: expressions

    mutating func expression() throws -> Expression { try nested { try $0.choice() } }

    /// `a if b else c`.
    private mutating func choice() throws -> Expression {
        let line = token.line
        return try chain(try or()) { parser, then in
            guard parser.takes("if") else { return nil }
            let condition = try parser.or()
            let otherwise = parser.takes("else") ? try parser.expression() : nil
            return Expression(line: line, form: .choice(condition: condition, then: then, otherwise: otherwise))
        }
    }

    mutating func or() throws -> Expression {
        try chain(try and()) { parser, left in
            let line = parser.token.line
            return parser.takes("or") ? Expression(line: line, form: .or(left, try parser.and())) : nil
        }
    }

    private mutating func and() throws -> Expression {
        try chain(try not()) { parser, left in
            let line = parser.token.line
            return parser.takes("and") ? Expression(line: line, form: .and(left, try parser.not())) : nil
        }
    }

    private mutating func not() throws -> Expression {
        let line = token.line
        guard takes("not") else { return try comparison() }
        return Expression(line: line, form: .not(try nested { try $0.not() }))
    }

    private static let comparisons: [TemplateToken.Symbol: Expression.Comparison] = [
        .equal: .equal, .unequal: .unequal, .less: .less, .lessOrEqual: .lessOrEqual, .greater: .greater,
        .greaterOrEqual: .greaterOrEqual,
    ]

    private mutating func takeComparison() -> Expression.Comparison? {
        if case .symbol(let symbol) = token.kind, let found = Self.comparisons[symbol] {
            advance()
            return found
        }
        if takes("in") { return .isIn }
        if isNext("not"), next.kind == .name("in") {
            advance()
            advance()
            return .isNotIn
        }
        return nil
    }

    private mutating func comparison() throws -> Expression {
        let line = token.line, first = try sum()
        var links: [(operation: Expression.Comparison, operand: Expression)] = []
        while let operation = takeComparison() { links.append((operation, try sum())) }
        return links.isEmpty ? first : Expression(line: line, form: .comparison(first, links))
    }

    private mutating func arithmetic(
        _ operations: [TemplateToken.Symbol: Expression.Arithmetic],
        _ operand: (inout ExpressionParser) throws -> Expression
    ) throws -> Expression {
        try chain(try operand(&self)) { parser, left in
            guard case .symbol(let symbol) = parser.token.kind, let operation = operations[symbol] else { return nil }
            let line = parser.token.line
            parser.advance()
            return Expression(line: line, form: .arithmetic(operation, left, try operand(&parser)))
        }
    }

    private mutating func sum() throws -> Expression {
        try arithmetic([.plus: .add, .minus: .subtract]) { try $0.concatenation() }
    }

    private mutating func concatenation() throws -> Expression {
        let line = token.line
        var parts = [try product()]
        while takes(.concatenate) { parts.append(try product()) }
        return parts.count == 1 ? parts[0] : Expression(line: line, form: .concatenation(parts))
    }

    private mutating func product() throws -> Expression {
        try arithmetic([.times: .multiply, .divide: .divide, .divideWhole: .divideWhole, .remainder: .remainder]) {
            try $0.arithmetic([.power: .power]) { try $0.unary() }
        }
    }

    /// A sign stands before what a filter is applied to: `-x|abs` is `(-x)|abs`.
    private mutating func unary(withFilters: Bool = true) throws -> Expression {
        let line = token.line
        var expression: Expression
        if takes(.minus) {
            expression = Expression(line: line, form: .negative(try nested { try $0.unary(withFilters: false) }))
        } else if takes(.plus) {
            expression = Expression(line: line, form: .positive(try nested { try $0.unary(withFilters: false) }))
        } else {
            expression = try primary()
        }
        expression = try postfix(expression)
        return withFilters ? try filtered(expression) : expression
    }

    // MARK: what stands alone

    private static let constants: [String: Expression.Literal] = [
        "true": .bool(true), "True": .bool(true), "false": .bool(false), "False": .bool(false), "none": .none,
        "None": .none,
    ]
    /// Names that a macro has of itself, in Jinja.
    private static let reserved: Set<String> = ["varargs", "kwargs", "caller", "super", "self"]

    private mutating func primary() throws -> Expression {
        let line = token.line
        func made(_ form: Expression.Form) -> Expression { Expression(line: line, form: form) }
        switch token.kind {
        case .name(let word):
            advance()
            if let constant = Self.constants[word] { return made(.literal(constant)) }
            if Self.reserved.contains(word) { throw unsupported("the name '\(word)'", line: line) }
            return made(.name(word))
        case .integer(let number):
            advance()
            return made(.literal(.integer(number)))
        case .float(let number):
            advance()
            return made(.literal(.float(number)))
        case .string(var text):
            advance()
            // Texts behind each other are one, as in Python.
            while case .string(let more) = token.kind {
                text += more
                advance()
            }
            return made(.literal(.string(text)))
        case .symbol(.openRound):
            advance()
            return try nested { try $0.bracketed(line) }
        case .symbol(.openSquare):
            advance()
            return made(.list(try nested { try $0.elements(until: .closeSquare) }))
        case .symbol(.openCurly):
            advance()
            return made(.mapping(try nested { try $0.pairs() }))
        default: throw error(expected: "an expression")
        }
    }

    /// What follows an opening round bracket: an expression, or a tuple.
    private mutating func bracketed(_ line: Int) throws -> Expression {
        if takes(.closeRound) { return Expression(line: line, form: .tuple([])) }
        let first = try expression()
        if takes(.closeRound) { return first }
        try expect(.symbol(.comma), "',' or ')'")
        return Expression(line: line, form: .tuple([first] + (try elements(until: .closeRound))))
    }

    private mutating func elements(until end: TemplateToken.Symbol) throws -> [Expression] {
        var elements: [Expression] = []
        while !takes(end) {
            elements.append(try expression())
            if !isNext(end) { try expect(.symbol(.comma), "',' or '\(end.rawValue)'") }
        }
        return elements
    }

    private mutating func pairs() throws -> [(key: Expression, value: Expression)] {
        var pairs: [(key: Expression, value: Expression)] = []
        while !takes(.closeCurly) {
            let key = try expression()
            try expect(.symbol(.colon), "':'")
            pairs.append((key, try expression()))
            if !isNext(.closeCurly) { try expect(.symbol(.comma), "',' or '}'") }
        }
        return pairs
    }

    /// Expressions with commas between them are a tuple; `withChoice`: whether an `if` goes on with the expression.
    mutating func tuple(withChoice: Bool = true) throws -> Expression {
        let line = token.line
        func one(_ parser: inout ExpressionParser) throws -> Expression {
            withChoice ? try parser.expression() : try parser.nested { try $0.or() }
        }
        let first = try one(&self)
        guard isNext(.comma) else { return first }
        var parts = [first]
        while takes(.comma) {
            if token.kind == .blockEnd || token.kind == .variableEnd { break }
            parts.append(try one(&self))
        }
        return Expression(line: line, form: .tuple(parts))
    }

    // MARK: what follows a value

    private mutating func postfix(_ start: Expression) throws -> Expression {
        try chain(start) { parser, value in
            let line = parser.token.line
            if parser.takes(.dot) { return try parser.attribute(value, line) }
            if parser.takes(.openSquare) { return try parser.subscripted(value, line) }
            guard parser.takes(.openRound) else { return nil }
            return Expression(line: line, form: .call(value, try parser.nested { try $0.arguments() }))
        }
    }

    private mutating func attribute(_ value: Expression, _ line: Int) throws -> Expression {
        if case .integer(let number) = token.kind {
            advance()
            let index = Expression(line: line, form: .literal(.integer(number)))
            return Expression(line: line, form: .item(value, index))
        }
        return Expression(line: line, form: .attribute(value, try expectName()))
    }

    private mutating func subscripted(_ value: Expression, _ line: Int) throws -> Expression {
        var bounds = SliceBounds()
        if !isNext(.colon) {
            let index = try expression()
            if takes(.closeSquare) { return Expression(line: line, form: .item(value, index)) }
            bounds.from = index
        }
        if isNext(.comma) { throw unsupported("an index of several values") }
        try expect(.symbol(.colon), "']' or ':'")
        if !isNext(.colon), !isNext(.closeSquare) { bounds.to = try expression() }
        if takes(.colon), !isNext(.closeSquare) { bounds.step = try expression() }
        try expect(.symbol(.closeSquare), "']'")
        return Expression(line: line, form: .slice(value, bounds))
    }

    private mutating func arguments() throws -> ArgumentList {
        var list = ArgumentList()
        while !takes(.closeRound) {
            if isNext(.times) || isNext(.power) { throw unsupported("arguments that come as a list or a dict") }
            if case .name(let name) = token.kind, next.kind == .symbol(.assign) {
                advance()
                advance()
                list.named.append((name, try expression()))
            } else {
                guard list.named.isEmpty else { throw error(expected: "a named argument behind a named one") }
                list.positional.append(try expression())
            }
            if !isNext(.closeRound) { try expect(.symbol(.comma), "',' or ')'") }
        }
        return list
    }

    private mutating func filtered(_ start: Expression) throws -> Expression {
        try chain(start) { parser, value in
            let line = parser.token.line
            if parser.takes(.pipe) {
                let (filter, arguments) = try parser.filter()
                return Expression(line: line, form: .filter(value, filter, arguments))
            }
            if parser.takes("is") { return try parser.test(value, line) }
            guard parser.takes(.openRound) else { return nil }
            return Expression(line: line, form: .call(value, try parser.nested { try $0.arguments() }))
        }
    }

    /// Behind a bar.
    mutating func filter() throws -> (filter: TemplateFilter, arguments: ArgumentList) {
        let line = token.line, name = try dottedName()
        guard let filter = TemplateFilter.named(name) else { throw unsupported("the filter '\(name)'", line: line) }
        return (filter, takes(.openRound) ? try nested { try $0.arguments() } : ArgumentList())
    }

    private mutating func dottedName() throws -> String {
        var name = try expectName()
        while takes(.dot) { name += "." + (try expectName()) }
        return name
    }

    /// A test's argument may stand without brackets, unless it is a word that goes on with the expression.
    private var beginsArgument: Bool {
        switch token.kind {
        case .name(let word): !["else", "or", "and"].contains(word)
        case .string, .integer, .float: true
        case .symbol(let symbol): symbol.closing != nil
        default: false
        }
    }

    private mutating func test(_ value: Expression, _ line: Int) throws -> Expression {
        let isNegated = takes("not"), name = try dottedName()
        guard let test = TemplateTest.named(name) else { throw unsupported("the test '\(name)'", line: line) }
        var arguments = ArgumentList()
        if takes(.openRound) {
            arguments = try nested { try $0.arguments() }
        } else if beginsArgument {
            guard !isNext("is") else { throw error(expected: "one test, not two behind each other") }
            arguments.positional = [try nested { try $0.postfix(try $0.primary()) }]
        }
        let expression = Expression(line: line, form: .test(value, test, arguments))
        return isNegated ? Expression(line: line, form: .not(expression)) : expression
    }
}
