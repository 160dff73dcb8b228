/// What is wrong with a file, in the five parts a user needs: which file, where in it, what was found, what was
/// expected, and what to do.
package struct FormatError: Error, Equatable, Sendable, CustomStringConvertible {
    package var file: String
    package var place: String
    package var found: String
    package var expected: String
    package var remedy: String

    package init(file: String, place: String, found: String, expected: String, remedy: String = "") {
        self.file = file
        self.place = place
        self.found = found
        self.expected = expected
        self.remedy = remedy
    }

    package var description: String {
        let where_ = place.isEmpty ? file : "\(file): \(place)"
        let advice = remedy.isEmpty ? "" : " \(remedy)"
        return "\(where_): found \(found), expected \(expected).\(advice)"
    }
}
