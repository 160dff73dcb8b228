import Files
import Testing

@Suite struct ParentFolderTests {
    @Test(arguments: [
        ("r", ""), (".", ""), ("ab", ""), ("", ""), ("a/", ""), ("/", "/"), ("//", "/"), ("/a", "/"), ("/a/", "/"),
        ("a/b", "a"), ("a//b//", "a"), ("/a/b/c", "/a/b"), ("./é", "."),
    ])
    func aPathsFolder(_ path: String, _ folder: String) { #expect(parentFolder(path) == folder) }
}
