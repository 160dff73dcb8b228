import Catalog
import Files
import Foundation

/// The catalog as a stage sees it: written to where there is one, and never a reason to fail or to wait for long.
struct StageCatalog {
    private let directory: String
    private let place: CatalogPlace?

    /// Seconds that a run waits for others who write: they take milliseconds each, and at its beginning nothing is lost.
    private static let patienceAtBegin = 2.0, patienceAtEnd = 10.0

    /// `directory`: the stage directory.
    init(directory: String) {
        self.directory = directory
        place = CatalogPlace.ofRun(directory)
    }

    /// That somebody is at work. Where that can't be told, the end tells of it.
    func begin() { try? record(patience: Self.patienceAtBegin) }

    /// What has become of the directory, which this process has let go of.
    func end(_ context: StageContext) {
        do { try record(patience: Self.patienceAtEnd) } catch {
            context.warn("this run is not in the catalog: \(error)", ["catalog": place?.path ?? ""])
        }
    }

    private func record(patience: Double) throws {
        guard let place else { return }
        // Whoever has named a file that isn't there wants it made.
        let catalog = try CatalogDatabase(place, place.isNamed ? .create : .write, patience: patience)
        try catalog.record { try CatalogedRun(directory: directory) }
    }
}
