import GRDB

/// A filter → SQL over `runs r` and `sources s`, with every value bound and no text of the user's pasted in.
struct FilterSQL {
    private let names: NameResolution

    init(_ names: NameResolution) { self.names = names }

    func condition(_ filter: RunFilter) throws -> SQL {
        switch filter {
        case .comparison(.value(let value), let comparison, let right):
            try self.comparison(right, comparison.mirrored, value)
        case .comparison(let left, let comparison, .value(let value)): try self.comparison(left, comparison, value)
        case .comparison(let left, let comparison, let right):
            "((\(try operand(left))) \(sql: comparison.rawValue) (\(try operand(right))))"
        case .like(let name, let pattern): "((\(try value(of: name))) LIKE \(pattern))"
        case .among(let name, let values):
            "((\(try value(of: name))) IN (\(values.map { SQL("\($0)") }.joined(separator: ", "))))"
        case .isNull(let name): "((\(try value(of: name))) IS NULL)"
        case .not(let filter): "(NOT \(try condition(filter)))"
        case .and(let filters): "(\(try filters.map(condition).joined(separator: " AND ")))"
        case .or(let filters): "(\(try filters.map(condition).joined(separator: " OR ")))"
        }
    }

    /// SQLite takes every text for more than every number; here the two can't be compared, and neither holds.
    private func comparison(_ left: FilterOperand, _ comparison: FilterComparison, _ right: CatalogValue) throws -> SQL
    {
        let isText = if case .text = right { true } else { false }
        let value = try operand(left), types = isText ? "('text')" : "('integer', 'real')"
        return """
            (SELECT CASE WHEN typeof(v) IN \(sql: types) THEN v \(sql: comparison.rawValue) \(right) END
             FROM (SELECT (\(value)) AS v))
            """
    }

    private func operand(_ operand: FilterOperand) throws -> SQL {
        switch operand {
        case .name(let name): try value(of: name)
        case .value(let value): "\(value)"
        }
    }

    /// What a run, or the nearest of those that it was made from, has under a name; NULL where none has.
    func value(of name: FilterName) throws -> SQL {
        switch try names.meaning(of: name) {
        case .field(let field): return SQL(sql: field.column)
        case .figures(let sources):
            let found = sources.enumerated().map { rank, source in
                self.source(source, rank: rank, name.reduction ?? .last)
            }
            return """
                SELECT value FROM (\(found.joined(separator: " UNION ALL "))) ORDER BY distance, rank LIMIT 1
                """
        }
    }

    private func source(_ source: NameResolution.Source, rank: Int, _ reduction: MetricReduction) -> SQL {
        switch source.kind {
        case .recipe:
            """
            SELECT s.distance AS distance, \(rank) AS rank, v.value AS value
            FROM sources s JOIN run_recipes f ON f.run_id = s.source_id AND f.role = \(source.role)
            JOIN recipe_values v ON v.recipe_id = f.recipe_id AND v.name_id = \(source.nameID)
            WHERE s.run_id = r.id
            """
        case .measure, .count, .setting:
            """
            SELECT s.distance AS distance, \(rank) AS rank, v.value AS value
            FROM sources s JOIN figures v ON v.run_id = s.source_id AND v.name_id = \(source.nameID)
            WHERE s.run_id = r.id
            """
        case .metric:
            """
            SELECT s.distance AS distance, \(rank) AS rank, (\(metric(source.nameID, reduction))) AS value
            FROM sources s
            WHERE s.run_id = r.id AND EXISTS (
                SELECT 1 FROM metrics m WHERE m.name_id = \(source.nameID) AND m.run_id = s.source_id)
            """
        }
    }

    private func metric(_ nameID: Int64, _ reduction: MetricReduction) -> SQL {
        let steps: SQL = "FROM metrics m WHERE m.name_id = \(nameID) AND m.run_id = s.source_id"
        return switch reduction {
        case .first: "SELECT m.value \(steps) ORDER BY m.step LIMIT 1"
        case .last: "SELECT m.value \(steps) ORDER BY m.step DESC LIMIT 1"
        case .min: "SELECT min(m.value) \(steps)"
        case .max: "SELECT max(m.value) \(steps)"
        case .mean: "SELECT avg(m.value) \(steps)"
        }
    }

    /// What each run was made from: itself at distance 0, then the runs whose manifests it names as inputs, and theirs.
    /// Of runs with the same content one stands for all.
    static func makeSources(_ db: Database) throws {
        try db.execute(
            sql: """
                DROP TABLE IF EXISTS temp.sources;
                CREATE TEMP TABLE sources (
                    run_id INTEGER NOT NULL, distance INTEGER NOT NULL, source_id INTEGER NOT NULL,
                    PRIMARY KEY (run_id, distance, source_id)
                ) WITHOUT ROWID;
                INSERT OR IGNORE INTO temp.sources
                WITH RECURSIVE
                    made_from (run_id, source_id) AS MATERIALIZED (
                        SELECT run_id, (SELECT min(id) FROM runs WHERE manifest_sha256 = digest) FROM parents),
                    chain (run_id, distance, source_id) AS (
                        SELECT id, 0, id FROM runs
                        UNION
                        SELECT c.run_id, c.distance + 1, p.source_id
                        FROM chain c JOIN made_from p ON p.run_id = c.source_id
                        WHERE p.source_id IS NOT NULL AND c.distance < \(mostDistant))
                SELECT * FROM chain;
                """)
    }

    /// Longer than any chain of stages: an update is made from a plan, that from scores, those from an ingest.
    private static let mostDistant = 6
}
