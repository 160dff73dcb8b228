import Catalog
import Files
import Foundation
import Scratch
import StageSupport

/// Goes through folders and records every stage directory that it meets, those within others too.
struct RunScan {
    let catalog: CatalogDatabase
    let context: StageContext
    private(set) var tally = ScanTally()

    init(catalog: CatalogDatabase, context: StageContext) { (self.catalog, self.context) = (catalog, context) }

    /// `folder`: absolute, links resolved.
    mutating func run(below folder: String) throws {
        var known = try catalog.fingerprints(below: folder)
        try look(folder, &known)
        // Not those that only couldn't be looked at.
        let gone = try known.keys.filter { try !CatalogedRun.isStageOrUnknown($0) }.sorted()
        try catalog.markGone(gone)
        tally.gone += gone.count
    }

    /// Links to folders are not followed: what they lead to lies somewhere else.
    private mutating func look(_ folder: String, _ known: inout [String: String]) throws {
        try context.checkInterruption()
        let names: [String]
        do { names = try Folder.names(folder) } catch { return tally.skipUnreadable(error) }
        tally.folders += 1
        do {
            if try CatalogedRun.isStage(folder) { try record(folder, known.removeValue(forKey: folder)) }
        } catch let error as FormatError {
            tally.skip(.damaged, error.description)
        } catch let error as IOError { tally.skipUnreadable(error) }
        for name in names where !name.hasPrefix(".") {
            let path = (folder == "/" ? "" : folder) + "/" + name
            let isFolder: Bool
            do { isFolder = try Folder.isFolder(path, following: false) } catch {
                tally.skipUnreadable(error)
                continue
            }
            if isFolder { try look(path, &known) }
        }
    }

    private mutating func record(_ folder: String, _ known: String?) throws {
        guard let fingerprint = try CatalogedRun.fingerprint(directory: folder) else {
            return tally.skip(.damaged, "\(folder): no stage has written its manifest")
        }
        guard fingerprint != known else {
            tally.unchanged += 1
            return
        }
        try catalog.record { try CatalogedRun(directory: folder) }
        if known == nil { tally.new += 1 } else { tally.changed += 1 }
    }
}

extension CatalogedRun {
    /// False only where it is certain that no stage has worked there.
    fileprivate static func isStageOrUnknown(_ folder: String) throws -> Bool {
        do { return try isStage(folder) } catch { return true }
    }
}

/// What a scan has found.
struct ScanTally {
    enum Skip: String, CaseIterable {
        /// A manifest of another program, or a damaged one.
        case damaged
        case unreadable
    }

    var folders = 0
    var new = 0
    var changed = 0
    var unchanged = 0
    var gone = 0
    private var skipped: [Skip: Int] = [:]
    /// The first few of each kind.
    private(set) var warnings: [String] = []

    private static let shownOfKind = 5

    /// What the system failed at first: the folder may hold runs, and nobody has kept this user from seeing them.
    private(set) var failure: IOError?

    mutating func skipUnreadable(_ error: any Error) {
        failure = failure ?? (error as? IOError)
        skip(.unreadable, "\(error)")
    }

    mutating func skip(_ kind: Skip, _ reason: String) {
        skipped[kind, default: 0] += 1
        if skipped[kind] ?? 0 <= Self.shownOfKind { warnings.append("skipped: \(reason)") }
    }

    var counts: [String: any Sendable] {
        var counts: [String: any Sendable] = [
            "folders": folders, "new": new, "changed": changed, "unchanged": unchanged, "gone": gone,
        ]
        for kind in Skip.allCases { counts["skipped_" + kind.rawValue] = skipped[kind] ?? 0 }
        return counts
    }

    var sentence: String {
        let left = Skip.allCases.compactMap { kind in skipped[kind].map { "\($0) \(kind.rawValue)" } }
        return "\(new + changed + unchanged) runs in \(folders) folders: \(new) new, \(changed) changed, "
            + "\(unchanged) as they were; \(gone) gone"
            + (left.isEmpty ? "" : "; skipped: " + left.joined(separator: ", "))
    }
}
