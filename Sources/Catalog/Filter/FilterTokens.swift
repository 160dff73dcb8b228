/// The words of a filter.
struct FilterTokens {
    enum Kind: Equatable {
        case name(String)
        case number(CatalogValue)
        case text(String)
        case comparison(FilterComparison)
        case open, close, comma
        case end
    }

    struct Token: Equatable {
        let kind: Kind
        /// As it is written, for messages.
        let written: String
        let position: Int
    }

    private let characters: [Character]
    private var place = 0

    /// Far more than anybody writes.
    static let mostCharacters = 20_000

    init(_ text: String) throws {
        characters = Array(text)
        guard characters.count <= Self.mostCharacters else {
            throw FilterError(
                position: Self.mostCharacters + 1, found: "\(characters.count) characters",
                expected: "at most \(Self.mostCharacters)")
        }
    }

    /// With the end behind them.
    func all() throws -> [Token] {
        var reader = self, tokens: [Token] = []
        repeat { tokens.append(try reader.next()) } while tokens.last?.kind != .end
        return tokens
    }

    private mutating func next() throws -> Token {
        while let character = peek, character.isWhitespace { place += 1 }
        let start = place
        let kind = try kind()
        return Token(kind: kind, written: String(characters[start..<place]), position: start + 1)
    }

    private var peek: Character? { place < characters.count ? characters[place] : nil }

    private mutating func kind() throws -> Kind {
        guard let character = peek else { return .end }
        switch character {
        case "(": return take(.open)
        case ")": return take(.close)
        case ",": return take(.comma)
        case "'", "\"": return .text(try quoted(character))
        case "`": return .name(try quoted(character))
        case "=", "<", ">", "!": return try comparison()
        case _ where Self.beginsName(character): return .name(take { Self.isOfName($0) })
        case _ where character.isWholeNumber || "+-.".contains(character): return try number()
        default: throw error(place, "'\(character)'", "a name, a number, a text in quotes or a comparison")
        }
    }

    private mutating func take(_ kind: Kind) -> Kind {
        place += 1
        return kind
    }

    private mutating func take(while isWanted: (Character) -> Bool) -> String {
        let start = place
        while let character = peek, isWanted(character) { place += 1 }
        return String(characters[start..<place])
    }

    private static func beginsName(_ character: Character) -> Bool { character.isLetter || character == "_" }
    private static func isOfName(_ character: Character) -> Bool {
        beginsName(character) || character.isNumber || character == "." || character == "-"
    }

    /// A quote within is written twice.
    private mutating func quoted(_ quote: Character) throws -> String {
        let start = place
        var text = ""
        place += 1
        while let character = peek {
            place += 1
            guard character == quote else {
                text.append(character)
                continue
            }
            guard peek == quote else { return text }
            text.append(quote)
            place += 1
        }
        throw error(start, "\(quote) without another", "the text's end, \(quote)")
    }

    private mutating func comparison() throws -> Kind {
        let start = place, word = take { "=<>!".contains($0) }
        switch word {
        case "==": return .comparison(.equal)
        case "!=": return .comparison(.notEqual)
        default:
            if let known = FilterComparison(rawValue: word) { return .comparison(known) }
            throw error(start, "'\(word)'", "=, !=, <, <=, > or >=")
        }
    }

    /// Also 1e-5; the sign behind the e belongs to it.
    private mutating func number() throws -> Kind {
        let start = place
        while let character = peek {
            let isSign = "+-".contains(character)
            let isPart = isSign ? place == start || "eE".contains(characters[place - 1]) : Self.isOfName(character)
            guard isPart else { break }
            place += 1
        }
        let word = String(characters[start..<place])
        if let whole = Int(word) { return .number(.integer(whole)) }
        if let number = Double(word), number.isFinite { return .number(.real(number)) }
        throw error(start, "'\(word)'", "a number such as 3, 0.2 or 1e-5; texts stand in quotes")
    }

    private func error(_ place: Int, _ found: String, _ expected: String) -> FilterError {
        FilterError(position: place + 1, found: found, expected: expected)
    }
}
