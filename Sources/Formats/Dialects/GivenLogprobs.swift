/// Log-probabilities of sampled tokens, or other numbers of theirs, as they were given.
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

    /// Those of tokens behind these.
    mutating func append(_ other: GivenLogprobs) {
        for (place, text) in other.odd { odd[values.count + place] = text }
        values += other.values
    }

    /// The first so many.
    func prefix(_ count: Int) -> GivenLogprobs {
        var first = self
        first.values = Array(values.prefix(count))
        first.odd = odd.filter { $0.key < count }
        return first
    }

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
