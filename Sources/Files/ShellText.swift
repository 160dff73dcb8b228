/// Words of a command as a shell reads them.
package enum ShellText {
    /// One word that a shell takes back as it was, whatever it holds. Words of plain characters stay as they are.
    package static func quoted(_ word: String) -> String {
        let isPlain = !word.isEmpty && word.unicodeScalars.allSatisfy { plain.contains($0) }
        return isPlain
            ? word
            : "'"
                + word.split(separator: "'", omittingEmptySubsequences: false)
                .joined(separator: #"'\''"#) + "'"
    }

    package static func quoted(_ words: [String]) -> String { words.map(quoted).joined(separator: " ") }

    private static let plain = Set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./:,=+@%".unicodeScalars)

    package struct OpenQuote: Error { package let text: String }

    /// What a shell makes of a text before it looks at variables and patterns, which stay as they are: words, apart by
    /// spaces outside of '…' and "…", with a backslash before what is meant as it stands.
    package static func words(_ text: String) throws -> [String] {
        var reader = WordReader()
        for character in text { reader.take(character) }
        guard let words = reader.finish() else { throw OpenQuote(text: text) }
        return words
    }
}

/// Where in a text of words a reader is.
private struct WordReader {
    private var words: [String] = []
    private var word: String?
    private var quote: Character?
    private var isEscaped = false

    mutating func take(_ character: Character) {
        if isEscaped {
            append(character)
            isEscaped = false
        } else if character == "\\", quote != "'" {
            isEscaped = true
        } else if character == quote {
            quote = nil
        } else if quote == nil, character == "'" || character == "\"" {
            quote = character
            word = word ?? ""
        } else if quote == nil, character.isWhitespace {
            endWord()
        } else {
            append(character)
        }
    }

    /// nil where a quote or an escape is left open.
    mutating func finish() -> [String]? {
        guard quote == nil, !isEscaped else { return nil }
        endWord()
        return words
    }

    private mutating func append(_ character: Character) { word = (word ?? "") + String(character) }

    private mutating func endWord() {
        if let word { words.append(word) }
        word = nil
    }
}
