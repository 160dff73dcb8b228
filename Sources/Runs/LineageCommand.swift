import ArgumentParser
import Catalog
import Files
import Foundation
import StageSupport

/// What something was made from, all the way back.
struct LineageCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "lineage",
        abstract:
            "Follows a checkpoint, or any directory or file of a run, back to the shards; says where a link is missing or a digest differs now."
    )
    static let stage = "runs"

    @Argument(help: "A checkpoint, a stage directory, or a file of one.")
    var path: String

    @OptionGroup var catalog: CatalogOptions
    @OptionGroup var options: StageOptions

    func runStage(_ context: StageContext) throws -> StageSummary {
        guard options.share.rank == 0 else { return StageSummary(["left_to_rank_0": true]) }
        let origin = resolvedPath(path)
        guard try fileExists(origin) else {
            throw StageError(
                .invalidInput, "\(path): found nothing there, expected a checkpoint, a stage directory or a file of one"
            )
        }
        let trail = LineageTrail(catalog: known(origin, context), context: context)
        guard let start = try trail.directory(of: origin) else {
            throw StageError(
                .invalidInput,
                "\(path): found no run that has made it, expected it in a stage directory, or a copy of what one holds. "
                    + "crux-runs scan DIR records the runs below DIR.")
        }
        let runs = try trail.follow(start), report = LineageReport(runs)
        return catalog.summary(report.text, status: report.isWhole ? .done : .invalidInput, report.json)
    }

    /// Without a catalog the trail goes as far as the runs lie where they lay.
    private func known(_ origin: String, _ context: StageContext) -> CatalogDatabase? {
        guard catalog.found(near: parentFolder(origin)) != nil else { return nil }
        do { return try catalog.open(near: parentFolder(origin), context) } catch {
            context.warn("goes on without the catalog: \(error)")
            return nil
        }
    }
}
