import GRDB

/// Which runs are asked for, and what of them.
package struct RunQuery: Sendable {
    package var filter: RunFilter?
    /// Only runs at or below this folder, by its absolute path.
    package var folder: String?
    /// Names whose values are told beside the fields.
    package var columns: [FilterName] = []
    /// What they are sorted by; nil: the newest first.
    package var order: Order?
    /// nil: all of them.
    package var limit: Int?
    /// Also those whose directories are gone.
    package var includesGone = false

    package struct Order: Sendable {
        package let name: FilterName
        package let isDescending: Bool

        package init(_ name: FilterName, isDescending: Bool) { (self.name, self.isDescending) = (name, isDescending) }
    }

    package init() {}

    /// Whether it asks for more than fields may tell.
    fileprivate var readsFigures: Bool { filter != nil || !columns.isEmpty || order != nil }
}

/// A run as a list shows it.
package struct ListedRun: Sendable {
    package let id: Int64
    package let path: String
    package let stage: String
    package let state: String
    package let recipe: String?
    package let host: String?
    package let started: String?
    package let ended: String?
    package let seconds: Double?
    /// In the order of the query's columns.
    package let values: [CatalogValue]

    fileprivate init(_ row: Row) {
        (id, path) = (Int64(row.integer("id") ?? 0), row.text("path") ?? "")
        (stage, state) = (row.text("stage") ?? "", row.text("state") ?? "")
        (recipe, host) = (row.text("recipe"), row.text("host"))
        (started, ended, seconds) = (row.text("started"), row.text("ended"), row.real("seconds"))
        values = row.databaseValues.dropFirst(Self.fields.count).map { CatalogValue.fromDatabaseValue($0) ?? .null }
    }

    fileprivate static let fields = ["id", "path", "stage", "state", "recipe", "host", "started", "ended", "seconds"]
}

package struct RunList: Sendable {
    package let runs: [ListedRun]
    /// How many there are without the limit.
    package let total: Int
}

extension CatalogDatabase {
    /// - Throws: `FilterError` for a name that nothing in the catalog has.
    package func list(_ query: RunQuery) throws -> RunList {
        try reading { db in
            let sql = FilterSQL(try NameResolution(db))
            let condition = try self.condition(query, sql), order = try self.order(query, sql)
            let columns = try query.columns.map { try sql.value(of: $0) }
            if query.readsFigures { try FilterSQL.makeSources(db) }
            let fields = ListedRun.fields.map { SQL(sql: RunField.column($0)) } + columns.map { "(\($0))" }
            let limit: SQL = query.limit.map { "LIMIT \($0)" } ?? ""
            let statement: SQL = """
                SELECT \(fields.joined(separator: ", ")) FROM runs r WHERE \(condition) ORDER BY \(order) \(limit)
                """
            let runs = try SQLRequest<Row>(literal: statement).fetchAll(db).map(ListedRun.init)
            guard let most = query.limit, runs.count == most else { return RunList(runs: runs, total: runs.count) }
            let total = try SQLRequest<Int>(literal: "SELECT count(*) FROM runs r WHERE \(condition)").fetchOne(db)
            return RunList(runs: runs, total: total ?? runs.count)
        }
    }

    private func condition(_ query: RunQuery, _ sql: FilterSQL) throws -> SQL {
        var all: [SQL] = [query.includesGone ? "1" : "r.state <> \(RunState.gone.rawValue)"]
        if let folder = query.folder { all.append(Self.isBelow(folder)) }
        if let filter = query.filter { all.append(try sql.condition(filter)) }
        return all.joined(separator: " AND ")
    }

    private func order(_ query: RunQuery, _ sql: FilterSQL) throws -> SQL {
        guard let order = query.order else { return "r.started IS NULL, r.started DESC, r.id DESC" }
        let value = try sql.value(of: order.name), direction = order.isDescending ? "DESC" : "ASC"
        return "(\(value)) IS NULL, (\(value)) \(sql: direction), r.id"
    }

    /// Every name that a filter can use, with what it is.
    package func names() throws -> [(kind: NameKind, name: String)] { try reading { try NameResolution($0).listed } }
}

extension RunField {
    fileprivate static func column(_ name: String) -> String { "r." + name }
}
