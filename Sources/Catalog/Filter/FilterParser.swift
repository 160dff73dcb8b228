/// Words of a filter → its tree. `or` binds least, then `and`, then `not`.
struct FilterParser {
    private let tokens: [FilterTokens.Token]
    private var place = 0
    private var level = 0

    /// So that no nesting exhausts the stack, ours or SQLite's.
    static let mostLevels = 100

    init(_ tokens: [FilterTokens.Token]) { self.tokens = tokens }

    private var token: FilterTokens.Token { tokens[min(place, tokens.count - 1)] }

    /// The whole text.
    mutating func filter() throws -> RunFilter {
        let found = try alternatives()
        guard token.kind == .end else { throw error("and, or, or the end") }
        return found
    }

    /// Names by commas.
    mutating func names() throws -> [FilterName] {
        var all: [FilterName] = []
        repeat {
            guard case .name(let name) = try operand() else {
                place -= 1
                throw error("a name")
            }
            all.append(name)
        } while take(.comma)
        guard token.kind == .end else { throw error("a comma, or the end") }
        return all
    }

    private mutating func alternatives() throws -> RunFilter {
        var all = [try conditions()]
        while takeWord("or") { all.append(try conditions()) }
        return all.count == 1 ? all[0] : .or(all)
    }

    private mutating func conditions() throws -> RunFilter {
        var all = [try condition()]
        while takeWord("and") { all.append(try condition()) }
        return all.count == 1 ? all[0] : .and(all)
    }

    private mutating func condition() throws -> RunFilter {
        level += 1
        defer { level -= 1 }
        guard level <= Self.mostLevels else { throw error("at most \(Self.mostLevels) conditions inside each other") }
        if takeWord("not") { return .not(try condition()) }
        if take(.open) {
            let inner = try alternatives()
            guard take(.close) else { throw error("and, or, or )") }
            return inner
        }
        return try comparison()
    }

    private mutating func comparison() throws -> RunFilter {
        let left = try operand()
        if case .comparison(let comparison) = token.kind {
            place += 1
            return .comparison(left, comparison, try operand())
        }
        guard case .name(let name) = left else { throw error("a comparison: =, !=, <, <=, >, >=") }
        if takeWord("is") {
            let isNegated = takeWord("not")
            guard takeWord("null") else { throw error(isNegated ? "null" : "null, or not null") }
            return isNegated ? .not(.isNull(name)) : .isNull(name)
        }
        let isNegated = takeWord("not")
        guard let condition = try membership(name) else {
            throw error(isNegated ? "like or in" : "a comparison: =, !=, <, <=, >, >=, like, in, is null")
        }
        return isNegated ? .not(condition) : condition
    }

    private mutating func membership(_ name: FilterName) throws -> RunFilter? {
        if takeWord("like") {
            guard case .text(let pattern) = token.kind else { throw error("a text in quotes, with % for anything") }
            place += 1
            return .like(name, pattern: pattern)
        }
        guard takeWord("in") else { return nil }
        guard take(.open) else { throw error("( and a list of values") }
        var values = [try value()]
        while take(.comma) { values.append(try value()) }
        guard take(.close) else { throw error("a comma or )") }
        return .among(name, values)
    }

    private mutating func value() throws -> CatalogValue {
        guard case .value(let value) = try operand() else {
            place -= 1
            throw error("a number, a text in quotes, true or false")
        }
        return value
    }

    private mutating func operand() throws -> FilterOperand {
        let found = token
        place += 1
        switch found.kind {
        case .number(let value): return .value(value)
        case .text(let text): return .value(.text(text))
        case .name(let word) where found.written.hasPrefix("`"): return .name(try name(word, found.position))
        case .name(let word):
            switch word.lowercased() {
            case "true": return .value(.truth(true))
            case "false": return .value(.truth(false))
            case "and", "or", "not", "like", "in", "is", "null": break
            default: return .name(try name(word, found.position))
            }
        default: break
        }
        place -= 1
        throw error("a name, a number, a text in quotes, true or false")
    }

    /// `loss`, or `min(loss)`.
    private mutating func name(_ word: String, _ position: Int) throws -> FilterName {
        guard token.kind == .open else { return FilterName(word, position: position) }
        guard let reduction = MetricReduction(rawValue: word.lowercased()) else {
            place -= 1
            throw error("one of \(MetricReduction.allCases.map { $0.rawValue + "(…)" }.joined(separator: ", "))")
        }
        place += 1
        guard case .name(let metric) = token.kind else { throw error("the name of a metric") }
        place += 1
        guard take(.close) else { throw error(")") }
        return FilterName(metric, reduction: reduction, position: position)
    }

    private mutating func take(_ kind: FilterTokens.Kind) -> Bool {
        guard token.kind == kind else { return false }
        place += 1
        return true
    }

    /// A word of the language, in whatever letters.
    private mutating func takeWord(_ word: String) -> Bool {
        guard case .name(let found) = token.kind, found.lowercased() == word, !token.written.hasPrefix("`") else {
            return false
        }
        place += 1
        return true
    }

    private func error(_ expected: String) -> FilterError {
        let found = token.kind == .end ? "the end" : "'\(token.written)'"
        return FilterError(position: token.position, found: found, expected: expected)
    }
}

extension FilterName {
    /// Names by commas, such as `entropy.mask.top,max(heldout_accuracy)`; at least one.
    ///
    /// - Throws: `FilterError`.
    package static func list(_ text: String) throws -> [FilterName] {
        var parser = FilterParser(try FilterTokens(text).all())
        return try parser.names()
    }
}
