/// Log-probabilities of sampled tokens as they were given.
package struct GivenLogprobs: Equatable, Sendable {
    /// NaN where there is no number.
    package var values: [Float]
    /// What stands where there is no number, by its place.
    private var odd: [Int: String]

    init(_ list: [JSONValue]) {
        values = []
        odd = [:]
        values.reserveCapacity(list.count)
        for (place, entry) in list.enumerated() {
            if let value = entry.float {
                values.append(value)
            } else {
                odd[place] = entry.excerpt
                values.append(.nan)
            }
        }
    }

    package var count: Int { values.count }

    /// Without the first so many.
    func dropping(_ count: Int) -> GivenLogprobs {
        var rest = self
        rest.values.removeFirst(min(count, values.count))
        rest.odd = Dictionary(
            uniqueKeysWithValues: odd.compactMap { $0.key < count ? nil : ($0.key - count, $0.value) })
        return rest
    }

    /// A value as it was written.
    package func spelled(_ place: Int) -> String { odd[place] ?? "\(values[place])" }
}
