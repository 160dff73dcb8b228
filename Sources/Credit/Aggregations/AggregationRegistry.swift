/// Aggregations that recipes may name as `aggregation.type`.
package enum AggregationRegistry {
    /// Sorted by name. A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any Aggregation.Type] = [
        ConstantDivisor.self,
        SequenceMeanTokenMean.self,
        SequenceMeanTokenSum.self,
        TokenMean.self,
    ]
}
