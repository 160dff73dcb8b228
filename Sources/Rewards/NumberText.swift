/// A number as somebody wrote it: its exact value, and what it is a number of.
struct Quantity: Equatable, Sendable {
    var value: Rational
    var isPercentage = false
    /// Lower case, singular; empty where none was written.
    var unit = ""
    /// `x` of `x = 5`.
    var name: [Unicode.Scalar] = []

    /// nil where that can't be said: both have units, or names, and not the same.
    func equals(_ other: Quantity) -> Bool? {
        guard unit.isEmpty || other.unit.isEmpty || unit == other.unit else { return nil }
        guard name.isEmpty || other.name.isEmpty || name == other.name else { return nil }
        if value == other.value { return true }
        guard isPercentage != other.isPercentage else { return false }
        let (percentage, plain) = isPercentage ? (self, other) : (other, self)
        return Rational(1, over: 100).flatMap { Rational.multiply(percentage.value, $0) } == plain.value
    }
}

/// Reads a text that is one number from its first character to its last: integers and decimals with signs and
/// thousands separators, fractions (`a/b`, `\frac`, nested), mixed numbers, scientific notation, in parentheses,
/// with a percent or currency sign or a unit, behind `x =`. Anything else is no number.
///
/// Time is linear in the text, whose length and nesting are bounded; so are digits and exponents, by what
/// `Rational` holds.
struct NumberText {
    /// Longer texts are no numbers that a person wrote.
    static let maximumLength = 1000
    /// Of fractions and parentheses within each other.
    static let maximumDepth = 32
    /// Digits of an exponent: more are out of bounds whatever stands before them.
    private static let maximumExponentDigits = 4

    private let scalars: [Unicode.Scalar]
    private var position = 0
    private var depth = 0

    static func parse(_ text: PythonText) -> Quantity? {
        guard text.count <= maximumLength else { return nil }
        var reader = NumberText(scalars: withoutDress(text).scalars)
        return reader.wholeText()
    }

    private init(scalars: [Unicode.Scalar]) { self.scalars = scalars }

    /// Without what only dresses a formula. Signs that are minus to a reader become minus; spaces of all kinds
    /// become spaces.
    private static func withoutDress(_ text: PythonText) -> PythonText {
        let bare = ["\\left", "\\right", "\\!", "\\displaystyle"].reduce(text) { $0.replacing($1, "") }
        return PythonText(
            bare.scalars.map { scalar -> Unicode.Scalar in
                switch scalar {
                case "\u{2212}", "\u{2013}", "\u{FE63}", "\u{FF0D}": "-"
                case _ where scalar.properties.isWhitespace: " "
                default: scalar
                }
            })
    }

    // MARK: the whole

    private mutating func wholeText() -> Quantity? {
        let name = takeName()
        guard var quantity = signedNumber() else { return nil }
        quantity.name = name
        let end = position
        skipSpaces()
        if takePercent() { quantity.isPercentage = true } else { position = end }
        if quantity.unit.isEmpty { quantity.unit = takeCurrency() }
        let rest = PythonText(scalars[position...])
        guard let unit = UnitText.parse(rest) else { return nil }
        guard quantity.unit.isEmpty || unit.isEmpty else { return nil }
        if quantity.unit.isEmpty { quantity.unit = unit }
        return quantity
    }

    /// `x =`: one letter, perhaps with an index, and one equals sign.
    private mutating func takeName() -> [Unicode.Scalar] {
        guard let equals = scalars.firstIndex(of: "="), !scalars[(equals + 1)...].contains("=") else { return [] }
        let name = PythonText(scalars[..<equals]).stripped().scalars
        guard let first = name.first, first.isASCIILetter, name.count == 1 || name.count <= 4 && name[1] == "_" else {
            return []
        }
        position = equals + 1
        return name
    }

    private mutating func signedNumber() -> Quantity? {
        skipSpaces()
        var isNegative = takeSign()
        let currency = takeCurrency()
        if isNegative == nil { isNegative = takeSign() }
        guard let value = magnitude(), let signed = isNegative == true ? value.negated : value else { return nil }
        return Quantity(value: signed, unit: currency)
    }

    /// true: minus; false: plus; nil: none.
    private mutating func takeSign() -> Bool? {
        if take("-") { return skipSpaces(returning: true) }
        if take("+") { return skipSpaces(returning: false) }
        return nil
    }

    private mutating func takeCurrency() -> String {
        for (sign, name) in Self.currencies where take(sign) { return skipSpaces(returning: name) }
        return ""
    }

    /// `pound sterling` is no weight.
    private static let currencies = [
        ("\\$", "dollar"), ("$", "dollar"), ("€", "euro"), ("\\euro", "euro"), ("£", "pound sterling"),
        ("\\pounds", "pound sterling"),
        ("¥", "yen"), ("¢", "cent"),
    ]

    private mutating func takePercent() -> Bool {
        for sign in ["\\%", "%", "percent", "per cent", "\\text{ percent}", "\\text{percent}"] where take(sign) {
            return true
        }
        return false
    }

    // MARK: numbers without a sign

    private mutating func magnitude() -> Rational? {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.maximumDepth else { return nil }
        if take("(") { return inside(")") }
        if let fraction = takeFraction() { return fraction }
        guard let whole = decimal() else { return nil }
        return scientific(whole) ?? slashed(whole) ?? mixed(whole)
    }

    /// A signed number up to a closing bracket.
    private mutating func inside(_ close: String) -> Rational? {
        skipSpaces()
        let isNegative = takeSign() == true
        guard let value = magnitude() else { return nil }
        skipSpaces()
        guard take(close) else { return nil }
        return isNegative ? value.negated : value
    }

    /// `\frac{a}{b}` in all its spellings, also `\frac12` and `\frac1{72}`.
    private mutating func takeFraction() -> Rational? {
        guard ["\\frac", "\\dfrac", "\\tfrac", "\\cfrac"].contains(where: { take($0) }) else { return nil }
        guard let top = fractionPart(), let bottom = fractionPart() else { return nil }
        return Rational.divide(top, bottom)
    }

    private mutating func fractionPart() -> Rational? {
        skipSpaces()
        if take("{") { return inside("}") }
        guard position < scalars.count, let digit = scalars[position].asciiDigit else { return nil }
        position += 1
        return Rational(Int128(digit))
    }

    /// Digits, with a point or without; separators only between groups of three before the point, all of one kind.
    private mutating func decimal() -> Rational? {
        var digits = takeDigits()
        if (1...3).contains(digits.count), let separator = Self.separators.first(where: { startsGroup($0) }) {
            while startsGroup(separator) {
                position += separator.unicodeScalars.count
                digits += takeDigits()
            }
        }
        var behind: [Unicode.Scalar] = []
        if position < scalars.count, scalars[position] == ".", !digits.isEmpty || hasDigit(at: position + 1) {
            position += 1
            behind = takeDigits()
        }
        guard !digits.isEmpty || !behind.isEmpty else { return nil }
        // A further comma would belong to a list, a further point to a date or a version.
        return Rational(whole: digits, behindPoint: behind)
    }

    private static let separators = [",", "{,}", "\\,"]

    /// A separator and exactly three digits.
    private func startsGroup(_ separator: String) -> Bool {
        let first = position + separator.unicodeScalars.count
        guard isAt(separator) else { return false }
        return (first..<first + 3).allSatisfy { hasDigit(at: $0) } && !hasDigit(at: first + 3)
    }

    /// `1.5e3`, `1.5 \times 10^{3}`; nil where no exponent follows. What has one out of bounds doesn't end here, so
    /// that the whole is no number.
    private mutating func scientific(_ base: Rational) -> Rational? {
        let start = position
        guard let exponent = takeExponent(), let power = Rational.powerOfTen(exponent.magnitude) else {
            position = start
            return nil
        }
        return exponent.isNegative ? Rational.divide(base, power) : Rational.multiply(base, power)
    }

    private mutating func takeExponent() -> (isNegative: Bool, magnitude: Int)? {
        if take("e") || take("E") { return signedExponent() }
        skipSpaces()
        guard ["\\times", "\\cdot", "×", "*"].contains(where: { take($0) }) else { return nil }
        skipSpaces()
        guard take("10^") || take("10**") else { return nil }
        guard take("{") else { return signedExponent() }
        let exponent = signedExponent()
        skipSpaces()
        return take("}") ? exponent : nil
    }

    private mutating func signedExponent() -> (isNegative: Bool, magnitude: Int)? {
        skipSpaces()
        let isNegative = takeSign() == true, digits = takeDigits()
        guard (1...Self.maximumExponentDigits).contains(digits.count) else { return nil }
        return (isNegative, digits.reduce(0) { 10 * $0 + ($1.asciiDigit ?? 0) })
    }

    /// a/b; nil where no slash follows.
    private mutating func slashed(_ top: Rational) -> Rational? {
        let start = position
        skipSpaces()
        guard take("/") else {
            position = start
            return nil
        }
        skipSpaces()
        guard let bottom = decimal(), let fraction = Rational.divide(top, bottom) else {
            position = start
            return nil
        }
        return fraction
    }

    /// `1 1/2` and `1\frac{1}{2}`; else the whole number as it is.
    private mutating func mixed(_ whole: Rational) -> Rational? {
        let start = position
        skipSpaces()
        guard whole.denominator == 1, position > start || isAt("\\") else { return restored(start, whole) }
        if let part = takeFraction() ?? plainFraction(), part.numerator >= 0, part.numerator < part.denominator {
            return Rational.add(whole, part)
        }
        return restored(start, whole)
    }

    private mutating func plainFraction() -> Rational? { decimal().flatMap { slashed($0) } }

    private mutating func restored(_ start: Int, _ value: Rational) -> Rational {
        position = start
        return value
    }

    // MARK: characters

    private mutating func take(_ text: String) -> Bool {
        guard isAt(text) else { return false }
        position += text.unicodeScalars.count
        return true
    }

    private func isAt(_ text: String) -> Bool { scalars[position...].starts(with: text.unicodeScalars) }

    private func hasDigit(at index: Int) -> Bool { index < scalars.count && scalars[index].asciiDigit != nil }

    private mutating func takeDigits() -> [Unicode.Scalar] {
        let start = position
        while hasDigit(at: position) { position += 1 }
        return Array(scalars[start..<position])
    }

    private mutating func skipSpaces() {
        while true {
            if position < scalars.count, scalars[position] == " " || scalars[position] == "~" {
                position += 1
            } else if isAt("\\,") || isAt("\\;") || isAt("\\ ") || isAt("\\:") {
                position += 2
            } else {
                return
            }
        }
    }

    private mutating func skipSpaces<T>(returning value: T) -> T {
        skipSpaces()
        return value
    }
}

extension Unicode.Scalar {
    var asciiDigit: Int? { ("0"..."9").contains(self) ? Int(value) - 48 : nil }
    var isASCIILetter: Bool { ("a"..."z").contains(self) || ("A"..."Z").contains(self) }
}
