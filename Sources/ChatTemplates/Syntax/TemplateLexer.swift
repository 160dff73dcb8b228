/// A template's text → tokens, with white space taken off as transformers' environment does: `trim_blocks` (a line's end
/// behind a block or a comment), `lstrip_blocks` (spaces before one that stands first in its line), no trailing newline,
/// and the signs `{%-`, `-%}`, `{%+`, `+%}`.
struct TemplateLexer {
    private enum Tag { case block, variable, comment }

    private let name: String
    private let source: [Unicode.Scalar]
    private var position = 0
    private var line = 1
    private var tokens: [TemplateToken] = []
    /// Whether what was read last ended a line, as at the start.
    private var startsLine = true

    static func tokens(_ text: String, name: String) throws -> [TemplateToken] {
        var lexer = TemplateLexer(text, name)
        try lexer.run()
        return lexer.tokens
    }

    private init(_ text: String, _ name: String) {
        self.name = name
        // Every kind of line's end becomes one \n; one at the very end is dropped.
        var scalars: [Unicode.Scalar] = [], previous: Unicode.Scalar?
        for scalar in text.unicodeScalars {
            if scalar == "\r" {
                scalars.append("\n")
            } else if !(scalar == "\n" && previous == "\r") {
                scalars.append(scalar)
            }
            previous = scalar
        }
        if scalars.last == "\n" { scalars.removeLast() }
        source = scalars
    }

    private func error(_ found: String, _ expected: String, line: Int? = nil) -> TemplateError {
        TemplateError(template: name, line: line ?? self.line, reason: .syntax(found: found, expected: expected))
    }

    private func scalar(_ offset: Int = 0) -> Unicode.Scalar? {
        position + offset < source.count ? source[position + offset] : nil
    }

    private func text(_ range: Range<Int>) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: source[range])
        return String(view)
    }

    private mutating func add(_ kind: TemplateToken.Kind) { tokens.append(TemplateToken(kind: kind, line: line)) }

    /// Passes over so many characters and counts lines.
    private mutating func advance(_ count: Int) {
        for scalar in source[position..<position + count] where scalar == "\n" { line += 1 }
        position += count
    }

    private mutating func run() throws {
        while position < source.count {
            guard let (start, tag) = nextTag() else {
                add(.data(text(position..<source.count)))
                advance(source.count - position)
                break
            }
            let sign = start + 2 < source.count ? source[start + 2] : " ", isSigned = sign == "-" || sign == "+"
            addData(upTo: start, sign, tag)
            advance(start - position)
            let length = 2 + (isSigned ? 1 : 0), opening = line
            switch tag {
            case .comment: try skipComment(length)
            case .block, .variable:
                add(tag == .block ? .blockBegin : .variableBegin)
                advance(length)
                try readTag(tag, opening)
            }
            startsLine = position > 0 && source[position - 1] == "\n"
        }
        add(.end)
    }

    private func nextTag() -> (Int, Tag)? {
        var place = position
        while place + 1 < source.count {
            if source[place] == "{" {
                switch source[place + 1] {
                case "%": return (place, .block)
                case "{": return (place, .variable)
                case "#": return (place, .comment)
                default: break
                }
            }
            place += 1
        }
        return nil
    }

    private mutating func addData(upTo start: Int, _ sign: Unicode.Scalar, _ tag: Tag) {
        var end = start
        if sign == "-" {
            while end > position, source[end - 1].isPythonSpace { end -= 1 }
        } else if sign != "+", tag != .variable {
            var lineStart = end
            while lineStart > position, source[lineStart - 1] != "\n", source[lineStart - 1].isPythonSpace {
                lineStart -= 1
            }
            let isFirst = lineStart > position ? source[lineStart - 1] == "\n" : startsLine
            if isFirst { end = lineStart }
        }
        if end > position { add(.data(text(position..<end))) }
    }

    /// Behind a tag: all white space after a minus, one line's end after a block or a comment without a sign.
    private mutating func trimBehind(_ sign: Unicode.Scalar?, _ tag: Tag) {
        if sign == "-" {
            while let next = scalar(), next.isPythonSpace { advance(1) }
        } else if sign != "+", tag != .variable, scalar() == "\n" {
            advance(1)
        }
    }

    private mutating func skipComment(_ length: Int) throws {
        let opening = line
        var end = position + length
        while end + 1 < source.count, !(source[end] == "#" && source[end + 1] == "}") { end += 1 }
        guard end + 1 < source.count else { throw error("a comment without its end", "'#}'", line: opening) }
        let sign = end > position + length ? source[end - 1] : nil
        advance(end + 2 - position)
        trimBehind(sign, .comment)
    }

    // MARK: inside of tags

    private mutating func readTag(_ tag: Tag, _ opening: Int) throws {
        var open: [TemplateToken.Symbol] = []
        while true {
            while let next = scalar(), next.isPythonSpace { advance(1) }
            guard let next = scalar() else {
                throw error("a tag without its end", tag == .block ? "'%}'" : "'}}'", line: opening)
            }
            if open.isEmpty, readEnd(tag) { return }
            if next.startsName {
                readName()
            } else if next.isDigit {
                try readNumber()
            } else if next == "'" || next == "\"" {
                try readString(next)
            } else {
                try readSymbol(&open)
            }
        }
    }

    private mutating func readEnd(_ tag: Tag) -> Bool {
        let first: Unicode.Scalar = tag == .block ? "%" : "}"
        let sign = scalar(), isSigned = sign == "-" || sign == "+" && tag == .block, offset = isSigned ? 1 : 0
        guard scalar(offset) == first, scalar(offset + 1) == "}" else { return false }
        add(tag == .block ? .blockEnd : .variableEnd)
        advance(offset + 2)
        trimBehind(isSigned ? sign : nil, tag)
        return true
    }

    private mutating func readName() {
        var end = position
        while end < source.count, source[end].continuesName { end += 1 }
        add(.name(text(position..<end)))
        advance(end - position)
    }

    /// Digits, with single underscores between them.
    private func digits(from start: Int) -> Int {
        var end = start
        while end < source.count,
            source[end].isDigit
                || end > start && source[end] == "_" && end + 1 < source.count && source[end + 1].isDigit
        {
            end += 1
        }
        return end
    }

    private mutating func readNumber() throws {
        // Behind a dot stands an index, `list.0.1`.
        let isIndex = tokens.last?.kind == .symbol(.dot)
        var end = digits(from: position), isWhole = true
        if !isIndex, end + 1 < source.count, source[end] == ".", source[end + 1].isDigit {
            (end, isWhole) = (digits(from: end + 1), false)
        }
        if !isIndex, end < source.count, source[end] == "e" || source[end] == "E" {
            let isSigned = end + 1 < source.count && (source[end + 1] == "+" || source[end + 1] == "-")
            let start = end + (isSigned ? 2 : 1)
            if start < source.count, source[start].isDigit { (end, isWhole) = (digits(from: start), false) }
        }
        let spelled = text(position..<end), plain = spelled.filter { $0 != "_" }
        if isWhole {
            guard let value = Int(plain), plain == "0" || !plain.hasPrefix("0") || value == 0 else {
                throw error("the number \(spelled)", "a whole number below 2^63, without leading zeros")
            }
            add(.integer(value))
        } else {
            add(.float(Double(plain) ?? .infinity))
        }
        advance(end - position)
    }

    private mutating func readSymbol(_ open: inout [TemplateToken.Symbol]) throws {
        let found = TemplateToken.Symbol.longestFirst.first { symbol in
            symbol.rawValue.unicodeScalars.enumerated().allSatisfy { scalar($0) == $1 }
        }
        guard let found else { throw error("'\(scalar().map(String.init) ?? "")'", "an expression of Jinja") }
        if found.closing != nil { open.append(found) }
        if [.closeRound, .closeSquare, .closeCurly].contains(found), open.popLast()?.closing != found {
            throw error("'\(found.rawValue)'", "the bracket that was opened")
        }
        add(.symbol(found))
        advance(found.rawValue.unicodeScalars.count)
    }

    // MARK: strings

    private mutating func readString(_ quote: Unicode.Scalar) throws {
        let opening = line
        var view = String.UnicodeScalarView(), place = position + 1
        while place < source.count, source[place] != quote {
            if source[place] == "\\" {
                try Self.escape(source, &place, &view, error("an escape in a text that is none of Python's", "another"))
            } else {
                view.append(source[place])
                place += 1
            }
        }
        guard place < source.count else { throw error("a text without its end", String(quote), line: opening) }
        add(.string(String(view)))
        advance(place + 1 - position)
    }

    private static let escapes: [Unicode.Scalar: Unicode.Scalar] = [
        "\\": "\\", "'": "'", "\"": "\"", "a": "\u{7}", "b": "\u{8}", "f": "\u{c}", "n": "\n", "r": "\r", "t": "\t",
        "v": "\u{b}",
    ]
    private static let hexadecimal: [Unicode.Scalar: Int] = ["x": 2, "u": 4, "U": 8]

    /// Python's: an unknown escape stays as it is, with its backslash.
    private static func escape(
        _ source: [Unicode.Scalar], _ place: inout Int, _ view: inout String.UnicodeScalarView, _ error: TemplateError
    ) throws {
        guard place + 1 < source.count else { throw error }
        let letter = source[place + 1]
        place += 2
        if let meant = escapes[letter] {
            view.append(meant)
        } else if letter == "\n" {
            return
        } else if let count = hexadecimal[letter] {
            let digits = source[place..<min(source.count, place + count)]
            guard digits.count == count, digits.allSatisfy({ $0.properties.isASCIIHexDigit }),
                let value = UInt32(String(String.UnicodeScalarView(digits)), radix: 16),
                let scalar = Unicode.Scalar(value)
            else { throw error }
            view.append(scalar)
            place += count
        } else if ("0"..."7").contains(letter) {
            var value = letter.value - 48, count = 1
            while count < 3, place < source.count, ("0"..."7").contains(source[place]) {
                (value, count) = (value * 8 + source[place].value - 48, count + 1)
                place += 1
            }
            view.append(Unicode.Scalar(value) ?? "\u{fffd}")
        } else if letter == "N" {
            throw error
        } else {
            view.append("\\")
            view.append(letter)
        }
    }
}
