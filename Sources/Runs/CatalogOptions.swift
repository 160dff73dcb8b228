import ArgumentParser
import Catalog
import Files
import Foundation
import StageSupport

/// Which catalog, and in which form its answers are wanted.
struct CatalogOptions: ParsableArguments {
    @Option(
        help:
            "The catalog's file, or its folder (default: what CRUX_CATALOG says, else \(CatalogPlace.fileName) in the nearest folder above that has one)."
    )
    var catalog: String?

    @Option(help: "Form of the answer on stdout: text, or json in one line.")
    var format = LogFormat.text

    /// The catalog that is there, of a folder or above it.
    ///
    /// - Throws: (3) where there is none.
    func place(near folder: String) throws -> CatalogPlace {
        if let place = found(near: folder) { return place }
        throw StageError(
            .invalidInput,
            "\(folder): found no \(CatalogPlace.fileName) there or in a folder above, expected a catalog of runs. "
                + "crux-runs scan DIR makes one of the runs below DIR; --catalog or \(CatalogPlace.variable) names one elsewhere."
        )
    }

    /// nil where there is none.
    func found(near folder: String) -> CatalogPlace? {
        catalog.map { CatalogPlace(named: $0) } ?? CatalogPlace.near(folder)
    }

    /// Opens it to read, and to say of runs what has become of them where it can be changed.
    func open(near folder: String, _ context: StageContext) throws -> CatalogDatabase {
        let place = try place(near: folder)
        do {
            let database = try CatalogDatabase(place, .write)
            try RunningRuns(database).refresh()
            return database
        } catch let error as CatalogError where error.problem == .readOnly || error.isOfTheSystem {
            return try CatalogDatabase(place, .read)
        }
    }

    /// Only the form that is asked for is made: either may have ten thousand rows.
    func summary(
        _ text: @autoclosure () -> String, status: ExitStatus = .done,
        _ fields: @autoclosure () -> [String: any Sendable]
    ) -> StageSummary {
        guard format == .text else { return StageSummary(status: status, fields()) }
        var summary = StageSummary(status: status, [:])
        summary.text = text()
        return summary
    }
}

/// Runs that were at work when they were last heard of: some were killed since, or finished without a word.
struct RunningRuns {
    private let catalog: CatalogDatabase

    init(_ catalog: CatalogDatabase) { self.catalog = catalog }

    /// What lies elsewhere, on another machine perhaps, is left as it is.
    func refresh() throws {
        for path in try catalog.running() where (try? Folder.isFolder(path)) == true {
            guard try CatalogedRun.fingerprint(directory: path) != nil else { continue }
            try catalog.record { try CatalogedRun(directory: path) }
        }
    }
}

/// What a path says of a run: for messages and tables, from the folder where the command was called.
func shortPath(_ path: String) -> String {
    let here = FileManager.default.currentDirectoryPath
    let prefix = here == "/" ? "/" : here + "/"
    return path == here ? "." : path.hasPrefix(prefix) ? String(path.dropFirst(prefix.count)) : path
}

/// As JSON has it.
extension CatalogValue {
    var json: any Sendable {
        switch self {
        case .integer(let number): number
        case .real(let number): number.isFinite ? number : "\(number)"
        case .text(let text): text
        case .truth(let flag): flag
        case .null: NSNull()
        }
    }

    /// For a table: four digits of a number that is no whole one.
    var shown: String {
        switch self {
        case .integer(let number): "\(number)"
        case .real(let number): String(format: "%.4g", number)
        case .text(let text): text
        case .truth(let flag): "\(flag)"
        case .null: "–"
        }
    }
}
