/// Several rewards of one rollout in one: Σ weight · reward over their names. `correct` is the reward that score gave,
/// as `reward.correct` and `reward.wrong` have it; the others are named in the rollout's metadata, or by judges.
package struct RewardComponents: Codable, Equatable, Sendable {
    package var weights: [String: Double]

    /// The name of the reward that every rollout has.
    package static let own = "correct"

    package init(_ weights: [String: Double]) { self.weights = weights }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Name.self)
        weights = [:]
        for name in container.allKeys { weights[name.stringValue] = try container.decode(Double.self, forKey: name) }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(weights)
    }

    private struct Name: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    var problems: [String] {
        weights.isEmpty ? ["reward.components has no name; expected {correct: 1, NAME: WEIGHT, …}, or none"] : []
    }

    /// In this order everywhere.
    package var names: [String] { weights.keys.sorted() }
    var weightsInOrder: [Double] { names.map { weights[$0] ?? 0 } }

    /// One number for each name; NaN where a rollout has no such reward.
    package func values(own: Double, named: [String: Double]) -> [Double] {
        names.map { $0 == Self.own ? own : named[$0] ?? .nan }
    }

    /// What is missing counts 0.
    func sum(_ values: [Double]) -> Double {
        zip(weightsInOrder, values).reduce(0) { $0 + ($1.1.isNaN ? 0 : $1.0 * $1.1) }
    }
}
