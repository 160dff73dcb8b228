/// What may stand behind a number without changing it: a unit, in words or in `\text{…}`.
///
/// A single letter, letters that no unit has and words of arithmetic are no units: `3x`, `2 \pi`, `5 million` and
/// `2 or more` are formulas or other numbers.
enum UnitText {
    /// Lower case, singular; empty for an empty text; nil for what is no unit.
    static func parse(_ text: PythonText) -> String? {
        guard let words = words(of: text), words.count <= maximumWords else { return nil }
        var names: [String] = []
        for word in words {
            let (bare, exponent) = withoutExponent(word.text)
            guard let name = name(bare, word) else { return nil }
            names.append(name + exponent)
        }
        return names.joined(separator: " ")
    }

    private static let maximumWords = 6

    private struct Word {
        var text: PythonText
        /// Inside `\text{…}`: somebody said that it is text.
        var isMarked: Bool
        /// Something stands between it and the number.
        var isApart: Bool
    }

    private static let textCommands = ["\\text{", "\\mathrm{", "\\textrm{", "\\mbox{", "\\textbf{", "\\mathbf{"]

    /// nil where another command than those of text and spaces stands, or a brace is left open.
    private static func words(of text: PythonText) -> [Word]? {
        let spaces = [("\\,", " "), ("\\;", " "), ("\\:", " "), ("\\ ", " "), ("~", " ")]
        let degrees = [
            ("^{\\circ}", " degrees "), ("^\\circ", " degrees "), ("\\degree", " degrees "), ("°", " degrees "),
        ]
        var rest = (degrees + spaces).reduce(text) { $0.replacing($1.0, $1.1) }, words: [Word] = []
        while !rest.isEmpty {
            let next = textCommands.compactMap { command in rest.find(command).map { ($0, command.count) } }.min {
                $0.0 < $1.0
            }
            append(PythonText(rest.scalars[..<(next?.0 ?? rest.count)]), isMarked: false, to: &words)
            guard let (start, length) = next else { break }
            guard let end = rest.find("}", from: start + length) else { return nil }
            append(PythonText(rest.scalars[(start + length)..<end]), isMarked: true, to: &words)
            rest = PythonText(rest.scalars[(end + 1)...])
        }
        return words.contains { $0.text.contains("\\") } ? nil : words
    }

    /// An exponent behind `\text{…}` belongs to its last word.
    private static func append(_ text: PythonText, isMarked: Bool, to words: inout [Word]) {
        var parts = text.scalars.split(separator: " ").map { PythonText($0) }
        if let last = words.indices.last, let first = parts.first,
            text.scalars.first == "^" || text.scalars.first == "²" || text.scalars.first == "³"
        {
            words[last].text = PythonText(words[last].text.scalars + first.scalars)
            parts.removeFirst()
        }
        for (index, part) in parts.enumerated() {
            let isApart = isMarked || index > 0 || !words.isEmpty || text.scalars.first == " "
            words.append(Word(text: part, isMarked: isMarked, isApart: isApart))
        }
    }

    /// Square and cubic ones.
    private static func withoutExponent(_ word: PythonText) -> (text: PythonText, exponent: String) {
        for (mark, exponent) in [("^2", "^2"), ("^{2}", "^2"), ("²", "^2"), ("^3", "^3"), ("^{3}", "^3"), ("³", "^3")]
        where word.count > mark.unicodeScalars.count && word.suffix(mark.unicodeScalars.count) == PythonText(mark) {
            return (PythonText(word.scalars.dropLast(mark.unicodeScalars.count)), exponent)
        }
        return (word, "")
    }

    /// One word of a unit; nil for what is none.
    private static func name(_ text: PythonText, _ word: Word) -> String? {
        let parts = text.split("/")
        let names = parts.map { part -> String? in
            let bare = part.scalars.last == "." ? PythonText(part.scalars.dropLast()) : part
            guard bare.count <= 24, !bare.isEmpty, bare.scalars.allSatisfy({ $0.properties.isAlphabetic }) else {
                return nil
            }
            if let symbol = symbols[bare.string] { return symbol }
            let name = bare.string.lowercased()
            guard !arithmetic.contains(name) else { return nil }
            if word.isMarked { return singular(name) }
            // Letters at a number are variables; so are few letters, and letters without a vowel.
            guard word.isApart, bare.count >= 3, name.contains(where: { "aeiouy".contains($0) || !$0.isASCII }) else {
                return nil
            }
            return singular(name)
        }
        return names.contains { $0 == nil } ? nil : names.compactMap { $0 }.joined(separator: "/")
    }

    private static func singular(_ name: String) -> String {
        if let regular = irregular[name] { return regular }
        return name.count > 3 && name.hasSuffix("s") && !name.hasSuffix("ss") ? String(name.dropLast()) : name
    }

    private static let irregular = [
        "feet": "foot", "inches": "inch", "people": "person", "children": "child", "boxes": "box",
    ]

    /// Of more than one letter: a single letter is a variable to a reader of formulas.
    private static let symbols = [
        "mm": "millimeter", "cm": "centimeter", "km": "kilometer", "ft": "foot", "yd": "yard", "mi": "mile",
        "mg": "milligram",
        "kg": "kilogram", "lb": "pound", "lbs": "pound", "oz": "ounce", "ml": "milliliter", "mL": "milliliter",
        "hr": "hour", "hrs": "hour",
        "min": "minute", "mins": "minute", "sec": "second", "secs": "second", "mph": "mph", "kph": "kph", "Hz": "hertz",
        "kHz": "kilohertz",
        "kW": "kilowatt", "USD": "dollar", "EUR": "euro", "GBP": "pound sterling", "in": "inch", "cents": "cent",
        "deg": "degree",
    ]

    /// Words that make another number of a number, or a formula, a list or a condition of it.
    static let arithmetic: Set<String> = scales.union([
        "and", "or", "to", "if", "when", "for", "than", "more", "less", "fewer", "over", "not", "but", "through",
        "until", "between", "except",
        "either", "nor", "plus", "minus", "mod", "modulo", "choose", "remainder", "sqrt", "root", "sin", "cos", "tan",
        "log", "exp", "where",
        "with", "out", "of", "about", "approximately", "least", "most", "is", "are", "unless", "undefined", "infinity",
        "none",
    ])

    /// Those that do so right behind a number, in whatever sentence.
    static let scales: Set<String> = [
        "hundred", "hundreds", "thousand", "thousands", "million", "millions", "billion", "billions", "trillion",
        "trillions", "dozen", "dozens",
        "half", "halves", "third", "thirds", "quarter", "quarters", "fourth", "fourths", "fifth", "fifths", "sixth",
        "sixths", "seventh",
        "sevenths", "eighth", "eighths", "ninth", "ninths", "tenth", "tenths", "hundredth", "hundredths", "thousandth",
        "thousandths", "times",
        "squared", "cubed", "factorial", "pi", "π", "k", "percentage",
    ]
}
