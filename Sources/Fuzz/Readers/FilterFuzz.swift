import Catalog
import Foundation

/// Bytes as what `crux-runs list --where` is given, asked of a catalog.
final class FilterFuzz: FuzzTarget {
    static let name = "filter", subject = "a condition of crux-runs list --where"
    private let catalog: CatalogDatabase

    init(folder: String) throws {
        catalog = try CatalogDatabase(CatalogPlace(named: folder + "/crux.sqlite"), .create)
        var run = CatalogedRun(path: "/runs/update", stage: "update", version: "1", state: .finished)
        run.figures = [
            CatalogedFigure(.count, "steps", .integer(3)), CatalogedFigure(.measure, "accuracy", .real(0.5)),
        ]
        _ = try catalog.record { run }
    }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        var query = RunQuery()
        query.filter = try RunFilter(String(decoding: bytes, as: UTF8.self))
        _ = try catalog.list(query)
    }
}
