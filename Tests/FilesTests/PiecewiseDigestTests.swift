import Files
import Foundation
import Testing

@Suite struct PiecewiseDigestTests {
    /// Expected: `split -b 16M --filter='xxhsum -H2 | cut -c1-32' FILE | xxd -r -p | xxhsum -H2` of bytes i mod 251.
    @Test(arguments: [(33_554_437, "48ac17271962ac19c21a783eb8663d72"), (5, "754f971dd1639a14d4ccd2a339b2c81e")])
    func isWhatXxhsumSaysOfThePieces(_ length: Int, _ expected: String) throws {
        let path = FileManager.default.temporaryDirectory.path + "/crux-pieces-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data((0..<length).map { UInt8($0 % 251) }).write(to: URL(fileURLWithPath: path), options: .atomic)
        let file = try MappedFile(path: path)
        #expect(PiecewiseDigest.of(file) == expected)
        let pieces = (0..<PiecewiseDigest.pieceCount(file)).reversed().map { PiecewiseDigest.piece($0, of: file) }
        #expect(PiecewiseDigest.joined(pieces.reversed()) == expected)
    }
}
