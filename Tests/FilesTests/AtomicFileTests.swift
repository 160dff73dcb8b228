import Files
import Foundation
import Scratch
import TestSupport
import Testing

@Suite struct AtomicFileTests {
    @Test func nothingAppearsBeforeCommit() throws {
        let folder = try TemporaryDirectory()
        let file = try AtomicFile(folder("x"))
        try file.write("half")
        #expect(!FileManager.default.fileExists(atPath: folder("x")))
        try file.commit()
        #expect(try readBytes(folder("x")) == Array("half".utf8))
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["x"])
    }

    @Test func abandonedFileLeavesTheOldOneAndNoTemporary() throws {
        let folder = try TemporaryDirectory()
        try AtomicFile.write("old", to: folder("x"))
        do {
            let file = try AtomicFile(folder("x"))
            try file.write("new")
        }
        #expect(try contents(of: folder.path) == ["x": Data("old".utf8)])
    }

    @Test func missingFolderIsAnIOError() {
        #expect(throws: IOError.self) { try AtomicFile("/nonexistent-folder/x") }
    }
}

@Suite struct DigestTests {
    /// FIPS 180-2, appendix B.1, and the digest of nothing.
    @Test func publishedExamplesMatch() {
        #expect(SHA256Digest.of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(SHA256Digest.of("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    }

    @Test func fileAndBytesAgree() throws {
        let folder = try TemporaryDirectory()
        try writeBytes(Array("abc".utf8), to: folder("x"))
        #expect(try SHA256Digest.ofFile(folder("x")) == SHA256Digest.of("abc"))
    }
}
