import Credit
import Formats
import Foundation
import TestSupport
import Testing

/// What is written for people holds what the code says.
@Suite struct DocumentationTests {
    @Test func filesPageIsPrintedFromTheTables() throws {
        let printed = try Executable("crux-report").run(["--files"])
        let page = try String(contentsOfFile: repository("docs/files.md"), encoding: .utf8)
        #expect(printed.status == 0)
        #expect(printed.output == page, "docs/files.md is not what crux-report --files prints: make docs")
    }

    struct ListedWord: Sendable, CustomTestStringConvertible {
        let word: String
        let documentation: String
        var testDescription: String { word }

        init(_ word: some TableWord) { (self.word, documentation) = (word.rawValue, word.documentation) }
    }

    private static let listedWords =
        EntropySource.allCases.map { ListedWord($0) } + RejectReason.allCases.map { ListedWord($0) }
        + Verdict.allCases.map { ListedWord($0) }

    /// What stands in a column that holds one of a few words is explained beside it.
    @Test(arguments: listedWords) func filesPageExplainsEveryWord(_ listed: ListedWord) throws {
        let page = try String(contentsOfFile: repository("docs/files.md"), encoding: .utf8)
        #expect(page.contains("\n| `\(listed.word)` | \(listed.documentation.replacing("|", with: "\\|")) |\n"))
    }

    @Test(arguments: FinishReason.allCases) func filesPageHasEnginesWords(_ reason: FinishReason) throws {
        let page = try String(contentsOfFile: repository("docs/files.md"), encoding: .utf8)
        for word in reason.words { #expect(page.contains("`\(word)`"), "\(word)") }
        #expect(page.contains(reason.documentation))
    }

    @Test func filesPageExplainsEveryDropReason() throws {
        let page = try String(contentsOfFile: repository("docs/files.md"), encoding: .utf8)
        for reason in DropReason.all {
            #expect(page.contains("`\(reason.name)`") && page.contains("| \(reason.meaning) |\n"), "\(reason.name)")
            guard case .unusable(let verdict) = reason else { continue }
            #expect(Verdict(rawValue: verdict)?.isUnusable == true, "\(verdict)")
        }
    }

    @Test func makeListsEveryRule() throws {
        let makefile = try String(contentsOfFile: repository("Makefile"), encoding: .utf8)
        let lines = makefile.replacing("\\\n", with: " ").split(separator: "\n")
        let phony = try #require(lines.first { $0.hasPrefix(".PHONY:") }).split(separator: " ").dropFirst()
        for rule in phony where rule != "help" {
            #expect(lines.contains { $0.hasPrefix("#   make \(rule) ") }, "\(rule)")
        }
    }

    /// Links of the front page and of docs/ that lead within the repository.
    @Test func linksLeadToFiles() throws {
        let docs = try FileManager.default.contentsOfDirectory(atPath: repository("docs"))
            .filter { $0.hasSuffix(".md") }.map { "docs/" + $0 }
        for page in ["README.md", "CONTRIBUTING.md", "experiments/README.md"] + docs {
            let text = try String(contentsOfFile: repository(page), encoding: .utf8)
            let folder = (page as NSString).deletingLastPathComponent
            for match in text.matches(of: /\]\(([^)#:]+)\)/) {
                let target = repository((folder as NSString).appendingPathComponent(String(match.1)))
                #expect(FileManager.default.fileExists(atPath: target), "\(page): \(match.1)")
            }
        }
    }

    @Test func frontPageIsShort() throws {
        #expect(try Data(contentsOf: URL(fileURLWithPath: repository("README.md"))).count <= 8_000)
    }

    /// `crux NAME` is crux-NAME with the same arguments and the same exit code.
    @Test func cruxFindsTheOthers() throws {
        let direct = try Executable("crux-plan").run(["--list"])
        let found = try Executable("crux").run(["plan", "--list"])
        #expect(found.status == 0 && found.output == direct.output)
        #expect(try Executable("crux").run(["plan", "--no-such-flag"]).status == 2)
        let unknown = try Executable("crux").run(["plam"])
        #expect(unknown.status == 2 && unknown.errors.contains("expected ingest, score, plan"), "\(unknown.errors)")
    }
}
