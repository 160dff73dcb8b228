/// Finds the answer in a completion.
enum AnswerText {
    /// The last box, else what follows the last mark, else the last number of the text; nil where there is nothing.
    static func extract(_ text: PythonText) -> PythonText? {
        boxed(text) ?? after(text, "####") ?? after(text, "answer:") ?? LastNumber.find(text)
    }

    /// Without what stands around an answer: spaces, the delimiters of formulas, emphasis, a sentence's end. Linear
    /// in the text: each pair of delimiters has none of its kind inside, so there are few of them, and single
    /// characters go one by one.
    static func trimmed(_ text: PythonText) -> PythonText {
        var rest = text.scalars[...]
        while let shorter = withoutAnEnd(rest) { rest = shorter }
        return PythonText(rest)
    }

    private static let delimiters: [(open: [Unicode.Scalar], close: [Unicode.Scalar])] = [
        ("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("__", "__"), ("*", "*"), ("_", "_"),
        ("`", "`"), ("\"", "\""),
    ].map { (Array($0.0.unicodeScalars), Array($0.1.unicodeScalars)) }

    /// nil where nothing is left to take away.
    private static func withoutAnEnd(_ text: ArraySlice<Unicode.Scalar>) -> ArraySlice<Unicode.Scalar>? {
        guard let first = text.first, let last = text.last else { return nil }
        if PythonText.isSpace(first) { return text.dropFirst() }
        if PythonText.isSpace(last) { return text.dropLast() }
        for (open, close) in delimiters where text.starts(with: open) && text.suffix(close.count).elementsEqual(close) {
            guard text.count > open.count + close.count else { continue }
            let inside = text.dropFirst(open.count).dropLast(close.count)
            if !contains(inside, open), !contains(inside, close) { return inside }
        }
        if first == "*" || first == "`" { return text.dropFirst() }
        return ".,;:*`".unicodeScalars.contains(last) ? text.dropLast() : nil
    }

    private static func contains(_ text: ArraySlice<Unicode.Scalar>, _ part: [Unicode.Scalar]) -> Bool {
        text.indices.contains { text[$0] == part[0] && text[$0...].starts(with: part) }
    }

    /// Content of the last `\boxed{…}` or `\fbox{…}` with balanced braces.
    private static func boxed(_ text: PythonText) -> PythonText? {
        let starts = ["\\boxed", "\\fbox"].compactMap { command in text.findLast(command).map { ($0, command.count) } }
        guard let (start, length) = starts.max(by: { $0.0 < $1.0 }) else { return nil }
        let brace = text.scalars[(start + length)...].firstIndex { $0 != " " }
        guard let brace, text.scalars[brace] == "{", let run = text.bracedRun(from: brace) else { return nil }
        return PythonText(run.scalars.dropFirst().dropLast())
    }

    /// The rest of the line behind the last `mark` (in lower case; the text in any).
    private static func after(_ text: PythonText, _ mark: String) -> PythonText? {
        let lower = PythonText(text.scalars.map { $0.isASCIILetter ? Unicode.Scalar($0.value | 0x20) ?? $0 : $0 })
        guard let start = lower.findLast(mark) else { return nil }
        let line = PythonText(text.scalars[(start + mark.count)...].prefix { !isLineEnd($0) })
        let answer = trimmed(line)
        return answer.isEmpty ? nil : answer
    }

    static func isLineEnd(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.isWhitespace && Character(scalar).isNewline
    }
}
