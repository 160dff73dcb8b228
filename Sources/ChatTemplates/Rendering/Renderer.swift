/// Runs a template once. Every step is counted, and so are the texts and lists that it makes.
final class Renderer {
    private enum Flow { case goesOn, breaks, continues }

    private let name: String
    let context: FunctionContext
    private(set) var line = 1
    private var steps = 0
    private var depth = 0
    /// The output, and the texts of macros and captures that are being made.
    private var buffers = [""]
    /// Characters of the output itself.
    private var length = 0
    private(set) var generation: [Range<Int>] = []
    /// Of a generation that stands in a macro or a capture: nobody can say where in the output it is.
    private(set) var misplacedGeneration: Int?

    init(name: String, context: FunctionContext) { (self.name, self.context) = (name, context) }

    func run(_ body: [Statement], _ scope: Scope) throws -> String {
        do { _ = try execute(body, scope) } catch let fault as TemplateFault {
            throw TemplateError(template: name, line: line, reason: fault.reason)
        }
        return buffers[0]
    }

    // MARK: bounds

    private func count(_ more: Int = 1) throws(TemplateFault) {
        steps += more
        if steps > TemplateBounds.steps {
            throw .bound("a template that takes more than \(TemplateBounds.steps) steps")
        }
    }

    private func nested<T>(_ body: () throws -> T) throws -> T {
        depth += 1
        defer { depth -= 1 }
        if depth > TemplateBounds.depth {
            throw TemplateFault.bound("calls and brackets nested more than \(TemplateBounds.depth) deep")
        }
        return try body()
    }

    /// What was made counts by its size, so that no doubling can go on for long.
    private func measured(_ value: TemplateValue) throws(TemplateFault) -> TemplateValue {
        switch value {
        case .string(let text), .marked(let text):
            try TemplateBounds.require(text: text.utf8.count)
            try count(text.utf8.count >> 8)
        case .list(let values), .tuple(let values), .view(let values, _): try count(values.count >> 4)
        default: break
        }
        return value
    }

    /// A list or a dict that the template itself makes may hold others any number of times.
    private func weighed(_ value: TemplateValue) throws(TemplateFault) -> TemplateValue {
        var weight = 0
        try weigh(value, &weight, depth: 0)
        try count(weight >> 4)
        return value
    }

    private func weigh(_ value: TemplateValue, _ weight: inout Int, depth: Int) throws(TemplateFault) {
        weight += 1
        guard weight <= TemplateBounds.elements, depth <= 200 else {
            throw .bound("a list that holds more than \(TemplateBounds.elements) values, or lists within lists")
        }
        switch value {
        case .list(let values), .tuple(let values), .view(let values, _):
            for value in values { try weigh(value, &weight, depth: depth + 1) }
        case .mapping(let mapping):
            for entry in mapping.entries { try weigh(entry.value, &weight, depth: depth + 1) }
        default: break
        }
    }

    // MARK: statements

    private func execute(_ body: [Statement], _ scope: Scope) throws -> Flow {
        for statement in body {
            let flow = try execute(statement, scope)
            if flow != .goesOn { return flow }
        }
        return .goesOn
    }

    private func execute(_ statement: Statement, _ scope: Scope) throws -> Flow {
        line = statement.line
        try count()
        switch statement.form {
        case .text(let text): try write(text)
        case .output(let expression): try write(try evaluate(expression, scope).printed())
        case .loop(let loop): return try nested { try run(loop, scope) }
        case .branches(let branches, let otherwise):
            for (condition, body) in branches where try evaluate(condition, scope).isTrue {
                return try nested { try execute(body, scope) }
            }
            return try nested { try execute(otherwise, scope) }
        case .set(let target, let expression): try assign(try evaluate(expression, scope), target, scope)
        case .capture(let target, let filters, let body):
            var value = TemplateValue.string(try captured { try execute(body, Scope(scope)) })
            for (filter, arguments) in filters { value = try filter.apply(value, try self.arguments(arguments, scope)) }
            try assign(try measured(value), target, scope)
        case .macro(let definition): scope.set(definition.name, .macro(Macro(definition, scope)))
        case .breakLoop: return .breaks
        case .continueLoop: return .continues
        case .generation(let body): try generate(body, scope)
        }
        return .goesOn
    }

    private func write(_ text: String) throws {
        try TemplateBounds.require(text: buffers[buffers.count - 1].utf8.count + text.utf8.count)
        try count(text.utf8.count >> 8)
        buffers[buffers.count - 1] += text
        if buffers.count == 1 { length += text.unicodeScalars.count }
    }

    private func captured(_ body: () throws -> Flow) throws -> String {
        buffers.append("")
        let flow = Result { try body() }
        let text = buffers.removeLast()
        _ = try flow.get()
        return text
    }

    private func generate(_ body: [Statement], _ scope: Scope) throws {
        if buffers.count > 1 { misplacedGeneration = misplacedGeneration ?? line }
        let start = length
        _ = try nested { try execute(body, Scope(scope)) }
        if buffers.count == 1 { generation.append(start..<length) }
    }

    private func run(_ loop: Statement.Loop, _ scope: Scope) throws -> Flow {
        var elements = try evaluate(loop.source, scope).elements().makeIterator()
        let state = LoopState { [self] in
            while let element = elements.next() {
                guard let filter = loop.filter else { return element }
                try count()
                let inner = Scope(scope)
                try assign(element, loop.target, inner)
                if try evaluate(filter, inner).isTrue { return element }
            }
            return nil
        }
        while let element = try state.advance() {
            try count()
            let inner = Scope(scope)
            inner.set("loop", .loop(state))
            try assign(element, loop.target, inner)
            if try execute(loop.body, inner) == .breaks { return .goesOn }
        }
        return state.index0 < 0 ? try execute(loop.otherwise, Scope(scope)) : .goesOn
    }

    private func assign(_ value: TemplateValue, _ target: Target, _ scope: Scope) throws {
        switch target {
        case .name(let name): scope.set(name, value)
        case .attribute(let name, let attribute):
            guard case .namespace(let space) = scope.value(name) else {
                throw TemplateFault.failed("'\(name)' is no namespace, so '\(name).\(attribute)' can't be set")
            }
            try space.set(attribute, value)
        case .tuple(let targets):
            let values = try value.elements()
            guard values.count == targets.count else {
                throw TemplateFault.failed("\(values.count) values for \(targets.count) names")
            }
            for (value, target) in zip(values, targets) { try assign(value, target, scope) }
        }
    }

    // MARK: expressions

    func evaluate(_ expression: Expression, _ scope: Scope) throws -> TemplateValue {
        try count()
        line = expression.line
        return try nested { try value(of: expression, scope) }
    }

    private func value(of expression: Expression, _ scope: Scope) throws -> TemplateValue {
        switch expression.form {
        case .literal(let literal): TemplateValue(literal)
        case .name(let name): try lookup(name, scope)
        case .list(let elements): try weighed(.list(try elements.map { try evaluate($0, scope) }))
        case .tuple(let elements): try weighed(.tuple(try elements.map { try evaluate($0, scope) }))
        case .mapping(let pairs): try weighed(.mapping(try mapping(pairs, scope)))
        case .attribute(let owner, let name): try evaluate(owner, scope).attribute(name)
        case .item(let owner, let key): try evaluate(owner, scope).item(try evaluate(key, scope))
        case .slice(let owner, let bounds): try slice(owner, bounds, scope)
        case .call(let callee, let arguments): try call(callee, arguments, scope, expression.line)
        case .filter(let value, let filter, let arguments):
            try filtered(value, filter, arguments, scope, expression.line)
        case .test(let value, let test, let arguments):
            .bool(try test.holds(try evaluate(value, scope), try self.arguments(arguments, scope)))
        case .negative(let value): try evaluate(value, scope).negated()
        case .positive(let value): try evaluate(value, scope).combined(.add, .integer(0))
        case .not(let value): .bool(!(try evaluate(value, scope).isTrue))
        case .and(let one, let two): try both(one, two, scope)
        case .or(let one, let two): try either(one, two, scope)
        case .arithmetic(let operation, let one, let two): try arithmetic(operation, one, two, scope)
        case .concatenation(let parts): try concatenated(parts, scope)
        case .comparison(let first, let links): .bool(try compared(first, links, scope))
        case .choice(let condition, let then, let otherwise): try chosen(condition, then, otherwise, scope)
        }
    }

    private func lookup(_ name: String, _ scope: Scope) throws -> TemplateValue {
        if let value = scope.value(name) { return value }
        if let function = TemplateFunction.byName[name] { return .function(function) }
        if TemplateFunction.unknown.contains(name) { throw TemplateFault.unsupported("the function '\(name)'") }
        return .undefined("'\(name)' is undefined")
    }

    private func mapping(_ pairs: [(key: Expression, value: Expression)], _ scope: Scope) throws -> TemplateMapping {
        var mapping = TemplateMapping()
        for (key, value) in pairs { try mapping.set(try evaluate(key, scope), try evaluate(value, scope)) }
        return mapping
    }

    private func slice(_ owner: Expression, _ bounds: SliceBounds, _ scope: Scope) throws -> TemplateValue {
        func bound(_ expression: Expression?) throws -> Int? {
            guard let value = try expression.map({ try evaluate($0, scope) }), !value.isNone else { return nil }
            guard let number = value.integer else {
                throw TemplateFault.failed("a slice goes by whole numbers, not by a value of kind '\(value.typeName)'")
            }
            return number
        }
        let value = try evaluate(owner, scope)
        return try measured(try value.slice(try bound(bounds.from), try bound(bounds.to), try bound(bounds.step)))
    }

    private func both(_ one: Expression, _ two: Expression, _ scope: Scope) throws -> TemplateValue {
        let value = try evaluate(one, scope)
        return value.isTrue ? try evaluate(two, scope) : value
    }

    private func either(_ one: Expression, _ two: Expression, _ scope: Scope) throws -> TemplateValue {
        let value = try evaluate(one, scope)
        return value.isTrue ? value : try evaluate(two, scope)
    }

    private func arithmetic(
        _ operation: Expression.Arithmetic, _ one: Expression, _ two: Expression, _ scope: Scope
    ) throws -> TemplateValue {
        let result = try evaluate(one, scope).combined(operation, try evaluate(two, scope))
        if case .list = result { return try weighed(result) }
        if case .tuple = result { return try weighed(result) }
        return try measured(result)
    }

    private func concatenated(_ parts: [Expression], _ scope: Scope) throws -> TemplateValue {
        var text = ""
        for part in parts {
            let more = try evaluate(part, scope).printed()
            try TemplateBounds.require(text: text.utf8.count + more.utf8.count)
            text += more
        }
        return try measured(.string(text))
    }

    private func compared(
        _ first: Expression, _ links: [(operation: Expression.Comparison, operand: Expression)], _ scope: Scope
    ) throws -> Bool {
        var left = try evaluate(first, scope)
        for (operation, operand) in links {
            let right = try evaluate(operand, scope)
            guard try operation.holds(left, right) else { return false }
            left = right
        }
        return true
    }

    private func chosen(
        _ condition: Expression, _ then: Expression, _ otherwise: Expression?, _ scope: Scope
    ) throws -> TemplateValue {
        if try evaluate(condition, scope).isTrue { return try evaluate(then, scope) }
        return try otherwise.map { try evaluate($0, scope) }
            ?? .undefined("an expression with 'if' and without 'else' gave nothing")
    }

    // MARK: calls

    private func arguments(_ list: ArgumentList, _ scope: Scope) throws -> CallArguments {
        CallArguments(
            positional: try list.positional.map { try evaluate($0, scope) },
            named: try list.named.map { ($0.name, try evaluate($0.value, scope)) })
    }

    private func filtered(
        _ value: Expression, _ filter: TemplateFilter, _ list: ArgumentList, _ scope: Scope, _ own: Int
    ) throws -> TemplateValue {
        let given = try evaluate(value, scope), arguments = try arguments(list, scope)
        line = own
        try count(given.count.map { $0 >> 4 } ?? 0)
        return try measured(try filter.apply(given, arguments))
    }

    private func call(_ callee: Expression, _ list: ArgumentList, _ scope: Scope, _ own: Int) throws -> TemplateValue {
        let function = try evaluate(callee, scope), arguments = try arguments(list, scope)
        line = own
        switch function {
        case .undefined(let words): throw TemplateFault.failed(words)
        case .function(let function): return try measured(try function.call(arguments, context))
        case .method(let method, let owner):
            return try measured(try method.call(owner.first ?? .none, arguments))
        case .macro(let macro): return .string(try call(macro, arguments))
        default: throw TemplateFault.failed("a value of kind '\(function.typeName)' can't be called")
        }
    }

    private func call(_ macro: Macro, _ arguments: CallArguments) throws -> String {
        let definition = macro.definition
        try arguments.require(definition.parameters.map(\.name), of: "the macro '\(definition.name)'")
        let scope = Scope(macro.scope)
        for (place, parameter) in definition.parameters.enumerated() {
            let given =
                try arguments.value(place, parameter.name)
                ?? parameter.fallback.map { try evaluate($0, scope) }
            scope.set(parameter.name, given ?? .undefined("parameter '\(parameter.name)' was not given"))
        }
        return try captured { try execute(definition.body, scope) }
    }
}

extension TemplateValue {
    fileprivate init(_ literal: Expression.Literal) {
        switch literal {
        case .none: self = .none
        case .bool(let flag): self = .bool(flag)
        case .integer(let number): self = .integer(number)
        case .float(let number): self = .float(number)
        case .string(let text): self = .string(text)
        }
    }
}

extension Expression.Comparison {
    fileprivate func holds(_ one: TemplateValue, _ two: TemplateValue) throws(TemplateFault) -> Bool {
        switch self {
        case .equal: one.equals(two)
        case .unequal: !one.equals(two)
        case .less: try one.isLess(than: two)
        case .greater: try two.isLess(than: one)
        // With NaN among them neither holds.
        case .lessOrEqual: try one.isLess(than: two) || one.equals(two)
        case .greaterOrEqual: try two.isLess(than: one) || one.equals(two)
        case .isIn: try two.contains(one)
        case .isNotIn: try !two.contains(one)
        }
    }
}
