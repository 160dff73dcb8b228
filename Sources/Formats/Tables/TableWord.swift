/// A column of text that means one of a few things: the cases are the things, their raw values the words that stand in
/// the file. A reader takes a word that it doesn't know as the text that it is; a writer has only these.
package protocol TableWord: RawRepresentable, CaseIterable, CustomStringConvertible, Sendable
where RawValue == String {
    /// What the word means, and what to do about it where there is something to be done: one line for docs/files.md.
    var documentation: String { get }
}

extension TableWord {
    /// The word as files have it.
    package var description: String { rawValue }

    /// All of them, for documentation and messages.
    package static var list: String { allCases.map(\.rawValue).joined(separator: ", ") }
}

/// The words of one column, for documentation.
package struct ColumnWords: Sendable {
    package struct Meaning: Sendable {
        /// One, or several that mean the same; none: whatever is not listed.
        package let words: [String]
        package let documentation: String
    }

    package let column: String
    package let meanings: [Meaning]

    init<Word: TableWord>(_ column: String, _ type: Word.Type) {
        self.init(column, type.allCases.map { ([$0.rawValue], $0.documentation) })
    }

    /// `meanings`: of words that are not those of one enum.
    package init(_ column: String, _ meanings: [(words: [String], documentation: String)]) {
        self.column = column
        self.meanings = meanings.map { Meaning(words: $0.words, documentation: $0.documentation) }
    }
}
