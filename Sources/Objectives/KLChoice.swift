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
