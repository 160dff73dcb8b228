/// What a dialect may know of a line beside the line itself.
package struct LineContext: Sendable {
    /// Finds the request that a result names.
    package let asked: RequestLookup
    /// What the line's file is called, without its ending; empty where there is none.
    package let file: String

    package init(file: String = "", asked: @escaping RequestLookup = { _ in nil }) {
        (self.file, self.asked) = (file, asked)
    }

    /// The number at the end of the file's name, by which trainers name their steps; nil where it has none.
    var step: String? {
        let digits = file.utf8.reversed().prefix { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }
        return digits.isEmpty ? nil : String(decoding: digits.reversed(), as: UTF8.self)
    }
}
