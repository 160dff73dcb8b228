import ArgumentParser
import Catalog
import Files
import Foundation
import StageSupport

/// Runs that meet a condition.
struct ListCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract:
            "Lists runs, the newest first: all, or those that meet a condition on recipe keys, figures and fields.")
    static let stage = "runs"

    @Argument(help: "Only runs at or below this folder; also where the catalog is looked for (default: here).")
    var folder: String?

    @Option(
        help:
            "Condition, such as 'entropy.mask.top = 0.2 and accuracy > 0.3': = != < <= > >=, like, in, is null, and, or, not, parentheses."
    )
    var `where`: String?

    @Option(help: "More values to show, by commas, such as entropy.mask.top,max(heldout_accuracy).")
    var columns: String?

    @Option(help: "Sort by this name instead, the greatest first.")
    var sort: String?

    @Flag(help: "With --sort: the least first.")
    var ascending = false

    @Option(help: "Most runs to list; 0: all.")
    var limit = 50

    @Flag(help: "Also runs whose directories are gone.")
    var gone = false

    @OptionGroup var catalog: CatalogOptions
    @OptionGroup var options: StageOptions

    func validate() throws {
        if limit < 0 { throw ValidationError("--limit is \(limit); it must be at least 0.") }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        guard options.share.rank == 0 else { return StageSummary(["left_to_rank_0": true]) }
        let query = try query(), database = try catalog.open(near: folder ?? ".", context)
        let found: RunList
        do { found = try database.list(query) } catch let error as FilterError {
            throw StageError(.usage, "--where, --columns or --sort: \(error)")
        }
        let table = RunTable(found.runs, columns: query.columns.map(\.description))
        return catalog.summary(
            table.text + rest(found), ["total": found.total, "runs": table.json, "catalog": database.path])
    }

    private func query() throws -> RunQuery {
        var query = RunQuery()
        query.filter = try `where`.map { try reading("--where", $0) { try RunFilter($0) } }
        query.folder = folder.map(resolvedPath)
        let named = try columns.map { try reading("--columns", $0) { try FilterName.list($0) } } ?? []
        query.columns = (query.filter?.names ?? []).filter { !RunTable.shows($0) } + named
        query.order = try sort.map {
            RunQuery.Order(try reading("--sort", $0) { try FilterName.list($0)[0] }, isDescending: !ascending)
        }
        query.limit = limit == 0 ? nil : limit
        query.includesGone = gone
        return query
    }

    private func reading<T>(_ flag: String, _ text: String, _ body: (String) throws -> T) throws -> T {
        do { return try body(text) } catch let error as FilterError {
            throw StageError(.usage, "\(flag) '\(text)': \(error)")
        }
    }

    private func rest(_ found: RunList) -> String {
        let left = found.total - found.runs.count
        if left > 0 { return "… and \(left) more; --limit 0 lists all \(found.total)\n" }
        return found.total == 0 ? "no run\(`where` == nil ? "" : " meets the condition")\n" : ""
    }
}
