/// A text whose formulas are one unit each, so that nothing looks or cuts into them; every other unit is one character
/// (Unicode scalar).
struct ShieldedText {
    /// Characters that a formula counts for, however long it is.
    static let formulaLength = 60

    let scalars: [Unicode.Scalar]
    /// Each unit's characters.
    private(set) var units: [Range<Int>]
    /// Lengths before each unit and behind the last, with formulas at `formulaLength`.
    private(set) var offsets: [Int] = []

    init(_ scalars: [Unicode.Scalar]) {
        self.scalars = scalars
        units = scalars.indices.map { $0..<$0 + 1 }
        for formula in Self.formulas { shield(formula) }
        offsets = units.reduce(into: [0]) { $0.append(($0.last ?? 0) + ($1.count == 1 ? 1 : Self.formulaLength)) }
    }

    // MARK: looking

    /// The character at `unit`; nil for a formula and outside of the text.
    func character(_ unit: Int) -> Unicode.Scalar? {
        units.indices.contains(unit) && units[unit].count == 1 ? scalars[units[unit].lowerBound] : nil
    }

    func isFormula(_ unit: Int) -> Bool { units[unit].count > 1 }

    /// The characters of a unit, formula or not.
    func text(_ unit: Int) -> ArraySlice<Unicode.Scalar> { scalars[units[unit]] }

    /// The first character of `unit`; the text's length behind the last.
    func place(_ unit: Int) -> Int { unit < units.count ? units[unit].lowerBound : scalars.count }

    func has(_ literal: String, at start: Int) -> Bool {
        literal.unicodeScalars.enumerated().allSatisfy { character(start + $0) == $1 }
    }

    // MARK: formulas

    /// Where a formula that starts at a unit ends; nil where none starts.
    private typealias Formula = @Sendable (ShieldedText, _ start: Int) -> Int?

    /// In this order, each over what the ones before have left: a later kind may enclose formulas of an earlier one.
    private static let formulas: [Formula] = [
        between("[asy]", "[/asy]"), between(#"$\begin{tabular}"#, #"\end{tabular}$"#),
        between(#"\begin{tabular}"#, #"\end{tabular}"#),
        between(#"\("#, #"\)"#), between(#"\["#, #"\]"#), between("$$", "$$"), dollars, environment,
    ]

    private mutating func shield(_ formula: Formula) {
        var shielded: [Range<Int>] = [], unit = 0
        while unit < units.count {
            let end = formula(self, unit) ?? unit + 1
            shielded.append(units[unit].lowerBound..<units[end - 1].upperBound)
            unit = end
        }
        units = shielded
    }

    private static func between(_ open: String, _ close: String) -> Formula {
        { text, start in
            guard text.has(open, at: start) else { return nil }
            return (start + open.unicodeScalars.count..<text.units.count).first { text.has(close, at: $0) }.map {
                $0 + close.unicodeScalars.count
            }
        }
    }

    /// `$…$` with something between; neither sign is escaped, and the closing one is not the first of two.
    @Sendable private static func dollars(_ text: ShieldedText, _ start: Int) -> Int? {
        guard text.character(start) == "$", text.character(start - 1) != "\\", start + 2 < text.units.count else {
            return nil
        }
        return (start + 2..<text.units.count).first {
            text.character($0) == "$" && text.character($0 - 1) != "\\" && text.character($0 + 1) != "$"
        }.map { $0 + 1 }
    }

    /// `\begin{name}` to the next `\end{name}`.
    @Sendable private static func environment(_ text: ShieldedText, _ start: Int) -> Int? {
        let open = #"\begin{"#
        guard text.has(open, at: start),
            let brace = (start + open.count..<text.units.count).first(where: { text.character($0) == "}" })
        else { return nil }
        let name = start + open.count..<brace
        return (brace + 1..<text.units.count).lazy.compactMap { text.end(of: name, at: $0) }.first
    }

    /// Behind `\end{…}` at `start` with the same text between its braces as `name`.
    private func end(of name: Range<Int>, at start: Int) -> Int? {
        let close = #"\end{"#, first = start + close.count, last = first + name.count
        guard has(close, at: start), character(last) == "}",
            zip(name, first..<last).allSatisfy({ text($0) == text($1) })
        else { return nil }
        return last + 1
    }
}
