import Arrow
import ArgumentParser
import Formats
import RunViews
import Foundation
import Quantiles
import StageSupport
import TestSupport
import Testing

/// The fixture dump through ingest, score and two plans.
struct FixtureRun {
    let folder: TemporaryDirectory

    init() throws {
        folder = try TemporaryDirectory()
        try run("ingest", "--input", fixture("dump"), "--output", folder("ingest"))
        try run("score", "--input", folder("ingest"), "--output", folder("score"))
        try plan(to: "plan")
        try plan(to: "other", "--set", "entropy.mask.top=0.1")
    }

    func plan(to name: String, _ more: String...) throws {
        try run(
            "plan",
            [
                "--input", folder("ingest"), "--scores", folder("score"), "--recipe",
                repository("recipes/dapo-top20.yaml"), "--output", folder(name),
            ] + more)
    }

    func run(_ stage: String, _ arguments: String...) throws { try run(stage, arguments) }

    private func run(_ stage: String, _ arguments: [String]) throws {
        let result = try Executable("crux-\(stage)").run(["--quiet"] + arguments)
        try #require(result.status == 0, "\(result.errors)")
    }

    func view(plans: [String] = []) throws -> RunView {
        try RunView(
            input: folder("ingest"), scores: folder("score"), plans: plans.map { folder($0) }, Self.context)
    }

    static var context: StageContext {
        get throws { StageContext(stage: "report", options: try StageOptions.parse(["--quiet"])) }
    }

    /// All rows of the files of a stage that begin so.
    func rows<Row>(_ stage: String, _ prefix: String, _ table: Table<Row>) throws -> [Row] {
        let names = try FileManager.default.contentsOfDirectory(atPath: folder(stage)).filter { $0.hasPrefix(prefix) }
        return try names.sorted().flatMap {
            try ArrowTableReader(path: folder(stage) + "/" + $0, table: table).rows()
        }
    }
}

@Suite struct RunViewTests {
    @Test func rolloutsHaveTheirScoresAndEntries() throws {
        let fixture = try FixtureRun(), view = try fixture.view(plans: ["plan", "other"])
        let rollouts = try fixture.rows("ingest", "rollouts-", Tables.rollouts)
        let scores = try fixture.rows("score", "scores-", Tables.scores)
        let plan = Dictionary(
            uniqueKeysWithValues: try fixture.rows("plan", "plan.arrow", Tables.plan).map { ($0.rolloutID, $0) })
        let dropped = Dictionary(
            uniqueKeysWithValues: try fixture.rows("plan", "dropped", Tables.dropped).map { ($0.rolloutID, $0.reason) })
        #expect(view.rows.count == rollouts.count && rollouts.count == 192)
        var number = 0
        try view.forEachRollout { one in
            #expect(one.number == number && one.rollout == rollouts[number] && one.score == scores[number])
            let entry = one.entries[0]
            #expect(entry.rows == plan[one.rollout.rolloutID].map { [$0] } ?? [])
            #expect(entry.dropReason == dropped[one.rollout.rolloutID])
            number += 1
        }
        #expect(number == 192 && dropped.count == 24)
        #expect(
            try view.plans[0].row(3).rolloutID == (try fixture.rows("plan", "plan.arrow", Tables.plan))[3].rolloutID)
    }

    @Test func rolloutsAreFoundByName() throws {
        let view = try FixtureRun().view()
        let last = try view.rollout(191)
        #expect(try view.rollout(named: last.rollout.rolloutID)?.number == 191)
        #expect(try view.rollout(named: "nobody") == nil)
        #expect(view.rows.place(of: 191).row == 63)
        #expect(view.rows.place(of: 191).file.hasSuffix("rollouts-00002.arrow"))
    }

    @Test func plansKnowOnlyTheirRollouts() throws {
        let plan = try FixtureRun().view(plans: ["plan"]).plans[0]
        guard case .missing = try plan.entry(of: "nobody") else {
            Issue.record("a plan knows a rollout that isn't there")
            return
        }
        #expect(plan.rowCount == 168 && plan.droppedCount == 24)
    }

    /// A preference pair's rollout may stand in several rows; a view shows them all, in the plan's order.
    @Test func everyRowOfARolloutIsFound() throws {
        let fixture = try FixtureRun()
        var writer = try ArrowTableWriter(path: fixture.folder("plan/plan.arrow"), table: Tables.plan, metadata: [:])
        let rows = try fixture.rows("other", "plan.arrow", Tables.plan)
        for row in [rows[5], rows[2], rows[5], rows[5]] { try writer.append(row) }
        let written = try writer.finish()
        let old = try #require(try Manifest.read(fixture.folder("plan")))
        var manifest = old
        manifest.outputs = old.outputs.map { $0.path == "plan.arrow" ? Manifest.File("plan.arrow", written) : $0 }
        try manifest.write(to: fixture.folder("plan"))
        let plan = try fixture.view(plans: ["plan"]).plans[0]
        #expect(plan.rowNumbers(of: rows[5].rolloutID) == [0, 2, 3])
        #expect(plan.rowNumbers(of: rows[2].rolloutID) == [1])
    }

    @Test func plansOfOtherScoresAreRefused() throws {
        let fixture = try FixtureRun()
        try fixture.run(
            "score", "--input", fixture.folder("ingest"), "--output", fixture.folder("again"), "--top-k", "2")
        let error = #expect(throws: StageError.self) {
            _ = try RunView(
                input: fixture.folder("ingest"), scores: fixture.folder("again"), plans: [fixture.folder("plan")],
                try FixtureRun.context)
        }
        #expect(error?.status == .invalidInput && error?.description.contains("crux-plan --input") == true)
    }

    // MARK: figures of a run

    @Test func quantilesAreThoseOfAllEntropies() throws {
        let fixture = try FixtureRun(), view = try fixture.view()
        var entropies: [Float] = []
        try view.forEachRollout { one in entropies += one.trainable.map { one.score.entropy?[$0] ?? -1 } }
        let figures = try RunFigures(view, sampleLimit: 10, threads: 2)
        let expected = stride(from: 0, through: 100, by: 5).map { quantile(entropies, Double($0) / 100) }
        #expect(figures.quantiles?.values == expected.compactMap { $0 })
        #expect(figures.quantiles?.thresholds["0.2"] == quantile(entropies, 0.8))
    }

    @Test func figuresAreTheSameOnAnyNumberOfThreads() throws {
        let view = try FixtureRun().view(plans: ["plan", "other"])
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        let texts = try [1, 3].map { threads in
            let figures = try RunFigures(view, sampleLimit: 12, threads: threads)
            let parts: [any Encodable] = [figures.dump, figures.plans, figures.comparison, figures.quantiles]
            return try parts.map { try encoder.encode($0) } + [try encoder.encode(figures.sample.rows(tokens: 400))]
        }
        #expect(texts[0] == texts[1])
    }

    /// What crux-plan counted itself.
    @Test func figuresAreThoseOfThePlansOwnReport() throws {
        let fixture = try FixtureRun(), view = try fixture.view(plans: ["plan"])
        let tally = try RunFigures(view, sampleLimit: 1, threads: 1).plans[0]
        let counts = view.plans[0].manifest.counts
        #expect(tally.rollouts == counts["kept"] && tally.keptTokens == counts["kept_tokens"])
        #expect(tally.trainableTokens == counts["trainable_tokens"])
        #expect(tally.dropped == ["degenerate_group": counts["dropped_degenerate_group"] ?? -1])
        #expect(tally.cuts[0].map { $0.lowestKept > $0.highestLeft } == true)
    }

    /// The sampler's own log-probabilities say nothing of how far the trainer is from it.
    @Test func samplersAreNotHeldAgainstThemselves() throws {
        let fixture = try FixtureRun()
        #expect(try fixture.view().rollout(0).samplerDifferences.isEmpty)
        try fixture.run(
            "score", "--input", fixture.folder("ingest"), "--output", fixture.folder("known"), "--checkpoint",
            TestSupport.fixture("policy"))
        let known = try RunView(
            input: fixture.folder("ingest"), scores: fixture.folder("known"), try FixtureRun.context)
        #expect(try known.rollout(0).samplerDifferences.contains { $0 > 0 })
    }
}
