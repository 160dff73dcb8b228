/// What Python's strings can do, by code points. Swift's own methods go by characters, and take canonically equivalent
/// ones for equal.
enum PythonString {
    typealias Scalars = [Unicode.Scalar]

    static func scalars(_ text: String) -> Scalars { Array(text.unicodeScalars) }

    static func text(_ scalars: some Swift.Sequence<Unicode.Scalar>) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        return String(view)
    }

    /// Where `part` first stands, in code points.
    static func find(_ part: String, in text: String) -> Int? { find(scalars(part), in: scalars(text), from: 0) }

    static func find(_ part: Scalars, in whole: Scalars, from start: Int) -> Int? {
        guard part.count <= whole.count else { return nil }
        guard let first = part.first else { return start }
        var place = start
        while place + part.count <= whole.count {
            if whole[place] == first, whole[place..<place + part.count].elementsEqual(part) { return place }
            place += 1
        }
        return nil
    }

    // MARK: strip

    enum Side { case left, right, both }

    /// `characters`: nil takes off white space.
    static func strip(_ text: String, _ characters: String?, _ side: Side) -> String {
        let own = scalars(text), taken = characters.map { Set($0.unicodeScalars) }
        func isTaken(_ scalar: Unicode.Scalar) -> Bool { taken?.contains(scalar) ?? scalar.isPythonSpace }
        var from = 0, to = own.count
        if side != .right { while from < to, isTaken(own[from]) { from += 1 } }
        if side != .left { while to > from, isTaken(own[to - 1]) { to -= 1 } }
        return Self.text(own[from..<to])
    }

    // MARK: split

    /// At white space; `limit` below 0 is none.
    static func splitAtSpaces(_ text: String, limit: Int) -> [String] {
        let own = scalars(text)
        var parts: [String] = [], place = 0
        while true {
            while place < own.count, own[place].isPythonSpace { place += 1 }
            guard place < own.count else { return parts }
            if limit >= 0, parts.count == limit {
                parts.append(strip(Self.text(own[place...]), nil, .right))
                return parts
            }
            let start = place
            while place < own.count, !own[place].isPythonSpace { place += 1 }
            parts.append(Self.text(own[start..<place]))
        }
    }

    static func split(_ text: String, at separator: String, limit: Int) -> [String] {
        let own = scalars(text), part = scalars(separator)
        var parts: [String] = [], start = 0
        while limit < 0 || parts.count < limit, let place = find(part, in: own, from: start) {
            parts.append(Self.text(own[start..<place]))
            start = place + part.count
        }
        return parts + [Self.text(own[start...])]
    }

    /// From the end.
    static func splitFromRight(_ text: String, at separator: String, limit: Int) -> [String] {
        let turned = { (text: String) in Self.text(scalars(text).reversed()) }
        return split(turned(text), at: turned(separator), limit: limit).map(turned).reversed()
    }

    /// As `str.splitlines()`.
    static func lines(_ text: String) -> [String] {
        let own = scalars(text)
        let ends: Set<Unicode.Scalar> = [
            "\n", "\r", "\u{b}", "\u{c}", "\u{1c}", "\u{1d}", "\u{1e}", "\u{85}", "\u{2028}", "\u{2029}",
        ]
        var lines: [String] = [], start = 0, place = 0
        while place < own.count {
            guard ends.contains(own[place]) else {
                place += 1
                continue
            }
            lines.append(Self.text(own[start..<place]))
            place += own[place] == "\r" && place + 1 < own.count && own[place + 1] == "\n" ? 2 : 1
            start = place
        }
        return start < own.count ? lines + [Self.text(own[start...])] : lines
    }

    /// `limit` below 0 is none.
    static func replace(_ text: String, _ old: String, _ new: String, limit: Int) -> String {
        let own = scalars(text), part = scalars(old), other = scalars(new)
        var result: Scalars = [], start = 0, count = 0
        while limit < 0 || count < limit, let place = find(part, in: own, from: start) {
            // An empty text stands before each character and at the end.
            guard !part.isEmpty else { return interleaved(own, other, limit) }
            result += own[start..<place] + other
            (start, count) = (place + part.count, count + 1)
        }
        return Self.text(result + own[start...])
    }

    private static func interleaved(_ own: Scalars, _ other: Scalars, _ limit: Int) -> String {
        var result: Scalars = []
        for place in 0...own.count {
            if limit < 0 || place < limit { result += other }
            if place < own.count { result.append(own[place]) }
        }
        return Self.text(result)
    }

    // MARK: letters

    static func upper(_ text: String) -> String { mapped(text) { $0.properties.uppercaseMapping } }
    static func lower(_ text: String) -> String { Self.text(lowered(scalars(text))) }

    private static func mapped(_ text: String, _ map: (Unicode.Scalar) -> String) -> String {
        text.unicodeScalars.map(map).joined()
    }

    /// A capital sigma at the end of a word is another small one.
    private static func lowered(_ own: Scalars) -> Scalars {
        own.indices.flatMap { place -> Scalars in
            guard own[place] == "\u{3a3}" else { return scalars(own[place].properties.lowercaseMapping) }
            func isCased(_ places: some Swift.Sequence<Int>) -> Bool {
                places.lazy.map { own[$0] }.first { !$0.properties.isCaseIgnorable }?.properties.isCased ?? false
            }
            let isFinal = isCased((0..<place).reversed()) && !isCased(place + 1..<own.count)
            return [isFinal ? "\u{3c2}" : "\u{3c3}"]
        }
    }

    static func capitalize(_ text: String) -> String {
        let own = scalars(text)
        guard let first = own.first else { return text }
        return first.properties.titlecaseMapping + Self.text(lowered(own).dropFirst(lowered([first]).count))
    }

    /// As `str.title()`: a capital behind everything that is no letter with a case.
    static func title(_ text: String) -> String {
        var wasCased = false
        return mapped(text) { scalar in
            defer { wasCased = scalar.properties.isCased }
            return wasCased ? scalar.properties.lowercaseMapping : scalar.properties.titlecaseMapping
        }
    }
}
