/// What an estimator says of one sampled token: its share of the KL, and the derivative by the token's log-probability.
package struct KLTerm: Equatable, Sendable {
    package var value: Double
    package var derivative: Double

    package init(_ value: Double, derivative: Double) { (self.value, self.derivative) = (value, derivative) }
}

/// An estimate of KL(policy || reference) from one sampled token, d = lp - lp_ref.
package protocol KLEstimator: Sendable {
    /// The recipe's word.
    static var name: String { get }
    /// Where it comes from, for listings.
    static var source: String { get }
    /// Whether `bounded` says anything to it.
    static var readsBounds: Bool { get }
    /// Whether its gradient is another than its value's.
    static var isStraightThrough: Bool { get }
    /// `bounded`: as verl bounds it, where it does.
    static func evaluate(_ d: Double, bounded: Bool) -> KLTerm
}

extension KLEstimator {
    package static var readsBounds: Bool { false }
    package static var isStraightThrough: Bool { false }
    package static func evaluate(_ d: Double) -> KLTerm { evaluate(d, bounded: true) }
}

package enum KLEstimatorRegistry {
    /// A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any KLEstimator.Type] = [
        K1.self,
        K2.self,
        K3.self,
        AbsoluteDifference.self,
        StraightThrough<K1>.self,
        StraightThrough<K3>.self,
        StraightThrough<AbsoluteDifference>.self,
    ]
}

/// The estimator of a recipe, written as its name.
package struct KLChoice: Codable, Equatable, Sendable {
    package let type: any KLEstimator.Type

    package init(_ type: any KLEstimator.Type) { self.type = type }

    package init(from decoder: any Decoder) throws {
        let name = try decoder.singleValueContainer().decode(String.self), known = KLEstimatorRegistry.all
        guard let type = known.first(where: { $0.name == name }) else {
            throw DecodingError.dataCorrupted(
                .init(
                    codingPath: decoder.codingPath,
                    debugDescription: "expected \(known.map { $0.name }.joined(separator: ", "))"))
        }
        self.type = type
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(type.name)
    }

    package static func == (a: KLChoice, b: KLChoice) -> Bool { a.type == b.type }
}
