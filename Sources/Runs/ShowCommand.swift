import ArgumentParser
import Catalog
import Files
import Foundation
import StageSupport

/// All that is known of one run.
struct ShowCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Shows a run: who ran it when and by which command, its inputs, outputs, figures, recipe and metrics."
    )
    static let stage = "runs"

    @Argument(help: "The run's directory, or its number in the list.")
    var run: String

    @Flag(help: "Also every job that it asks for, with its state.")
    var jobs = false

    @OptionGroup var catalog: CatalogOptions
    @OptionGroup var options: StageOptions

    func runStage(_ context: StageContext) throws -> StageSummary {
        guard options.share.rank == 0 else { return StageSummary(["left_to_rank_0": true]) }
        let number = Int64(run), path = resolvedPath(run), isFolder = try Folder.isFolder(path)
        let database = try catalog.open(near: isFolder || number == nil ? parentFolder(path) : ".", context)
        let known: RunDetails?
        if let number, !isFolder {
            known = try database.details(id: number)
        } else {
            try recordAnew(path, database)
            known = try database.details(path: path)
        }
        guard let details = known else {
            throw StageError(
                .invalidInput,
                "\(run): found no such run in \(database.path), expected one of crux-runs list. "
                    + "crux-runs scan \(isFolder ? run : "DIR") records what lies there.")
        }
        let report = RunReport(details, jobs: jobs ? try listed(details.id, database) : nil)
        return catalog.summary(report.text, report.json.merging(["catalog": database.path]) { $1 })
    }

    /// What lies in the directory now counts; where the catalog can't be changed, what it knows.
    private func recordAnew(_ path: String, _ database: CatalogDatabase) throws {
        guard try CatalogedRun.isStage(path) else { return }
        do { try database.record { try CatalogedRun(directory: path) } } catch let error as CatalogError
            where error.problem == .readOnly
        {}
    }

    private func listed(_ id: Int64, _ database: CatalogDatabase) throws -> [(CatalogedJob, String)] {
        var all: [(CatalogedJob, String)] = []
        try database.forEachJob(ofRun: id) { all.append(($0, $1)) }
        return all
    }
}
