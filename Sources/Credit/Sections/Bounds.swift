/// What a recipe's whole numbers may be, so that tables hold them and work with them ends.
enum Bounds {
    /// Lengths and counts are 32-bit in every table.
    static let tokens = 1...Int(Int32.max)
    /// Continuations of a state, or states of a rollout: a hundred times what any paper has.
    static let branches = 1...4096
    /// Times that an expansion goes back: each is a sampling of its own.
    static let rounds = 1...64

    /// What is wrong with a key's value; nil is none.
    static func problems(_ key: String, _ value: Int?, _ range: ClosedRange<Int>, orNull: Bool = false) -> [String] {
        guard let value, !range.contains(value) else { return [] }
        return ["\(key) is \(value); expected \(range.lowerBound) to \(range.upperBound)\(orNull ? ", or null" : "")"]
    }
}
