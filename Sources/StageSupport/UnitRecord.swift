import Formats
import Foundation

/// What is remembered of a finished piece of a stage's work (a shard, say) until the whole stage is finished.
package struct UnitRecord: Codable, Equatable, Sendable {
    package var index: Int
    /// Digest of the stage's configuration.
    package var configuration: String
    package var inputs: [FileRecord]
    package var outputs: [FileRecord]
    package var counts: [String: Int]
    /// What else the stage needs for finishing, such as rejected rows.
    package var notes: JSONValue

    package init(index: Int, configuration: String, inputs: [FileRecord], outputs: [FileRecord], counts: [String: Int], notes: JSONValue = .null) {
        self.index = index
        self.configuration = configuration
        self.inputs = inputs
        self.outputs = outputs
        self.counts = counts
        self.notes = notes
    }
}
