/// Minerva's answer line and normalisation, regular expressions written out: `.` is anything but a line feed.
enum MinervaAnswer {
    /// The last match of (?i)Answer\s*:\s*([^\n]+).
    static func last(in text: PythonText) -> PythonText? {
        let s = text.scalars
        var found: PythonText?, position = 0
        while position < s.count {
            guard let (capture, end) = match(s, at: position) else {
                position += 1
                continue
            }
            (found, position) = (capture, end)
        }
        return found
    }

    private static func match(_ s: [Unicode.Scalar], at start: Int) -> (PythonText, Int)? {
        var position = start
        for letter in "answer".unicodeScalars {
            guard position < s.count, isSame(s[position], letter) else { return nil }
            position += 1
        }
        while position < s.count, PythonText.isSpace(s[position]) { position += 1 }
        guard position < s.count, s[position] == ":" else { return nil }
        let behind = position + 1
        let first = s[behind...].firstIndex { !PythonText.isSpace($0) } ?? s[behind...].lastIndex { $0 != "\n" }
        guard let first else { return nil }
        let end = s[first...].firstIndex(of: "\n") ?? s.count
        return (PythonText(s[first..<end]), end)
    }

    /// Case aside; the long s counts as an s, as in Python.
    private static func isSame(_ scalar: Unicode.Scalar, _ lower: Unicode.Scalar) -> Bool {
        scalar == lower || scalar.value == lower.value - 32 || lower == "s" && scalar == "\u{17f}"
    }

    private static let substitutions: [(String, String)] = [
        ("an ", ""), ("a ", ""), (".$", "$"), ("\\$", ""), ("\\ ", ""), (" ", ""), ("mbox", "text"),
        (",\\text{and}", ","), ("\\text{and}", ","),
        ("\\text{m}", "\\text{}"),
    ]

    private static let removed = [
        "square", "ways", "integers", "dollars", "mph", "inches", "hours", "km", "units", "\\ldots", "sue", "points",
        "feet", "minutes", "digits", "cents",
        "degrees", "cm", "gm", "pounds", "meters", "meals", "edges", "students", "childrentickets", "multiples",
        "\\text{s}", "\\text{.}", "\\text{\ns}",
        "\\text{}^2", "\\text{}^3", "\\text{\n}", "\\text{}", "\\mathrm{th}", "^\\circ", "^{\\circ}", "\\;", ",\\!",
        "{,}", "\"", "\\dots",
    ]

    static func normalised(_ answer: PythonText) -> PythonText {
        var text = answer.split("=").last ?? answer
        for (part, other) in substitutions { text = text.replacing(part, other) }
        for part in removed { text = text.replacing(part, "") }
        text = onlyMath(text)
        for command in ["\\text{", "\\textbf{", "\\overline{"] { text = unwrapped(text, command, greedy: false) }
        text = braced(unwrapped(text, "\\boxed{", greedy: true)).replacing("$", "")
        let digits = text.replacing(",", "")
        return (digits.isDigits ? digits : text).stripped()
    }

    /// A line with two dollar signs becomes what stands between the first two, dollars included.
    private static func onlyMath(_ text: PythonText) -> PythonText {
        let lines = text.split("\n").map { line -> [Unicode.Scalar] in
            let parts = line.split("$")
            return parts.count > 2 ? ["$"] + parts[1].scalars + ["$"] : line.scalars
        }
        return PythonText(lines.joined(separator: ["\n"]))
    }

    /// command…} → …, up to the next closing brace of the line, or the last.
    private static func unwrapped(_ text: PythonText, _ command: String, greedy: Bool) -> PythonText {
        let s = text.scalars, length = command.unicodeScalars.count
        var result: [Unicode.Scalar] = [], position = 0
        // Up to here no brace closes: looked for once, however many commands are left open.
        var openUntil = 0
        while let start = text.find(command, from: position) {
            let inside = start + length
            guard inside >= openUntil else {
                result += s[position...start]
                position = start + 1
                continue
            }
            let line = inside..<(s[inside...].firstIndex(of: "\n") ?? s.count)
            guard let end = greedy ? s[line].lastIndex(of: "}") : s[line].firstIndex(of: "}") else {
                result += s[position...start]
                (position, openUntil) = (start + 1, line.upperBound)
                continue
            }
            result += s[position..<start] + s[inside..<end]
            position = end + 1
        }
        return PythonText(result + s[position...])
    }

    /// \fracab → \frac{a}{b}, \sqrta → \sqrt{a}
    private static func braced(_ text: PythonText) -> PythonText {
        let fractions = rewritten(text, "frac") { rest in
            guard rest.count >= 2, rest[0] != "{", rest[1] != "\n" else { return nil }
            return (["{", rest[0], "}", "{", rest[1], "}"], 2)
        }
        return rewritten(fractions, "sqrt") { rest in
            guard let first = rest.first, first != "{" else { return nil }
            return (["{", first, "}"], 1)
        }
    }

    /// Replaces what follows each `word` where `change` says so; `used` scalars are consumed.
    private static func rewritten(
        _ text: PythonText, _ word: String, _ change: ([Unicode.Scalar]) -> (new: [Unicode.Scalar], used: Int)?
    ) -> PythonText {
        let s = text.scalars, length = word.unicodeScalars.count
        var result: [Unicode.Scalar] = [], position = 0
        while let start = text.find(word, from: position) {
            let behind = start + length
            if let (new, used) = change(Array(s[behind...].prefix(2))) {
                result += s[position..<behind] + new
                position = behind + used
            } else {
                result += s[position...start]
                position = start + 1
            }
        }
        return PythonText(result + s[position...])
    }
}
