import Catalog
import Foundation
import TestSupport
import Testing

/// Which runs a condition finds.
@Suite struct RunListTests {
    private let fixture: CatalogFixture
    private let database: CatalogDatabase

    init() throws {
        fixture = try CatalogFixture()
        database = try fixture.filled()
    }

    private func found(_ filter: String, _ change: (inout RunQuery) throws -> Void = { _ in }) throws -> [String] {
        var query = RunQuery()
        query.filter = try RunFilter(filter)
        try change(&query)
        return try database.list(query).runs.map { String($0.path.dropFirst(3)) }.sorted()
    }

    /// A plan has the accuracy of the scores that it was made from, an update that of its plan's.
    @Test func figuresAreThoseOfTheRunOrOfWhatItWasMadeFrom() throws {
        #expect(try found("entropy.mask.top = 0.2 and accuracy > 0.3") == ["plan-a", "update"])
        #expect(try found("accuracy = 0.4") == ["plan-a", "plan-b", "score", "update"])
        #expect(try found("accuracy < 0.3") == ["loop"])
        #expect(try found("judged = 10 and stage = 'plan'") == ["plan-a", "plan-b"])
        #expect(try found("kept = 4 and not stage = 'plan'") == ["update"])
    }

    @Test(arguments: [
        ("stage in ('ingest', 'loop')", ["ingest", "loop"]), ("path like '%plan%'", ["plan-a", "plan-b"]),
        ("path not like '/r/%'", []), ("0.3 < entropy.mask.top", ["plan-b"]),
        ("entropy.mask.top <> 0.2", ["plan-b"]), ("seconds = 2.5 and stage = 'score'", ["score"]),
        ("(stage = 'loop' or stage = 'plan') and not accuracy > 0.3", ["loop"]),
        ("recipe = 'dapo'", ["plan-a", "plan-b"]), ("recipe is null and stage = 'update'", ["update"]),
        ("accuracy is null", ["ingest"]), ("entropy.mask is null and stage = 'loop'", ["loop"]),
        ("advantage.whiten = true", ["loop"]), ("advantage.whiten = false", []), ("threads = 2", ["loop"]),
        ("companion_critic.optimizer.lr < 0.01", ["loop"]), ("reward = 'auto'", ["loop"]),
        ("count.kept = 4 and stage = 'plan'", ["plan-a", "plan-b"]), ("recipe.entropy.mask.top = 0.5", ["plan-b"]),
        ("host = 'here' and status = 0 and attempts = 1 and stage = 'loop'", ["loop"]),
        ("started >= '2026-11-30' and stage = 'loop'", ["loop"]), ("accuracy > judged", []),
        ("judged > accuracy and stage = 'score'", ["score"]),
    ])
    func conditionsFindWhatTheySay(_ filter: String, _ expected: [String]) throws {
        #expect(try found(filter) == expected)
    }

    /// SQLite takes every text for more than every number.
    @Test(arguments: ["setting.top > 3", "reward > 0", "accuracy < 'z'", "setting.top = 20"])
    func textsAndNumbersAreNotCompared(_ filter: String) throws { #expect(try found(filter).isEmpty) }

    @Test(arguments: [
        ("loss = 1", ["update"]), ("first(loss) = 3", ["update"]), ("min(loss) < 1", []),
        ("max(loss) >= 3", ["update"]),
        ("mean(loss) = 2", ["update"]), ("last(loss) = 1", ["update"]),
    ])
    func metricsAreTheirLastStepUnlessSaidOtherwise(_ filter: String, _ expected: [String]) throws {
        #expect(try found(filter) == expected)
    }

    @Test(arguments: [
        ("entropy.mask.tpo = 1", "entropy.mask.top"), ("acuracy > 1", "accuracy"), ("max(los) > 1", "loss"),
        ("stag = 'x'", "stage"),
    ])
    func unknownNamesAreRefusedWithNearOnes(_ filter: String, _ near: String) {
        #expect { try found(filter) } throws: { error in
            guard let error = error as? FilterError else { return false }
            return error.position == 1 && error.expected.contains(near)
        }
    }

    /// Texts of the user's are bound, whatever they hold.
    @Test(arguments: ["x' OR 1=1 --", "'; DROP TABLE runs; --", "\u{0}", "%", "🙂"])
    func textsAreNeverPartOfTheStatement(_ text: String) throws {
        let quoted = "'" + text.replacingOccurrences(of: "'", with: "''") + "'"
        #expect(try found("path = \(quoted)").isEmpty)
        #expect(try found("stage = 'loop'") == ["loop"])
    }

    @Test func listsAreSortedLimitedAndCounted() throws {
        var query = RunQuery()
        query.filter = try RunFilter("accuracy > 0")
        query.columns = try FilterName.list("accuracy,loss")
        query.order = RunQuery.Order(try FilterName.list("accuracy")[0], isDescending: true)
        query.limit = 2
        let list = try database.list(query)
        #expect(list.total == 5 && list.runs.map(\.path) == ["/r/score", "/r/plan-a"])
        #expect(list.runs.map(\.values) == [[.real(0.4), .null], [.real(0.4), .null]])
        query.order = RunQuery.Order(try FilterName.list("accuracy")[0], isDescending: false)
        #expect(try database.list(query).runs.first?.path == "/r/loop")
    }

    @Test func onlyRunsBelowAFolderAreListed() throws {
        try database.record { CatalogFixture.run("/r2/ingest", "ingest", made: "x") }
        #expect(try found("stage = 'ingest'") { $0.folder = "/r" } == ["ingest"])
        #expect(try found("stage = 'ingest'") { $0.folder = "/r/ingest" } == ["ingest"])
        #expect(try found("stage = 'ingest'") { $0.folder = "/" }.count == 2)
    }

    /// What a scan knows already: of the root folder too, whose path ends with the slash that others lack.
    @Test(arguments: [("/", 6), ("/r", 6), ("/r/loop", 1), ("/r/lo", 0)])
    func knownRunsAreFoundBelowAFolder(_ folder: String, _ count: Int) throws {
        #expect(try database.fingerprints(below: folder).count == count)
    }

    @Test func whatIsGoneIsKeptAndLeftOut() throws {
        try database.markGone(["/r/loop"])
        #expect(try found("stage = 'loop'").isEmpty)
        #expect(try found("stage = 'loop' and accuracy = 0.1") { $0.includesGone = true } == ["loop"])
    }

    /// Equal manifests are equal content: one stands for all, however many there are.
    @Test func copiesDoNotMultiply() throws {
        for number in 0..<50 {
            try database.record { CatalogFixture.run("/copy/\(number)/ingest", "ingest", made: "i") }
            try database.record {
                CatalogFixture.run("/copy/\(number)/score", "score", made: "s", from: ["i"]) {
                    $0.figures = [CatalogedFigure(.measure, "accuracy", .real(0.4))]
                }
            }
        }
        #expect(try found("accuracy = 0.4").count == 54)
    }
}
