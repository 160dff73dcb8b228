/// Steps of a solution written in LaTeX, as VinePPO takes them for MATH: sentences and lines; a formula that ends in a
/// full stop ends a step; displayed formulas end one at each of their lines; short pieces join their neighbour; pieces
/// of more than 100 characters are halved at punctuation, else at an equals or plus sign. Characters are Unicode
/// scalars.
///
/// Where the original stops with a failed assertion — texts of a few characters, formulas within environments — this
/// goes on: the text is one step, and the outer formula is the one that counts.
package struct MathSegmentation: Segmentation {
    package static let name = "math"
    package static let source = "VinePPO for MATH, code McGill-NLP/VinePPO, math_extract_steps_inplace"

    private static let longest = 100
    /// A full stop within a formula, just before its end.
    private static let fullStops = [".$", ".$$", #".\)"#, #".\]"#].map { Array($0.unicodeScalars) }
    private static let openings = ["$", "$$", #"\("#, #"\["#, "[asy]"].map { Array($0.unicodeScalars) }

    package init() {}
    package init(_ settings: SegmentationSettings) {}

    package func starts(in text: [UInt8]) -> [Int] {
        let (scalars, places) = Self.decoded(text)
        return scalars.isEmpty ? [0] : cuts(in: scalars).dropLast().map { places[$0] }
    }

    /// The scalars of UTF-8 with the byte where each starts; one replacement character for each broken piece.
    private static func decoded(_ text: [UInt8]) -> (scalars: [Unicode.Scalar], places: [Int]) {
        var parser = Unicode.UTF8.ForwardParser(), bytes = text.makeIterator(), place = 0
        var scalars: [Unicode.Scalar] = [], places: [Int] = []
        func append(_ scalar: Unicode.Scalar, _ length: Int) {
            scalars.append(scalar)
            places.append(place)
            place += length
        }
        while true {
            switch parser.parseScalar(from: &bytes) {
            case .valid(let encoded): append(Unicode.UTF8.decode(encoded), encoded.count)
            case .error(let length): append("\u{fffd}", length)
            case .emptyInput: return (scalars, places)
            }
        }
    }

    /// Borders of the steps, 0 and the text's length included.
    package func cuts(in scalars: [Unicode.Scalar]) -> [Int] {
        let text = ShieldedText(scalars)
        let sentences = Self.formulasWithFullStop(Self.sentences(text), text)
        return Self.linesOfFormulas(sentences, text).reduce(into: [0]) { cuts, end in
            guard let start = cuts.last, end > start else { return }
            cuts += Self.halved(Array(scalars[start..<end])).dropFirst().map { start + $0 }
        }
    }

    /// Joins a piece that is too small with the one behind it; the last one, if at all, with the one before.
    private static func joined(_ cuts: [Int], lastToo: Bool = true, where isTooSmall: (Range<Int>) -> Bool) -> [Int] {
        var kept = [cuts[0]], start = cuts[0]
        for end in cuts.dropFirst().dropLast() where !isTooSmall(start..<end) {
            kept.append(end)
            start = end
        }
        guard let end = cuts.last else { return kept }
        if lastToo, kept.count > 1, isTooSmall(start..<end) { kept.removeLast() }
        return kept + [end]
    }

    // MARK: sentences and lines

    /// In units of `text`, like the next.
    private static func sentences(_ text: ShieldedText) -> [Int] {
        let inner = (0..<text.units.count).filter {
            $0 > 0 && (text.character($0) == "\n" || endsSentence(text, before: $0))
        }
        return joined([0] + inner + [text.units.count], lastToo: false) {
            text.offsets[$0.upperBound] - text.offsets[$0.lowerBound] < 20 && text.character($0.upperBound - 1) != "."
        }
    }

    /// A full stop, white space and a capital behind it; not one behind a single letter, nor behind a word of two.
    private static func endsSentence(_ text: ShieldedText, before unit: Int) -> Bool {
        guard text.character(unit - 1) == ".",
            let next = (unit..<text.units.count).first(where: { !text.character($0).isSpace }), next > unit,
            text.character(next).map({ ("A"..."Z").contains($0) }) == true
        else { return false }
        let letters = (1...2).prefix { text.character(unit - 1 - $0).isASCIILetter }.count
        if letters == 0 { return true }
        return letters == 1 ? text.character(unit - 3).isWord : !text.character(unit - 4).isSpace
    }

    /// Cuts also behind a formula that ends in a full stop, then joins what is short, its formulas at their true
    /// lengths.
    private static func formulasWithFullStop(_ cuts: [Int], _ text: ShieldedText) -> [Int] {
        let behind = text.units.indices.filter { text.isFormula($0) && endsInFullStop(text.text($0)) }.map { $0 + 1 }
        return joined(Set(cuts + behind).sorted()) { units in
            let piece = text.scalars[text.place(units.lowerBound)..<text.place(units.upperBound)]
            return piece.count < 20 && !endsInFullStop(piece)
        }
    }

    private static func endsInFullStop(_ text: ArraySlice<Unicode.Scalar>) -> Bool {
        fullStops.contains { text.suffix($0.count) == $0[...] }
    }

    // MARK: lines within formulas

    /// From units to characters; cuts also before each newline of a formula. A formula that comes twice in a piece is
    /// cut the first time only, as in the original.
    private static func linesOfFormulas(_ cuts: [Int], _ text: ShieldedText) -> [Int] {
        var places = [0]
        for (start, end) in zip(cuts, cuts.dropFirst()) {
            var seen = Set<[Unicode.Scalar]>()
            for unit in start..<end where text.isFormula(unit) && seen.insert(Array(text.text(unit))).inserted {
                places += text.units[unit].filter { text.scalars[$0] == "\n" }
            }
            places.append(text.place(end))
        }
        return joined(places) { $0.count < 3 || opensFormula(text.scalars[$0]) }
    }

    /// Nothing but what opens a formula: it belongs to the line behind it.
    private static func opensFormula(_ piece: ArraySlice<Unicode.Scalar>) -> Bool {
        func isText(_ scalar: Unicode.Scalar?) -> Bool { !scalar.isSpace }
        guard let first = piece.firstIndex(where: isText), let last = piece.lastIndex(where: isText) else {
            return false
        }
        let text = Array(piece[first...last])
        return openings.contains(text)
            || text.starts(with: #"\begin{"#.unicodeScalars) && text.firstIndex(of: "}") == text.count - 1
    }

    // MARK: long pieces

    private static func halved(_ piece: [Unicode.Scalar]) -> [Int] {
        var cuts = [0, piece.count], current = 0
        // Halves of a formula are not read as prose. Their places count from the piece that was halved, not from the
        // whole: the original's, kept because it decides which cuts are found.
        var formulas: (begin: Int, end: Int)?
        while current < cuts.count - 1 {
            let part = cuts[current]..<cuts[current + 1], text = Array(piece[part])
            let isFormula = formulas.map { $0.begin <= part.lowerBound && part.lowerBound < $0.end } ?? false
            if text.count <= longest {
                current += 1
            } else if !isFormula, let cut = cutInProse(text) {
                cuts.insert(part.lowerBound + cut, at: current + 1)
            } else if let cut = cutInFormula(text) {
                formulas = (min(formulas?.begin ?? cut, cut), max(formulas?.end ?? 0, text.count))
                cuts.insert(part.lowerBound + cut, at: current + 1)
            } else {
                current += 1
            }
        }
        return cuts
    }

    /// Nearest to the middle behind a comma, else before or behind other joints; both halves have 40 characters.
    private static func cutInProse(_ piece: [Unicode.Scalar]) -> Int? {
        let text = ShieldedText(piece)
        for units in [places(of: ",", text), places(of: "and", text), places(of: ":", text), places(of: "to", text)] {
            guard let unit = units.min(by: { unevenness(text, $0) < unevenness(text, $1) }) else { continue }
            let cut = text.place(unit)
            if min(cut, piece.count - cut) >= 40 { return cut }
        }
        return nil
    }

    private static func unevenness(_ text: ShieldedText, _ unit: Int) -> Int {
        abs(2 * text.offsets[unit] - (text.offsets.last ?? 0))
    }

    /// Units behind each occurrence; a word must stand between white space.
    private static func places(of mark: String, _ text: ShieldedText) -> [Int] {
        let isWord = mark.count > 1
        var places: [Int] = [], unit = 0
        while unit < text.units.count {
            let end = unit + mark.count
            guard text.has(mark, at: unit), !isWord || text.character(unit - 1).isSpace && text.character(end).isSpace
            else {
                unit += 1
                continue
            }
            places.append(end)
            // The space behind a word can't be the one before the next.
            unit = isWord ? end + 2 : end
        }
        return places
    }

    /// Nearest to the middle behind a formula's comma, else behind a sign; both halves have 20 characters.
    private static func cutInFormula(_ piece: [Unicode.Scalar]) -> Int? {
        for sign in [",$", #",\)"#, #",\]"#, "=", #"\equiv"#, "+", #"\cancelto"#].map({ Array($0.unicodeScalars) })
        where sign.count <= piece.count {
            let ends = (sign.count...piece.count).filter { piece[$0 - sign.count..<$0] == sign[...] }
            guard let cut = ends.min(by: { abs(2 * $0 - piece.count) < abs(2 * $1 - piece.count) }) else { continue }
            if min(cut, piece.count - cut) >= 20 { return cut }
        }
        return nil
    }
}

/// Kinds of characters as Python's regular expressions have them; none where there is no character.
extension Unicode.Scalar? {
    fileprivate var isSpace: Bool { map { $0.properties.isWhitespace || (0x1c...0x1f).contains($0.value) } ?? false }

    fileprivate var isASCIILetter: Bool { map { ("a"..."z").contains($0) || ("A"..."Z").contains($0) } ?? false }

    fileprivate var isWord: Bool {
        guard let scalar = self else { return false }
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: return true
        default: return scalar == "_" || scalar.properties.numericType != nil
        }
    }
}
