import Foundation

/// `+`, `-`, `*`, `/`, `//`, `%`, `**`, as Python computes them.
extension TemplateValue {
    func combined(_ operation: Expression.Arithmetic, _ other: TemplateValue) throws(TemplateFault) -> TemplateValue {
        for value in [self, other] { if case .undefined(let words) = value { throw .failed(words) } }
        if let one = integer, let two = other.integer { return try Self.whole(operation, one, two) }
        if let one = number, let two = other.number { return try Self.real(operation, one, two) }
        switch operation {
        case .add: if let sum = try sum(other) { return sum }
        case .multiply:
            if let repeated = try repeated(other) { return repeated }
            if let repeated = try other.repeated(self) { return repeated }
        case .remainder: if text != nil { throw .unsupported("a text formatted by '%'") }
        default: break
        }
        throw .failed(
            "values of kinds '\(typeName)' and '\(other.typeName)' can't be put together by '\(operation.sign)'")
    }

    private func sum(_ other: TemplateValue) throws(TemplateFault) -> TemplateValue? {
        switch (self, other) {
        case (.string(let one), .string(let two)): return .string(one + two)
        case (.marked(let one), .marked(let two)): return .marked(one + two)
        // Python escapes the other text; where that changes nothing there is nothing to doubt.
        case (.marked(let one), .string(let two)): return .marked(one + (try Self.unescaped(two)))
        case (.string(let one), .marked(let two)): return .marked(try Self.unescaped(one) + two)
        case (.list(let one), .list(let two)): return .list(one + two)
        case (.tuple(let one), .tuple(let two)): return .tuple(one + two)
        default: return nil
        }
    }

    private static func unescaped(_ text: String) throws(TemplateFault) -> String {
        guard text.unicodeScalars.contains(where: { "&<>'\"".unicodeScalars.contains($0) }) else { return text }
        throw .unsupported("a text that is added to one marked by 'safe' and that Python would escape for HTML")
    }

    private func repeated(_ other: TemplateValue) throws(TemplateFault) -> TemplateValue? {
        guard let count = other.integer.map({ max(0, $0) }) else { return nil }
        if let text {
            try TemplateBounds.require(text: text.utf8.count, times: count)
            return .string(String(repeating: text, count: count))
        }
        guard case .list(let values) = self else { return nil }
        let (size, isBeyond) = values.count.multipliedReportingOverflow(by: count)
        guard !isBeyond, size <= TemplateBounds.elements else { throw .bound("a list of too many elements") }
        return .list((0..<(values.isEmpty ? 0 : count)).flatMap { _ in values })
    }

    // MARK: numbers

    private static func whole(
        _ operation: Expression.Arithmetic, _ one: Int, _ two: Int
    ) throws(TemplateFault) -> TemplateValue {
        let result: (partialValue: Int, overflow: Bool)
        switch operation {
        case .add: result = one.addingReportingOverflow(two)
        case .subtract: result = one.subtractingReportingOverflow(two)
        case .multiply: result = one.multipliedReportingOverflow(by: two)
        case .divide: return try real(operation, Double(one), Double(two))
        case .divideWhole, .remainder:
            guard two != 0 else { throw .failed("a division by zero") }
            guard two != -1 else {
                result = operation == .remainder ? (0, false) : (0).subtractingReportingOverflow(one)
                break
            }
            // Python rounds down, and its remainder has the divisor's sign.
            let (quotient, rest) = one.quotientAndRemainder(dividingBy: two)
            let isBelow = rest != 0 && (rest < 0) != (two < 0)
            return .integer(operation == .remainder ? rest + (isBelow ? two : 0) : quotient - (isBelow ? 1 : 0))
        case .power:
            guard two >= 0 else { return .float(pow(Double(one), Double(two))) }
            return .integer(try power(one, two))
        }
        guard !result.overflow else { throw .failed("a whole number beyond 64 bits") }
        return .integer(result.partialValue)
    }

    private static func power(_ base: Int, _ exponent: Int) throws(TemplateFault) -> Int {
        if base == 0 || base == 1 { return exponent == 0 ? 1 : base }
        if base == -1 { return exponent % 2 == 0 ? 1 : -1 }
        guard exponent < 64 else { throw .failed("a whole number beyond 64 bits") }
        var result = 1
        for _ in 0..<exponent {
            let (next, isBeyond) = result.multipliedReportingOverflow(by: base)
            guard !isBeyond else { throw .failed("a whole number beyond 64 bits") }
            result = next
        }
        return result
    }

    private static func real(
        _ operation: Expression.Arithmetic, _ one: Double, _ two: Double
    ) throws(TemplateFault) -> TemplateValue {
        switch operation {
        case .add: return .float(one + two)
        case .subtract: return .float(one - two)
        case .multiply: return .float(one * two)
        case .power: return .float(pow(one, two))
        case .divide, .divideWhole, .remainder:
            guard two != 0 else { throw .failed("a division by zero") }
            if operation == .divide { return .float(one / two) }
            let rest = fmod(one, two), own = rest != 0 && (rest < 0) != (two < 0) ? rest + two : rest
            return .float(operation == .remainder ? own : ((one - own) / two).rounded())
        }
    }

    func negated() throws(TemplateFault) -> TemplateValue {
        if let whole = integer {
            guard whole != .min else { throw .failed("a whole number beyond 64 bits") }
            return .integer(-whole)
        }
        if case .float(let number) = self { return .float(-number) }
        if case .undefined(let words) = self { throw .failed(words) }
        throw .failed("a value of kind '\(typeName)' has no negative")
    }
}

extension Expression.Arithmetic {
    var sign: String {
        switch self {
        case .add: "+"
        case .subtract: "-"
        case .multiply: "*"
        case .divide: "/"
        case .divideWhole: "//"
        case .remainder: "%"
        case .power: "**"
        }
    }
}
