/// What a reward says of a response.
package enum Judgement: String, CaseIterable, Codable, CodingKeyRepresentable, Sendable {
    case right
    case wrong
    /// The reward does not tell.
    case unjudged

    package init(_ correct: Bool?) {
        self = correct.map { $0 ? .right : .wrong } ?? .unjudged
    }
}

/// A count and a sum: what a mean is made of.
package struct Mean: Encodable, Equatable, Sendable {
    package private(set) var count = 0
    package private(set) var sum = 0.0

    package init() {}

    /// nil of nothing.
    package var value: Double? { count == 0 ? nil : sum / Double(count) }

    package mutating func add(_ value: Double) { (count, sum) = (count + 1, sum + value) }
    package mutating func add(_ other: Mean) { (count, sum) = (count + other.count, sum + other.sum) }
}
