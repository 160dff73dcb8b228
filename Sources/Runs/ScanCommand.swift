import ArgumentParser
import Catalog
import Files
import Foundation
import StageSupport

/// Fills the catalog from the files of the runs.
struct ScanCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "scan",
        abstract:
            "Records all runs below folders from their manifests and run.json: what the catalog holds, and no more, follows from these."
    )
    static let stage = "runs"

    @Argument(help: "Folders to look through.")
    var folders: [String]

    @OptionGroup var catalog: CatalogOptions
    @OptionGroup var options: StageOptions

    func validate() throws { if folders.isEmpty { throw ValidationError("Missing the folders to look through.") } }

    func runStage(_ context: StageContext) throws -> StageSummary {
        guard options.share.rank == 0 else { return StageSummary(["left_to_rank_0": true]) }
        for folder in folders where try !Folder.isFolder(folder) {
            throw StageError(.invalidInput, "\(folder): found no such folder, expected one that holds runs")
        }
        let place = try place()
        guard !options.dryRun else { return StageSummary(["would_write": place.path]) }
        let database = try CatalogDatabase(place, .create)
        var scan = RunScan(catalog: database, context: context)
        for folder in folders { try scan.run(below: resolvedPath(folder)) }
        let tally = scan.tally
        tally.warnings.forEach { context.warn($0) }
        if let failure = tally.failure { throw failure }
        let fields = tally.counts.merging(["catalog": place.path]) { $1 }
        return catalog.summary("\(shortPath(place.path)): \(tally.sentence)\n", fields)
    }

    /// The one that there is, else one in the first folder; beside it where the folder is itself a run.
    private func place() throws -> CatalogPlace {
        let first = resolvedPath(folders[0])
        let folder = try CatalogedRun.isStage(first) ? parentFolder(first) : first
        return catalog.found(near: folder)
            ?? CatalogPlace(path: (folder == "/" ? "" : folder) + "/" + CatalogPlace.fileName, isNamed: true)
    }
}
