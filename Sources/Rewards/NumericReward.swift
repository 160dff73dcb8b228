import Foundation

/// Compares numbers exactly. The answer is the last \boxed{…}, else what follows the last `####`, else the last
/// `Answer:` line, else the last number. Integers, decimals, thousands separators, signs, percent and currency signs,
/// fractions (a/b, \frac, \dfrac), mixed numbers, scientific notation; units behind a number are passed over. What
/// is no number on either side is `undecided` unless both texts are the same.
package struct NumericReward: RewardFunction {
    package static let name = "numeric"
    package static let source = "exact rationals, with an undecided verdict"

    package init() {}

    package func judge(_ input: RewardInput) -> RewardOutcome {
        let reference = clean(input.referenceAnswer)
        if reference.isEmpty { return .open("no_reference") }
        guard let found = AnswerText.extract(input.completion) else { return .noAnswer }
        let answer = clean(found)
        if answer.isEmpty { return .noAnswer }
        if answer == reference { return .judged(true, answer) }
        guard let value = NumberText.parse(answer), let expected = NumberText.parse(reference) else { return .open("undecided", answer) }
        return .judged(value == expected, answer)
    }

    /// Without what only dresses a number.
    private func clean(_ text: String) -> String {
        var text = text
        for noise in ["\\left", "\\right", "\\!", "\\,", "\\;", "\\ ", "\\$", "$", "\\%", "%", "^\\circ", "^{\\circ}", "°", "\\(", "\\)", "£", "€"] {
            text = text.replacingOccurrences(of: noise, with: "")
        }
        text = text.trimmingCharacters(in: .whitespacesAndNewlines)
        while let last = text.last, ".,;:!".contains(last) { text.removeLast() }
        return text
    }
}

/// Finds the answer in a completion.
enum AnswerText {
    static func extract(_ text: String) -> String? {
        boxed(text) ?? after(text, "####") ?? after(text, "Answer:") ?? lastNumber(text)
    }

    /// Content of the last \boxed{…} with balanced braces.
    private static func boxed(_ text: String) -> String? {
        guard let start = text.range(of: "\\boxed{", options: .backwards) else { return nil }
        var depth = 1
        for index in text[start.upperBound...].indices {
            if text[index] == "{" { depth += 1 }
            if text[index] == "}" { depth -= 1 }
            if depth == 0 { return String(text[start.upperBound..<index]) }
        }
        return nil
    }

    private static func after(_ text: String, _ mark: String) -> String? {
        guard let start = text.range(of: mark, options: [.backwards, .caseInsensitive]) else { return nil }
        let line = text[start.upperBound...].prefix { !$0.isNewline }.trimmingCharacters(in: .whitespaces)
        return line.isEmpty ? nil : line
    }

    /// The last run of number characters that holds a digit, with its sign.
    private static func lastNumber(_ text: String) -> String? {
        guard let end = text.lastIndex(where: { $0.isASCII && $0.isNumber }) else { return nil }
        var start = end
        while start > text.startIndex {
            let before = text.index(before: start)
            guard text[before].isASCII, text[before].isNumber || ".,/".contains(text[before]) else { break }
            start = before
        }
        if start > text.startIndex, text[text.index(before: start)] == "-" { start = text.index(before: start) }
        return String(text[start...end])
    }
}

/// Reads the texts of numbers that people write, exactly.
enum NumberText {
    static func parse(_ text: String) -> Rational? {
        var text = text.replacingOccurrences(of: "−", with: "-").trimmingCharacters(in: .whitespaces)
        let isNegative = text.hasPrefix("-")
        if isNegative || text.hasPrefix("+") { text.removeFirst() }
        guard let value = unsigned(text.trimmingCharacters(in: .whitespaces)) else { return nil }
        return isNegative ? Rational(-value.numerator, over: value.denominator) : value
    }

    private static func unsigned(_ text: String) -> Rational? {
        latexFraction(text) ?? scientific(text) ?? mixed(text) ?? slashed(text) ?? plain(text) ?? withUnit(text)
    }

    /// 1,234,567.5: commas only in groups of three.
    private static func plain(_ text: some StringProtocol) -> Rational? {
        let whole = text.prefix { $0 != "." }, groups = whole.split(separator: ",", omittingEmptySubsequences: false)
        if groups.count > 1 {
            guard groups.dropFirst().allSatisfy({ $0.count == 3 }), (1...3).contains(groups[0].count) else { return nil }
        }
        return Rational(decimal: String(text.filter { $0 != "," }))
    }

    private static func slashed(_ text: some StringProtocol) -> Rational? {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let top = plain(parts[0].trimmingCharacters(in: .whitespaces)), let bottom = plain(parts[1].trimmingCharacters(in: .whitespaces))
        else { return nil }
        return Rational.divide(top, bottom)
    }

    /// 1 1/2
    private static func mixed(_ text: String) -> Rational? {
        let parts = text.split(separator: " ")
        guard parts.count == 2, parts[1].contains("/"), let whole = plain(parts[0]), let rest = slashed(parts[1]) else { return nil }
        return Rational.add(whole, rest)
    }

    /// \frac{a}{b}, \dfrac{a}{b}, \tfrac{a}{b}, with an optional whole number before.
    private static func latexFraction(_ text: String) -> Rational? {
        guard let mark = ["\\dfrac{", "\\tfrac{", "\\frac{"].lazy.compactMap({ text.range(of: $0) }).first, text.hasSuffix("}") else { return nil }
        let inside = text[mark.upperBound...].dropLast()
        guard let middle = inside.range(of: "}{"), let top = parse(String(inside[..<middle.lowerBound])), let bottom = parse(String(inside[middle.upperBound...])),
            let fraction = Rational.divide(top, bottom)
        else { return nil }
        let before = text[..<mark.lowerBound].trimmingCharacters(in: .whitespaces)
        return before.isEmpty ? fraction : plain(before).flatMap { Rational.add($0, fraction) }
    }

    /// 1.5e3, 1.5 \times 10^{3}
    private static func scientific(_ text: String) -> Rational? {
        for mark in ["\\times 10^", "\\times10^", "\\cdot 10^", "\\cdot10^", "e", "E"] {
            guard let range = text.range(of: mark), let base = plain(text[..<range.lowerBound].trimmingCharacters(in: .whitespaces)),
                let exponent = Int(text[range.upperBound...].filter { $0 != "{" && $0 != "}" }), let power = Rational.powerOfTen(abs(exponent)),
                let scale = exponent < 0 ? Rational(1, over: power) : Rational(power)
            else { continue }
            return Rational.multiply(base, scale)
        }
        return nil
    }

    /// 12 apples, 12\text{ cm}: a number, then no further digit.
    private static func withUnit(_ text: String) -> Rational? {
        let number = text.prefix { $0.isASCII && $0.isNumber || ".,".contains($0) }, unit = text[number.endIndex...]
        guard !number.isEmpty, let first = unit.first, first.isWhitespace || first == "\\" || first.isLetter, !unit.contains(where: \.isNumber) else { return nil }
        return plain(number)
    }
}
