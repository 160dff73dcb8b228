import Foundation
import TestSupport
import Testing

/// `crux-report page` as a command. What a browser makes of the page is looked at by `make browser`.
@Suite struct PageTests {
    private func page(_ fixture: FixtureRun, _ name: String, _ more: [String] = []) throws -> Executable.Result {
        try Executable("crux-report").run(
            [
                "page", "--quiet", "--input", fixture.folder("ingest"), "--scores", fixture.folder("score"), "--plan",
                fixture.folder("plan"), "--tokenizer", TestSupport.fixture("policy"), "--output", fixture.folder(name),
            ] + more)
    }

    private func text(_ fixture: FixtureRun, _ name: String) throws -> String {
        try String(contentsOfFile: fixture.folder(name), encoding: .utf8)
    }

    @Test func sameBytesOnAnyNumberOfThreads() throws {
        let fixture = try FixtureRun()
        for (name, threads) in [("one.html", "1"), ("three.html", "3")] {
            #expect(try page(fixture, name, ["--threads", threads]).status == 0)
        }
        #expect(try text(fixture, "one.html") == text(fixture, "three.html"))
    }

    @Test func summaryTellsWhatThePageHolds() throws {
        let fixture = try FixtureRun(), result = try page(fixture, "page.html", ["--page-rollouts", "10"])
        #expect(result.summary["rollouts"] as? Int == 192 && result.summary["rollouts_in_full"] as? Int == 10)
        #expect(result.summary["bytes"] as? Int == (try text(fixture, "page.html")).utf8.count)
    }

    @Test func pagesAreWrittenAnewAndOtherFilesKept() throws {
        let fixture = try FixtureRun()
        #expect(try page(fixture, "page.html").status == 0)
        #expect(try page(fixture, "page.html").status == 0)
        try "mine".write(toFile: fixture.folder("mine.html"), atomically: true, encoding: .utf8)
        let refused = try page(fixture, "mine.html")
        #expect(refused.status == 5 && refused.errors.contains("no page of crux-report"), "\(refused.errors)")
        #expect(try text(fixture, "mine.html") == "mine")
        #expect(try page(fixture, "mine.html", ["--overwrite"]).status == 0)
    }

    @Test func pagesDoNotLieInWhatTheyTellOf() throws {
        let fixture = try FixtureRun()
        #expect(try page(fixture, "score/page.html").status == 2)
    }

    /// Data are base64; the title is the only text of a user's in the markup. Nothing leads out of the file.
    @Test func nothingOfTheDumpIsMarkup() throws {
        let fixture = try FixtureRun(), title = "</title><script>run()</script>"
        #expect(try page(fixture, "page.html", ["--title", title]).status == 0)
        let text = try text(fixture, "page.html")
        #expect(text.contains("<title>&lt;/title&gt;&lt;script&gt;run()&lt;/script&gt;</title>"))
        #expect(!text.contains(title))
        #expect(text.contains("default-src 'none'") && !text.contains("unsafe"))
        #expect(text.matches(of: /(src|href)="?https?:/).isEmpty)
        for block in text.matches(of: /<script type="application\/gzip" id="([a-z0-9-]+)">([^<]*)<\/script>/) {
            #expect(Data(base64Encoded: String(block.2))?.prefix(2) == Data([0x1f, 0x8b]), "\(block.1)")
        }
    }

    @Test(arguments: [
        (["--against", "plan"], 0), (["--page-rollouts", "0"], 2), (["--update", "plan"], 3), (["--jobs", "plan"], 3),
        (["--loops", "nothing"], 2),
    ]) func flagsAreChecked(_ flags: [String], _ status: Int) throws {
        let fixture = try FixtureRun()
        let placed = flags.map { $0 == "plan" ? fixture.folder("plan") : $0 }
        let result = try page(fixture, "page.html", placed)
        #expect(Int(result.status) == status, "\(result.errors)")
        #expect(FileManager.default.fileExists(atPath: fixture.folder("page.html")) == (status == 0))
    }

    @Test func dryRunWritesNothing() throws {
        let fixture = try FixtureRun()
        #expect(try page(fixture, "page.html", ["--dry-run"]).status == 0)
        #expect(!FileManager.default.fileExists(atPath: fixture.folder("page.html")))
    }
}
