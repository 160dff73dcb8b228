import Foundation
import GRDB

/// All that the catalog knows of one run.
package struct RunDetails: Sendable {
    package let id: Int64
    package let path: String
    package let stage: String
    package let version: String
    package let state: String
    package let manifestSHA256: String?
    package let recipe: String?
    package let attempts: [CatalogedAttempt]
    package let inputs: [CatalogedFile]
    package let outputs: [CatalogedFile]
    package let figures: [CatalogedFigure]
    /// By role.
    package let recipes: [CatalogedRecipe]
    /// By metric, each step's.
    package let metrics: [CatalogedMetric]
    /// Jobs by their state.
    package let jobs: [String: Int]
}

/// How far a job is.
package enum JobState: String, CaseIterable, Sendable {
    /// No run that is known has taken it up.
    case asked
    /// A crux-rollout has finished all jobs of its table.
    case sampled
    /// Results were joined, and it had none that could be used.
    case missing
    /// A result was joined to it.
    case answered
}

extension CatalogDatabase {
    /// - Returns: nil where there is no such run.
    package func details(id: Int64) throws -> RunDetails? { try details("id = ?", [id]) }

    /// `path`: absolute, links resolved.
    package func details(path: String) throws -> RunDetails? { try details("path = ?", [path]) }

    private func details(_ condition: String, _ arguments: StatementArguments) throws -> RunDetails? {
        try reading { db in
            let row = try Row.fetchOne(db, sql: "SELECT * FROM runs WHERE \(condition)", arguments: arguments)
            return try row.map { try RunReading(db, Int64($0.integer("id") ?? 0)).details($0) }
        }
    }

    /// The runs with a file of this digest among their outputs, and those that it is the manifest of.
    package func runs(withOutput digest: String) throws -> [String] {
        try reading { db in
            try String.fetchAll(
                db,
                sql: """
                    SELECT path FROM runs WHERE state <> 'gone' AND (manifest_sha256 = ?1
                        OR id IN (SELECT run_id FROM outputs WHERE digest = ?1))
                    ORDER BY started, id
                    """, arguments: [digest])
        }
    }

    /// Calls `body` with each job of a run, in order.
    package func forEachJob(ofRun id: Int64, _ body: (_ job: CatalogedJob, _ state: String) throws -> Void) throws {
        try reading { db in
            let rows = try Row.fetchCursor(db, sql: "\(RunReading.jobs) ORDER BY j.number", arguments: [id])
            while let row = try rows.next() { try body(CatalogedJob(row), row.text("state") ?? "") }
        }
    }

    /// Runs that somebody was at work on when they were last heard of.
    package func running() throws -> [String] {
        try reading { try String.fetchAll($0, sql: "SELECT path FROM runs WHERE state = 'running'") }
    }
}

extension CatalogedJob {
    fileprivate init(_ row: Row) {
        self.init(
            jobID: row.text("job_id") ?? "", customID: row.text("custom_id") ?? "",
            baseRolloutID: row.text("base_rollout_id") ?? "", stateIndex: row.integer("state_index") ?? 0,
            replicate: row.integer("replicate") ?? 0)
    }
}

/// Reads one run from all tables.
private struct RunReading {
    private let db: Database
    private let id: Int64

    init(_ db: Database, _ id: Int64) { (self.db, self.id) = (db, id) }

    func details(_ row: Row) throws -> RunDetails {
        RunDetails(
            id: id, path: row.text("path") ?? "", stage: row.text("stage") ?? "", version: row.text("version") ?? "",
            state: row.text("state") ?? "", manifestSHA256: row.text("manifest_sha256"), recipe: row.text("recipe"),
            attempts: try attempts(),
            inputs: try files("inputs"), outputs: try files("outputs"), figures: try figures(), recipes: try recipes(),
            metrics: try metrics(), jobs: try jobCounts())
    }

    private func rows(_ sql: String) throws -> [Row] { try Row.fetchAll(db, sql: sql, arguments: [id]) }

    private func attempts() throws -> [CatalogedAttempt] {
        try rows("SELECT * FROM attempts WHERE run_id = ? ORDER BY number").map { row in
            CatalogedAttempt(
                rank: row.integer("rank") ?? 0, tasks: row.integer("tasks") ?? 0, host: row.text("host") ?? "",
                process: row.integer("process") ?? 0, started: row.text("started") ?? "", ended: row.text("ended"),
                seconds: row.real("seconds"), status: row.integer("status"),
                command: json(row.text("command"), else: []), folder: row.text("folder") ?? "",
                scheduler: json(row.text("scheduler"), else: [:]))
        }
    }

    private func json<Value: Decodable>(_ text: String?, else fallback: Value) -> Value {
        text.flatMap { try? JSONDecoder().decode(Value.self, from: Data($0.utf8)) } ?? fallback
    }

    private func files(_ table: String) throws -> [CatalogedFile] {
        try rows("SELECT * FROM \(table) WHERE run_id = ? ORDER BY number").map {
            CatalogedFile(
                path: $0.text("path") ?? "", bytes: $0.integer("bytes"), digest: $0.text("digest"),
                rows: $0.integer("rows"))
        }
    }

    private func figures() throws -> [CatalogedFigure] {
        try rows(
            """
            SELECT n.kind, n.name, f.value FROM figures f JOIN names n ON n.id = f.name_id
            WHERE f.run_id = ? ORDER BY n.kind, n.name
            """
        ).compactMap { row in
            row.text("kind").flatMap(NameKind.init).map {
                CatalogedFigure($0, row.text("name") ?? "", row.value("value"))
            }
        }
    }

    private func recipes() throws -> [CatalogedRecipe] {
        try rows(
            """
            SELECT r.role, c.sha256, c.id FROM run_recipes r JOIN recipes c ON c.id = r.recipe_id
            WHERE r.run_id = ? ORDER BY r.role
            """
        ).map { row in
            let values = try Row.fetchAll(
                db,
                sql: """
                    SELECT n.name, v.value FROM recipe_values v JOIN names n ON n.id = v.name_id
                    WHERE v.recipe_id = ?
                    """, arguments: [row.integer("id")])
            return CatalogedRecipe(
                role: row.text("role") ?? "", sha256: row.text("sha256") ?? "",
                values: Dictionary(values.map { ($0.text("name") ?? "", $0.value("value")) }) { first, _ in first })
        }
    }

    private func metrics() throws -> [CatalogedMetric] {
        try rows(
            """
            SELECT n.name, m.step, m.value FROM metrics m JOIN names n ON n.id = m.name_id
            WHERE m.run_id = ? ORDER BY n.name, m.step
            """
        ).map {
            CatalogedMetric(name: $0.text("name") ?? "", step: $0.integer("step") ?? 0, value: $0.real("value") ?? .nan)
        }
    }

    private func jobCounts() throws -> [String: Int] {
        let counts = try rows("SELECT state, count(*) AS count FROM (\(Self.jobs)) GROUP BY state")
        return Dictionary(counts.map { ($0.text("state") ?? "", $0.integer("count") ?? 0) }) { first, _ in first }
    }

    /// The jobs of a run, each with its state. Tables of jobs are told by their digest, wherever a copy was used.
    static let jobs = """
        WITH
            tables AS (SELECT digest FROM outputs WHERE run_id = ?1 AND path = 'jobs/jobs.arrow'),
            joined AS (SELECT run_id FROM joins WHERE jobs_digest IN tables),
            sampled AS (
                SELECT i.run_id FROM inputs i JOIN runs r ON r.id = i.run_id
                WHERE i.digest IN tables AND r.stage = 'rollout' AND r.state = 'finished')
        SELECT j.*, CASE
            WHEN EXISTS (SELECT 1 FROM joined WHERE NOT EXISTS (
                SELECT 1 FROM missing_jobs m WHERE m.run_id = joined.run_id AND m.custom_id = j.custom_id))
                THEN '\(JobState.answered.rawValue)'
            WHEN EXISTS (SELECT 1 FROM joined) THEN '\(JobState.missing.rawValue)'
            WHEN EXISTS (SELECT 1 FROM sampled) THEN '\(JobState.sampled.rawValue)'
            ELSE '\(JobState.asked.rawValue)' END AS state
        FROM jobs j WHERE j.run_id = ?1
        """
}
