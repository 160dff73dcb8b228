import Files
import Foundation
import GRDB

extension CatalogDatabase {
    /// Records what `read` finds in a stage directory, in the place of what was known of it; nothing where it finds
    /// nothing. It reads while nobody else writes: of several tasks that tell of one directory the last has the last
    /// word.
    ///
    /// - Returns: Its number.
    @discardableResult
    package func record(_ read: () throws -> CatalogedRun?) throws -> Int64? {
        try writing { db in try read().map { try RunRecording(db).record($0) } }
    }

    /// What is known of runs at and below a folder, by path.
    package func fingerprints(below folder: String) throws -> [String: String] {
        try reading { db in
            let request: SQL = "SELECT path, fingerprint FROM runs WHERE state != 'gone' AND \(Self.isBelow(folder))"
            let rows = try SQLRequest<Row>(literal: request).fetchCursor(db)
            var found: [String: String] = [:]
            while let row = try rows.next() {
                if let path = row.text("path") { found[path] = row.text("fingerprint") ?? "" }
            }
            return found
        }
    }

    /// Whether a run lies at or below a folder, an absolute path.
    static func isBelow(_ folder: String) -> SQL {
        // The root's own slash is the one that what lies below begins with.
        let folder = folder == "/" ? "" : folder
        return "(path = \(folder) OR substr(path, 1, length(\(folder)) + 1) = \(folder) || '/')"
    }

    /// Says of runs that their directories are no longer there. What was known of them stays.
    package func markGone(_ paths: some Sequence<String>) throws {
        try writing { db in
            for path in paths {
                try db.execute(
                    sql: "UPDATE runs SET state = 'gone', fingerprint = '' WHERE path = ?", arguments: [path])
            }
        }
    }
}

/// Writes one run into all tables.
private struct RunRecording {
    private let db: Database

    init(_ db: Database) { self.db = db }

    /// Tables with rows of a run.
    private static let parts = [
        "attempts", "inputs", "outputs", "parents", "run_recipes", "figures", "metrics", "jobs", "joins",
        "missing_jobs",
    ]

    func record(_ run: CatalogedRun) throws -> Int64 {
        let id = try writeRun(run)
        for table in Self.parts {
            try db.cachedStatement(sql: "DELETE FROM \(table) WHERE run_id = ?").execute(arguments: [id])
        }
        try writeAttempts(run.attempts, id)
        try writeFiles(run.inputs, "inputs", id)
        try writeFiles(run.outputs, "outputs", id)
        let parent = try db.cachedStatement(sql: "INSERT OR IGNORE INTO parents VALUES (?, ?)")
        for file in run.inputs where file.isManifest {
            if let digest = file.digest { try parent.execute(arguments: [id, digest]) }
        }
        try writeRecipes(run.recipes, id)
        try writeValues(run, id)
        try writeJobs(run, id)
        return id
    }

    private func writeRun(_ run: CatalogedRun) throws -> Int64 {
        let attempts = run.attempts.sorted { ($0.started, $0.rank) < ($1.started, $1.rank) }, last = attempts.last
        let seconds = attempts.compactMap(\.seconds)
        let columns: [(String, (any DatabaseValueConvertible)?)] = [
            ("path", run.path), ("stage", run.stage), ("version", run.version), ("state", run.state.rawValue),
            ("manifest_sha256", run.manifestSHA256), ("fingerprint", run.fingerprint), ("recipe", run.recipeName),
            ("started", attempts.first?.started), ("ended", attempts.compactMap(\.ended).max()),
            ("seconds", seconds.isEmpty ? nil : seconds.reduce(0, +)), ("tasks", last?.tasks),
            ("attempts", attempts.count), ("host", last?.host), ("status", last?.status),
            ("command", last.map { ShellText.quoted($0.command) }),
        ]
        let names = columns.map(\.0), marks = names.map { _ in "?" }.joined(separator: ", ")
        let changes = names.dropFirst().map { "\($0) = excluded.\($0)" }.joined(separator: ", ")
        let id = try Int64.fetchOne(
            db.cachedStatement(
                sql: "INSERT INTO runs (\(names.joined(separator: ", "))) VALUES (\(marks)) "
                    + "ON CONFLICT (path) DO UPDATE SET \(changes) RETURNING id"),
            arguments: StatementArguments(columns.map(\.1)))
        guard let id else { throw DatabaseError(resultCode: .SQLITE_INTERNAL, message: "no number of a run") }
        return id
    }

    private func writeAttempts(_ attempts: [CatalogedAttempt], _ id: Int64) throws {
        let insert = try db.cachedStatement(sql: "INSERT INTO attempts VALUES (\(marks(13)))")
        for (number, attempt) in attempts.enumerated() {
            try insert.execute(arguments: [
                id, number, attempt.rank, attempt.tasks, attempt.host, attempt.process, attempt.started, attempt.ended,
                attempt.seconds, attempt.status, try json(attempt.command), attempt.folder, try json(attempt.scheduler),
            ])
        }
    }

    private func json(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    private func marks(_ count: Int) -> String { Array(repeating: "?", count: count).joined(separator: ", ") }

    private func writeFiles(_ files: [CatalogedFile], _ table: String, _ id: Int64) throws {
        let insert = try db.cachedStatement(sql: "INSERT INTO \(table) VALUES (\(marks(6)))")
        for (number, file) in files.enumerated() {
            try insert.execute(arguments: [id, number, file.path, file.bytes, file.digest, file.rows])
        }
    }

    private func writeRecipes(_ recipes: [CatalogedRecipe], _ id: Int64) throws {
        for recipe in recipes {
            let known = try Int64.fetchOne(
                db.cachedStatement(sql: "SELECT id FROM recipes WHERE sha256 = ?"), arguments: [recipe.sha256])
            try db.cachedStatement(sql: "INSERT INTO run_recipes VALUES (?, ?, ?)").execute(
                arguments: [id, recipe.role, try known ?? writeRecipe(recipe)])
        }
    }

    private func writeRecipe(_ recipe: CatalogedRecipe) throws -> Int64 {
        try db.cachedStatement(sql: "INSERT INTO recipes (sha256) VALUES (?)").execute(arguments: [recipe.sha256])
        let id = db.lastInsertedRowID
        let insert = try db.cachedStatement(sql: "INSERT INTO recipe_values VALUES (?, ?, ?)")
        for (key, value) in recipe.values { try insert.execute(arguments: [try name(.recipe, key), id, value]) }
        return id
    }

    private func writeValues(_ run: CatalogedRun, _ id: Int64) throws {
        let figure = try db.cachedStatement(sql: "INSERT OR REPLACE INTO figures VALUES (?, ?, ?)")
        for one in run.figures { try figure.execute(arguments: [try name(one.kind, one.name), id, one.value]) }
        let metric = try db.cachedStatement(sql: "INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?)")
        for one in run.metrics where one.value.isFinite {
            try metric.execute(arguments: [try name(.metric, one.name), id, one.step, one.value])
        }
    }

    /// The number of a name; there are some hundred of them.
    private func name(_ kind: NameKind, _ name: String) throws -> Int64 {
        let arguments: StatementArguments = [kind.rawValue, name]
        let find = try db.cachedStatement(sql: "SELECT id FROM names WHERE kind = ? AND name = ?")
        if let known = try Int64.fetchOne(find, arguments: arguments) { return known }
        try db.cachedStatement(sql: "INSERT INTO names (kind, name) VALUES (?, ?)").execute(arguments: arguments)
        return db.lastInsertedRowID
    }

    private func writeJobs(_ run: CatalogedRun, _ id: Int64) throws {
        let insert = try db.cachedStatement(sql: "INSERT INTO jobs VALUES (\(marks(7)))")
        var number = 0
        try run.forEachJob { job in
            try insert.execute(arguments: [
                id, number, job.jobID, job.customID, job.baseRolloutID, job.stateIndex, job.replicate,
            ])
            number += 1
        }
        guard let join = run.join else { return }
        try db.cachedStatement(sql: "INSERT INTO joins VALUES (?, ?)").execute(arguments: [id, join.jobsSHA256])
        let missing = try db.cachedStatement(sql: "INSERT OR IGNORE INTO missing_jobs VALUES (?, ?)")
        for job in join.missing { try missing.execute(arguments: [id, job]) }
    }
}
