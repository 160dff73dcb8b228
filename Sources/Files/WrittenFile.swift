/// What a writer knows of the file that it has finished. Whoever reads the file again may read what somebody else has
/// put in its place.
package struct WrittenFile: Codable, Equatable, Sendable {
    package var bytes: Int
    /// In lower-case hex.
    package var sha256: String
    package var rows: Int?

    package init(bytes: Int, sha256: String, rows: Int? = nil) {
        (self.bytes, self.sha256, self.rows) = (bytes, sha256, rows)
    }
}
