/// Text as Python sees it: a sequence of code points, where equal means equal to the last one. Swift's own String
/// compares canonically and counts graphemes, so rules that were written in Python come out differently on odd answers.
struct PythonText: Equatable {
    var scalars: [Unicode.Scalar]

    init(_ text: String) { scalars = Array(text.unicodeScalars) }
    init(_ scalars: some Sequence<Unicode.Scalar>) { self.scalars = Array(scalars) }

    var string: String { String(String.UnicodeScalarView(scalars)) }
    var count: Int { scalars.count }
    var isEmpty: Bool { scalars.isEmpty }

    func suffix(_ count: Int) -> PythonText { PythonText(scalars.suffix(count)) }

    func hasPrefix(_ prefix: String) -> Bool { scalars.starts(with: prefix.unicodeScalars) }

    /// Where `part` first stands at or behind `start`; an empty part nowhere.
    func find(_ part: String, from start: Int = 0) -> Int? {
        let part = Array(part.unicodeScalars)
        guard !part.isEmpty, scalars.count - part.count >= start else { return nil }
        return (start...scalars.count - part.count).first {
            scalars[$0] == part[0] && scalars[$0..<$0 + part.count].elementsEqual(part)
        }
    }

    func findLast(_ part: String) -> Int? {
        var found: Int?, start = 0
        while let next = find(part, from: start) { (found, start) = (next, next + 1) }
        return found
    }

    func contains(_ part: String) -> Bool { find(part) != nil }

    /// Non-overlapping, from left to right, as `str.split`.
    func split(_ separator: String) -> [PythonText] {
        let length = separator.unicodeScalars.count
        var parts: [PythonText] = [], start = 0
        while let next = find(separator, from: start) {
            parts.append(PythonText(scalars[start..<next]))
            start = next + length
        }
        return parts + [PythonText(scalars[start...])]
    }

    func replacing(_ part: String, _ replacement: String) -> PythonText {
        let parts = split(part)
        guard parts.count > 1 else { return self }
        var result = parts[0].scalars
        for next in parts.dropFirst() { result += Array(replacement.unicodeScalars) + next.scalars }
        return PythonText(result)
    }

    /// `str.strip`
    func stripped() -> PythonText {
        let first = scalars.firstIndex { !Self.isSpace($0) } ?? scalars.count
        let last = scalars.lastIndex { !Self.isSpace($0) } ?? first - 1
        return PythonText(first <= last ? Array(scalars[first...last]) : [])
    }

    /// `str.isspace`, which also counts the information separators.
    static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.isWhitespace || (0x1c...0x1f).contains(scalar.value)
    }

    /// `str.isdigit`
    var isDigits: Bool {
        !scalars.isEmpty
            && scalars.allSatisfy { $0.properties.numericType == .decimal || $0.properties.numericType == .digit }
    }

    /// From `start` to the brace that closes the first one opened there.
    func bracedRun(from start: Int) -> PythonText? {
        var open = 0
        for i in start..<scalars.count {
            if scalars[i] == "{" { open += 1 }
            if scalars[i] == "}" {
                open -= 1
                if open == 0 { return PythonText(scalars[start...i]) }
            }
        }
        return nil
    }
}
