/// A list of types that recipes name by a word.
package protocol NamedMembers {
    static var names: [String] { get }
}

/// The word by which a recipe names a member of `Members`; a word that names none is refused with the known ones.
package struct MemberName<Members: NamedMembers>: Codable, Equatable, Sendable {
    package let word: String

    package init(_ word: String) { self.word = word }

    package init(from decoder: any Decoder) throws {
        word = try decoder.singleValueContainer().decode(String.self)
        guard !Members.names.contains(word) else { return }
        throw DecodingError.dataCorrupted(
            .init(codingPath: decoder.codingPath, debugDescription: "expected \(Members.names.joined(separator: ", "))")
        )
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(word)
    }
}
