import Foundation

/// What a tokenizer.json splits or replaces by: a text, or a regular expression of Oniguruma's.
struct TextPattern: Sendable {
    private enum Kind: Sendable {
        case text([UInt8])
        case program(PatternProgram)
        case foreign(ForeignPattern)
    }

    private let kind: Kind

    /// A `pattern` of the file: `{"String": …}` or `{"Regex": …}`, or a text alone.
    init(_ node: TokenizerNode) throws {
        if let text = node["String"].string ?? node.string {
            self.init(literal: Array(text.utf8))
        } else {
            try self.init(regex: try node.require(node["Regex"].string, "a pattern, Regex or String"), node)
        }
    }

    init(literal: [UInt8]) { kind = .text(literal) }

    init(regex: String, _ node: TokenizerNode) throws {
        if let parsed = PatternParser.parse(regex), let program = PatternProgram(parsed) {
            kind = .program(program)
        } else {
            kind = .foreign(try ForeignPattern(regex, node))
        }
    }

    /// Matches that aren't empty, leftmost first. The text is sound UTF-8.
    func matches(in text: ArraySlice<UInt8>, _ found: (Range<Int>) -> Void) {
        let start = text.startIndex
        switch kind {
        case .text(let wanted): Self.occurrences(of: wanted, in: text, found)
        case .program(let program):
            text.withUnsafeBufferPointer { bytes in
                program.matches(in: bytes) { found($0.lowerBound + start..<$0.upperBound + start) }
            }
        case .foreign(let pattern): pattern.matches(in: text, found)
        }
    }

    private static func occurrences(of wanted: [UInt8], in text: ArraySlice<UInt8>, _ found: (Range<Int>) -> Void) {
        guard let first = wanted.first else { return }
        var place = text.startIndex
        while place + wanted.count <= text.endIndex {
            if text[place] == first, text[place..<place + wanted.count].elementsEqual(wanted) {
                found(place..<place + wanted.count)
                place += wanted.count
            } else {
                place += 1
            }
        }
    }
}

/// A pattern that ICU reads: what is beyond `PatternParser`. ICU reads Oniguruma's language alike, but for what counts
/// as a space.
package struct ForeignPattern: @unchecked Sendable {
    private let expression: NSRegularExpression

    init(_ pattern: String, _ node: TokenizerNode) throws {
        do { try self.init(pattern: pattern) } catch {
            throw node.unsupported(found: "pattern '\(pattern)'", expected: "a regular expression that ICU knows")
        }
    }

    package init(pattern: String) throws {
        // ICU's \s leaves out U+000B and U+0085, which Unicode's White_Space has.
        let same = pattern.replacingOccurrences(of: #"\s"#, with: #"\p{White_Space}"#).replacingOccurrences(
            of: #"\S"#, with: #"\P{White_Space}"#)
        expression = try NSRegularExpression(pattern: same)
    }

    package func matches(in bytes: ArraySlice<UInt8>, _ found: (Range<Int>) -> Void) {
        let text = String(decoding: bytes, as: UTF8.self), units = Array(text.utf16)
        var unit = 0, byte = bytes.startIndex
        /// Bytes before a place in UTF-16; places only grow.
        func place(_ target: Int) -> Int {
            while unit < target {
                let isPair = UTF16.isLeadSurrogate(units[unit])
                byte += isPair ? 4 : units[unit] < 0x80 ? 1 : units[unit] < 0x800 ? 2 : 3
                unit += isPair ? 2 : 1
            }
            return byte
        }
        for match in expression.matches(in: text, range: NSRange(location: 0, length: units.count))
        where match.range.length > 0 {
            let start = place(match.range.location)
            found(start..<place(match.range.location + match.range.length))
        }
    }
}
