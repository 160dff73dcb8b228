import GRDB

/// Why a catalog can't be used, and what to do about it.
package struct CatalogError: Error, Equatable, Sendable, CustomStringConvertible {
    package enum Problem: Equatable, Sendable {
        case missing
        /// No database at all.
        case notDatabase
        /// A database of SQLite, but not one of ours.
        case foreign
        case damaged
        /// Made by a Crux that knows more.
        case newer
        /// Made by a Crux that knew less, and can't be changed now.
        case older
        case locked
        case readOnly
        /// Whatever else SQLite says.
        case failed(String)
    }

    package let path: String
    package let problem: Problem

    package init(_ path: String, _ problem: Problem) { (self.path, self.problem) = (path, problem) }

    /// Whether the system failed, and not what was found there.
    package var isOfTheSystem: Bool { if case .failed = problem { true } else { false } }

    init(_ path: String, _ error: DatabaseError) {
        self.path = path
        problem =
            switch error.resultCode.primaryResultCode {
            case .SQLITE_NOTADB: .notDatabase
            case .SQLITE_CORRUPT: .damaged
            case .SQLITE_BUSY, .SQLITE_LOCKED: .locked
            case .SQLITE_READONLY: .readOnly
            default: .failed(error.message.map { "\($0) (\(error.extendedResultCode.rawValue))" } ?? "\(error)")
            }
    }

    package var description: String {
        let (found, expected, remedy) = words
        return "\(path): found \(found), expected \(expected). \(remedy)"
    }

    private var words: (found: String, expected: String, remedy: String) {
        let anew = "Move it away, and let crux-runs scan make a new one from the runs' own files: nothing is lost."
        return switch problem {
        case .missing: ("no such file", "a catalog of runs", "crux-runs scan DIR makes one of the runs below DIR.")
        case .notDatabase: ("a file that is no SQLite database", "a catalog of runs", anew)
        case .foreign:
            (
                "an SQLite database of something else", "a catalog of runs",
                "Name another file (CRUX_CATALOG or --catalog); this one is left as it is."
            )
        case .damaged: ("a damaged database", "a catalog of runs", anew)
        case .newer:
            (
                "a catalog of a newer Crux", "one that this version knows",
                "Use that version, or name another file (CRUX_CATALOG or --catalog) and let crux-runs scan fill it."
            )
        case .older:
            (
                "a catalog of an older Crux in a place where nothing can be written", "one that this version knows",
                "Copy it to where it can be changed, and name that file (CRUX_CATALOG or --catalog)."
            )
        case .locked:
            (
                "it locked by another program", "it free within a few seconds",
                "See who has it open (fuser); what isn't recorded now crux-runs scan finds later."
            )
        case .readOnly:
            (
                "it read-only", "it writable",
                "Change its permissions (also those of its folder, where SQLite keeps its journal), or name another "
                    + "file (CRUX_CATALOG or --catalog)."
            )
        case .failed(let reason):
            (
                "an error of SQLite: \(reason)", "none",
                "Look at the disk and the permissions; what isn't recorded now crux-runs scan finds later."
            )
        }
    }
}
