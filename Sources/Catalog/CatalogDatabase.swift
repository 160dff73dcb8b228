import Files
import Foundation
import GRDB

/// The catalog's file, opened: its identity is checked and its tables are those of this version.
package final class CatalogDatabase: Sendable {
    package enum Access: Sendable {
        /// Of a file that is there; nothing in it changes.
        case read
        /// Of a file that is there.
        case write
        /// The same; made where there is none.
        case create
    }

    package let path: String
    let queue: DatabaseQueue

    /// `patience`: seconds to wait for others who write.
    ///
    /// - Throws: `CatalogError`.
    package init(_ place: CatalogPlace, _ access: Access, patience: Double = 10) throws {
        path = place.path
        // Absent, or unreachable: SQLite says the latter better.
        if access != .create, (try? fileExists(path)) == false { throw CatalogError(path, .missing) }
        queue = try Self.calling(path) {
            try DatabaseQueue(path: place.path, configuration: Self.configuration(access, patience))
        }
        try Self.calling(path) {
            let isCurrent = try queue.writeWithoutTransaction { try hasCurrentTables($0) }
            guard access == .read else { return try prepare(place, isCurrent, patience) }
            if !isCurrent { throw CatalogError(path, .older) }
        }
    }

    private static func configuration(_ access: Access, _ patience: Double) -> Configuration {
        var configuration = Configuration()
        configuration.readonly = access == .read
        configuration.busyMode = .timeout(patience)
        configuration.prepareDatabase { db in
            // The file may be anybody's: what its schema calls must be harmless.
            try db.execute(sql: "PRAGMA trusted_schema = OFF")
            // A power cut may cost the last transactions, which scan finds again, and never the file.
            try db.execute(sql: "PRAGMA synchronous = NORMAL")
        }
        return configuration
    }

    /// As it is at one moment: between two, somebody else may have made its tables.
    private func hasCurrentTables(_ db: Database) throws -> Bool {
        var isCurrent = false
        try db.inTransaction(.deferred) {
            isCurrent = try checkIdentity(db)
            return .commit
        }
        return isCurrent
    }

    /// Whether it has this version's tables; throws where it is something else.
    private func checkIdentity(_ db: Database) throws -> Bool {
        let identifier = try Int32.fetchOne(db, sql: "PRAGMA application_id")
        if identifier == CatalogMigrations.applicationID {
            guard try !CatalogMigrations.all.hasBeenSuperseded(db) else { throw CatalogError(path, .newer) }
            return try CatalogMigrations.all.hasCompletedMigrations(db)
        }
        // Empty, or somebody is about to fill it.
        let tables = try Int.fetchOne(
            db, sql: "SELECT count(*) FROM sqlite_master WHERE tbl_name NOT IN ('grdb_migrations')")
        guard identifier == 0, tables == 0 else { throw CatalogError(path, .foreign) }
        return false
    }

    private func prepare(_ place: CatalogPlace, _ isCurrent: Bool, _ patience: Double) throws {
        try setJournal(place.isShared ? "truncate" : "wal")
        if !isCurrent { try migrate(patience) }
    }

    /// WAL lets readers and a writer work at once, but only on one machine. Where others keep it from being changed it
    /// stays as it is.
    private func setJournal(_ mode: String) throws {
        try queue.writeWithoutTransaction { db in
            guard try String.fetchOne(db, sql: "PRAGMA journal_mode") != mode else { return }
            do { try db.execute(sql: "PRAGMA journal_mode = \(mode)") } catch let error as DatabaseError
                where [.SQLITE_BUSY, .SQLITE_LOCKED].contains(error.resultCode.primaryResultCode)
            {}
        }
    }

    /// Of two who make the tables at once one fails, and finds them made.
    private func migrate(_ patience: Double) throws {
        let end = DispatchTime.now().uptimeNanoseconds + UInt64(patience * 1e9)
        while true {
            do { return try CatalogMigrations.all.migrate(queue) } catch {
                let isMade = try? queue.writeWithoutTransaction { try CatalogMigrations.all.hasCompletedMigrations($0) }
                if isMade == true { return }
                guard DispatchTime.now().uptimeNanoseconds < end else { throw error }
                usleep(20_000)
            }
        }
    }

    /// SQLite's errors as ours.
    static func calling<T>(_ path: String, _ body: () throws -> T) throws -> T {
        do { return try body() } catch let error as DatabaseError {
            throw CatalogError(path, error)
        } catch is RowDecodingError {
            throw CatalogError(path, .damaged)
        }
    }

    func reading<T>(_ body: (Database) throws -> T) throws -> T {
        try Self.calling(path) { try queue.writeWithoutTransaction(body) }
    }

    /// One transaction: all of it or nothing. Whoever else writes waits.
    func writing<T>(_ body: (Database) throws -> T) throws -> T { try Self.calling(path) { try queue.write(body) } }
}
