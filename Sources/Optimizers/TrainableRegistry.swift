/// What recipes may name as `trainable.type`.
package enum TrainableRegistry {
    /// A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any Trainable.Type] = [AllParameters.self, LowRankAdapters.self]
}
