/// The last number of a text without any mark, with all that belongs to it: the formula it stands in, else its word
/// and what the words beside it make of it. A piece of a fraction, a date, a range or a list is given whole, so
/// that it is no number.
enum LastNumber {
    /// Formulas and lines are looked for this far around the number.
    private static let reach = 2000

    static func find(_ whole: PythonText) -> PythonText? {
        guard let last = whole.scalars.lastIndex(where: { $0.asciiDigit != nil }) else { return nil }
        let text = PythonText(whole.scalars[max(0, last - reach)..<min(whole.count, last + reach)])
        let digit = last - max(0, last - reach)
        return Sentence(text, around: formula(text, digit) ?? word(text, digit)).answer
    }

    // MARK: where it stands

    /// The formula between `$…$`, `\(…\)` or `\[…\]` that holds the digit.
    private static func formula(_ text: PythonText, _ digit: Int) -> Range<Int>? {
        for (open, close) in [("\\(", "\\)"), ("\\[", "\\]")] {
            guard let start = PythonText(text.scalars[..<digit]).findLast(open), let end = text.find(close, from: digit)
            else { continue }
            if !PythonText(text.scalars[start..<digit]).contains(close) { return start..<end + 2 }
        }
        let line = lineStart(text, digit),
            isDollar = { (index: Int) in text.scalars[index] == "$" && (index == 0 || text.scalars[index - 1] != "\\") }
        let before = (line..<digit).filter(isDollar)
        guard before.count % 2 == 1, let start = before.last, let end = (digit..<text.count).first(where: isDollar)
        else { return nil }
        guard !text.scalars[digit..<end].contains(where: AnswerText.isLineEnd) else { return nil }
        return start..<end + 1
    }

    private static func lineStart(_ text: PythonText, _ index: Int) -> Int {
        (text.scalars[..<index].lastIndex(where: AnswerText.isLineEnd) ?? -1) + 1
    }

    private static func word(_ text: PythonText, _ digit: Int) -> Range<Int> {
        let start = (text.scalars[..<digit].lastIndex(where: PythonText.isSpace) ?? -1) + 1
        return start..<(text.scalars[digit...].firstIndex(where: PythonText.isSpace) ?? text.count)
    }
}

/// A number's place among the words of its line.
private struct Sentence {
    private let own: PythonText
    private let before: [PythonText]
    private let after: [PythonText]

    init(_ text: PythonText, around place: Range<Int>) {
        own = PythonText(text.scalars[place])
        before = Self.words(
            PythonText(text.scalars[..<place.lowerBound].reversed().prefix { !AnswerText.isLineEnd($0) }.reversed()))
        after = Self.words(PythonText(text.scalars[place.upperBound...].prefix { !AnswerText.isLineEnd($0) }))
    }

    private static func words(_ text: PythonText) -> [PythonText] {
        text.scalars.split(whereSeparator: PythonText.isSpace).map { PythonText($0) }
    }

    /// A number that its neighbours make another one, or a part of something, is given with them.
    var answer: PythonText {
        let (own, isResult) = bare
        // What stands behind an equals sign is what was computed, whatever stands before it.
        if !isResult, let joined = joinedToTheLeft(own) { return joined }
        if !endsHere, let changing = changingWords { return Self.joined([own] + changing) }
        return own
    }

    private static func joined(_ words: [PythonText]) -> PythonText {
        PythonText(words.map(\.scalars).joined(separator: [" "]))
    }

    /// Without brackets, quotes and signs of a sentence, and without what stands before an equals sign.
    private var bare: (PythonText, isResult: Bool) {
        var text = AnswerText.trimmed(own), isResult = false
        if let equals = text.scalars.lastIndex(of: "="),
            text.scalars[equals...].contains(where: { $0.asciiDigit != nil })
        {
            text = AnswerText.trimmed(PythonText(text.scalars[(equals + 1)...]))
            isResult = true
        }
        while let inside = Self.withoutQuotes(text) { text = AnswerText.trimmed(inside) }
        return (text, isResult)
    }

    private static func withoutQuotes(_ text: PythonText) -> PythonText? {
        guard let first = text.scalars.first, let last = text.scalars.last, text.count > 2 else { return nil }
        for (open, close) in [("(", ")"), ("[", "]"), ("“", "”"), ("'", "'"), ("‘", "’"), ("«", "»")]
            as [(Unicode.Scalar, Unicode.Scalar)]
        where first == open && last == close {
            return PythonText(text.scalars.dropFirst().dropLast())
        }
        return "?\"”’".unicodeScalars.contains(last) ? PythonText(text.scalars.dropLast()) : nil
    }

    /// A sentence ends behind the number: the next word belongs to another one.
    private var endsHere: Bool { own.scalars.last.map { ".,;:?!".unicodeScalars.contains($0) } ?? false }

    // MARK: its neighbours

    /// A whole word that is a number, or a date: two numbers side by side are a mixed number, a list or a date.
    private static func isNumber(_ word: PythonText) -> Bool {
        guard let last = word.scalars.last, !",.;:".unicodeScalars.contains(last) else { return false }
        let isDate =
            last.asciiDigit != nil
            && word.scalars.allSatisfy { $0.asciiDigit != nil || ",.-/".unicodeScalars.contains($0) }
        return isDate || NumberText.parse(word) != nil
    }

    private static let operators: Set<String> = [
        "+", "-", "\u{2212}", "\u{2013}", "*", "×", "·", "/", "÷", "^", "±", "x", "<", ">", "≤", "≥", "≠", "≈", "~",
    ]
    private static let connectors: Set<String> = [
        "to", "or", "and", "through", "by", "over", "plus", "minus", "times", "&",
    ]
    private static let months: Set<String> = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
        "Jan", "Feb", "Mar", "Apr", "Jun", "Jul", "Aug", "Sep", "Sept", "Oct", "Nov", "Dec",
    ]

    /// With the words before it where they make it a part of something: another number, an operator with something
    /// before it, `3 to 5`, `(3, 5)`, `May 5`. A sign that stands apart belongs to it.
    private func joinedToTheLeft(_ own: PythonText) -> PythonText? {
        guard let word = before.last else { return nil }
        let name = AnswerText.trimmed(word), earlier = before.dropLast().last
        if Self.isNumber(word) || Self.months.contains(name.string) || word.scalars.first == "\\" {
            return Self.joined([word, own])
        }
        if let first = word.scalars.first, "≈<>≤≥≠±".unicodeScalars.contains(first) { return Self.joined([word, own]) }
        if name.scalars.last == "}" { return Self.joined([word, own]) }
        let isListed = word.scalars.last.map { ",;".unicodeScalars.contains($0) } ?? false
        let bare = AnswerText.trimmed(PythonText(name.scalars.drop { "([{".unicodeScalars.contains($0) }))
        if isListed, Self.isNumber(bare) || bare.scalars.last == ")" {
            return Self.joined([earlier ?? word, word, own])
        }
        guard let earlier else { return nil }
        if Self.operators.contains(name.string) || Self.connectors.contains(name.string), Self.isOperand(earlier) {
            return Self.joined([earlier, word, own])
        }
        guard ["-", "\u{2212}", "\u{2013}"].contains(name.string) else { return nil }
        // A minus sign is a minus sign; a dash behind a word may be one, or not.
        let isSign = name.string == "\u{2212}" || earlier.scalars.last == "="
        return Self.joined(isSign ? [word, own] : [earlier, word, own])
    }

    /// The words behind that make another number of it, or a formula.
    private var changingWords: [PythonText]? {
        guard let word = after.first else { return nil }
        let name = AnswerText.trimmed(word), text = name.string
        if name.scalars.first == "\\" || text == "per" || text == "%" || text == "percent" {
            return Array(after.prefix(6)).throughBalance
        }
        if UnitText.scales.contains(text.lowercased()) { return [name] }
        if name.count == 1, let letter = name.scalars.first, letter.isASCIILetter,
            !"aAI".unicodeScalars.contains(letter)
        {
            return [name]
        }
        guard let sign = name.scalars.first else { return nil }
        if "+*×·/÷^±<>≤≥≠".unicodeScalars.contains(sign) { return [name] }
        guard Self.operators.contains(text), let operand = after.dropFirst().first, Self.isOperand(operand) else {
            return nil
        }
        return [name, operand]
    }

    /// What an operator may stand beside: something with a digit, a bracket's end, one letter.
    private static func isOperand(_ word: PythonText) -> Bool {
        let bare = AnswerText.trimmed(word)
        guard let last = bare.scalars.last else { return false }
        return bare.count == 1 && last.isASCIILetter || last.asciiDigit != nil || ")}]%".unicodeScalars.contains(last)
    }
}

extension [PythonText] {
    /// As many words as it takes to close the braces that the first ones open; of `per`, the next word too.
    fileprivate var throughBalance: [PythonText] {
        var open = 0, taken: [PythonText] = []
        for word in self {
            taken.append(AnswerText.trimmed(word))
            open += word.scalars.count { $0 == "{" } - word.scalars.count { $0 == "}" }
            if open <= 0, word != PythonText("per") { break }
        }
        return taken
    }
}
