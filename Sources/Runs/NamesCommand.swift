import ArgumentParser
import Catalog
import Foundation
import StageSupport

/// What a condition can name.
struct NamesCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "names", abstract: "Lists every name that --where, --columns and --sort know, with what it is.")
    static let stage = "runs"

    @Argument(help: "Only names with this in them.")
    var part: String = ""

    @OptionGroup var catalog: CatalogOptions
    @OptionGroup var options: StageOptions

    func runStage(_ context: StageContext) throws -> StageSummary {
        guard options.share.rank == 0 else { return StageSummary(["left_to_rank_0": true]) }
        let database = try catalog.open(near: ".", context)
        let fields = RunField.allCases.map { (kind: "field", name: $0.rawValue) }
        let all = fields + (try database.names().map { (kind: $0.kind.rawValue, name: $0.name) })
        let wanted = all.filter { part.isEmpty || $0.name.contains(part) }
        let json: [any Sendable] = wanted.map { ["kind": $0.kind, "name": $0.name] as [String: any Sendable] }
        return catalog.summary(AlignedText.of(wanted.map { [$0.kind, $0.name] }), ["names": json])
    }
}
