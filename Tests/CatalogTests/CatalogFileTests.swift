import Catalog
import Foundation
import GRDB
import TestSupport
import Testing

/// The catalog's file: what is recorded stays, and what is no catalog is refused and left as it is.
@Suite struct CatalogFileTests {
    private let fixture: CatalogFixture

    init() throws { fixture = try CatalogFixture() }

    private func problem(_ access: CatalogDatabase.Access, patience: Double = 0.05) -> CatalogError.Problem? {
        do { _ = try fixture.open(access, patience: patience) } catch { return (error as? CatalogError)?.problem }
        return nil
    }

    /// The file without what the catalog makes of it.
    private func raw() throws -> DatabaseQueue { try DatabaseQueue(path: fixture.place.path) }

    @Test func recordingTwiceIsRecordingOnce() throws {
        let database = try fixture.filled()
        let before = try #require(try database.details(path: "/r/plan-a"))
        for run in CatalogFixture.chain.reversed() { try database.record { run } }
        let after = try #require(try database.details(path: "/r/plan-a"))
        #expect(before.id == after.id && before.figures == after.figures && before.inputs == after.inputs)
        #expect(after.recipes.map(\.values) == [["entropy.mask.top": .real(0.2), "name": .text("dapo")]])
        #expect(after.attempts.map(\.command) == [["crux-plan", "--output", "it's here"]])
        #expect(after.attempts.first?.scheduler == ["SLURM_JOB_ID": "7"])
        let command = try raw().read {
            try String.fetchOne($0, sql: "SELECT command FROM runs WHERE stage = 'plan'")
        }
        #expect(command == "crux-plan --output 'it'\\''s here'")
    }

    @Test func aRunThatIsMadeAnewForgetsWhatItWas() throws {
        let database = try fixture.filled()
        try database.record { CatalogFixture.run("/r/update", "update") }
        let details = try #require(try database.details(path: "/r/update"))
        #expect(details.state == "running" && details.metrics.isEmpty && details.inputs.isEmpty)
        #expect(details.manifestSHA256 == nil)
    }

    @Test func somethingThatFailsInTheMiddleChangesNothing() throws {
        struct Failure: Error {}
        let database = try fixture.filled()
        let broken = CatalogFixture.run("/r/plan-a", "plan", made: "other") {
            $0.forEachJob = { _ in throw Failure() }
        }
        #expect(throws: Failure.self) { try database.record { broken } }
        #expect(try database.details(path: "/r/plan-a")?.manifestSHA256 == "pa")
    }

    @Test func jobsHaveTheStateThatOtherRunsGiveThem() throws {
        let database = try fixture.open()
        func states() throws -> [String: Int] { try database.details(path: "/plan")?.jobs ?? [:] }
        let plan = CatalogFixture.run("/plan", "plan", made: "p") {
            $0.outputs = [CatalogedFile(path: "jobs/jobs.arrow", bytes: 1, digest: "jobs")]
            $0.forEachJob = { body in
                for number in 0..<3 {
                    try body(
                        CatalogedJob(
                            jobID: "job-\(number)", customID: "c\(number)", baseRolloutID: "r", stateIndex: 0,
                            replicate: number))
                }
            }
        }
        let rollout = CatalogFixture.run("/rollout", "rollout", made: "r") {
            $0.inputs = [CatalogedFile(path: "jobs/jobs.arrow", bytes: 1, digest: "jobs")]
        }
        func join(_ path: String, _ missing: [String]) -> CatalogedRun {
            CatalogFixture.run(path, "ingest", made: path) {
                $0.join = CatalogedJoin(jobsSHA256: "jobs", missing: missing)
            }
        }
        try database.record { plan }
        #expect(try states() == ["asked": 3])
        try database.record { rollout }
        #expect(try states() == ["sampled": 3])
        try database.record { join("/join", ["c0", "c2"]) }
        #expect(try states() == ["answered": 1, "missing": 2])
        try database.record { join("/again", ["c2"]) }
        // In whatever order they are recorded.
        try database.record { plan }
        #expect(try states() == ["answered": 2, "missing": 1])
        var each: [String] = []
        let id = try #require(try database.details(path: "/plan")).id
        try database.forEachJob(ofRun: id) { each.append("\($0.jobID) \($1)") }
        #expect(each == ["job-0 answered", "job-1 answered", "job-2 missing"])
    }

    // MARK: files that are none

    @Test func whatIsMissingIsMadeOnlyWhereThatWasAsked() throws {
        #expect(problem(.write) == .missing && problem(.read) == .missing)
        #expect(!FileManager.default.fileExists(atPath: fixture.place.path))
        #expect(problem(.create) == nil && problem(.read) == nil && problem(.write) == nil)
        #expect(try raw().read { try String.fetchOne($0, sql: "PRAGMA journal_mode") } == "wal")
    }

    @Test func somethingElseIsLeftAsItIs() throws {
        let text = Array(String(repeating: "not a database ", count: 100).utf8)
        try writeBytes(text, to: fixture.place.path)
        for access in [CatalogDatabase.Access.read, .write, .create] { #expect(problem(access) == .notDatabase) }
        #expect(try readBytes(fixture.place.path) == text)
    }

    @Test func aDatabaseOfAnotherProgramIsLeftAsItIs() throws {
        let other = try DatabaseQueue(path: fixture.place.path)
        try other.write { try $0.execute(sql: "CREATE TABLE theirs (x); PRAGMA user_version = 3") }
        try other.close()
        let before = try readBytes(fixture.place.path)
        for access in [CatalogDatabase.Access.read, .write, .create] { #expect(problem(access) == .foreign) }
        #expect(try readBytes(fixture.place.path) == before)
    }

    @Test func aCatalogOfANewerVersionIsLeftAsItIs() throws {
        _ = try fixture.filled()
        try raw().write { try $0.execute(sql: "INSERT INTO grdb_migrations VALUES ('2: from the future')") }
        for access in [CatalogDatabase.Access.read, .write, .create] { #expect(problem(access) == .newer) }
    }

    @Test func aDamagedCatalogIsAnErrorAndNoCrash() throws {
        _ = try fixture.filled()
        let whole = try readBytes(fixture.place.path)
        var random = SplitMix(seed: 5), refused = 0
        for _ in 0..<60 {
            var bytes = whole
            for _ in 0..<20 {
                bytes[Int.random(in: 100..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            if Bool.random(using: &random) { bytes.removeLast(Int.random(in: 1..<bytes.count - 200, using: &random)) }
            for suffix in ["-wal", "-shm"] { try? FileManager.default.removeItem(atPath: fixture.place.path + suffix) }
            try writeBytes(bytes, to: fixture.place.path)
            do {
                let database = try fixture.open(.write, patience: 0.05)
                for run in CatalogFixture.chain { try database.record { run } }
                _ = try database.list(RunQuery())
            } catch let error as CatalogError {
                #expect(!error.description.isEmpty)
                refused += 1
            }
        }
        #expect(refused > 10)
    }

    @Test func whoeverHoldsItTooLongIsNamedAsTheReason() throws {
        _ = try fixture.filled()
        try raw().writeWithoutTransaction { db in
            try db.execute(sql: "BEGIN EXCLUSIVE")
            let other = try fixture.open(.read, patience: 0.05)
            #expect {
                try CatalogDatabase(fixture.place, .write, patience: 0.05).record { CatalogFixture.chain[0] }
            } throws: {
                ($0 as? CatalogError)?.problem == .locked
            }
            // Readers don't wait for writers.
            #expect(try other.list(RunQuery()).total == CatalogFixture.chain.count)
            try db.execute(sql: "ROLLBACK")
        }
        #expect(throws: Never.self) { try fixture.open(.write).record { CatalogFixture.chain[0] } }
    }

    @Test func twoWhoMakeItAtOnceMakeOne() throws {
        for _ in 0..<10 {
            let fresh = try CatalogFixture()
            DispatchQueue.concurrentPerform(iterations: 4) { number in
                let run = CatalogFixture.run("/\(number)", "ingest", made: "\(number)")
                #expect(throws: Never.self) { try fresh.open(.create).record { run } }
            }
            #expect(try fresh.open(.read).list(RunQuery()).total == 4)
        }
    }

    // MARK: place

    @Test func theNearestFolderAboveCounts() throws {
        let deep = try fixture.folder.folder("a/b/run")
        #expect(CatalogPlace.ofRun(deep + "/ingest", environment: [:]) == nil)
        try writeBytes([], to: fixture.folder("a/" + CatalogPlace.fileName))
        let real = resolved(fixture.folder.path)
        #expect(CatalogPlace.ofRun(deep + "/ingest", environment: [:])?.path == real + "/a/" + CatalogPlace.fileName)
        try writeBytes([], to: deep + "/" + CatalogPlace.fileName)
        #expect(
            CatalogPlace.ofRun(deep + "/ingest", environment: [:])?.path == real + "/a/b/run/" + CatalogPlace.fileName)
        // A file within the run's own directory is the run's.
        #expect(CatalogPlace.ofRun(deep, environment: [:])?.path == real + "/a/" + CatalogPlace.fileName)
    }

    @Test func theVariableNamesAFileAFolderOrNone() throws {
        let name = CatalogPlace.variable, real = resolved(fixture.folder.path)
        let file = CatalogPlace.ofRun("/x/y", environment: [name: fixture.folder("c.sqlite")])
        #expect(file == CatalogPlace(path: real + "/c.sqlite", isNamed: true))
        let folder = CatalogPlace.ofRun("/x/y", environment: [name: fixture.folder.path])
        #expect(folder?.path == real + "/" + CatalogPlace.fileName)
        #expect(CatalogPlace.ofRun("/x/y", environment: [name: "none"]) == nil)
        #expect(CatalogPlace.ofRun("/x/y", environment: [name: ""])?.isNamed != true)
    }

    private func resolved(_ path: String) -> String { URL(fileURLWithPath: path).resolvingSymlinksInPath().path }
}
