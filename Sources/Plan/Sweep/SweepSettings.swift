import Recipes
import StageSupport

/// A key of the recipe and the values that it takes in turn: `entropy.mask.top=0.05,0.1,0.2`.
struct SweptKey: Sendable {
    let key: String
    let values: [String]

    init(_ text: String) throws {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let values = parts.count == 2 ? Self.values(parts[1]) : []
        guard parts.count == 2, !parts[0].isEmpty, !values.contains("") else {
            throw StageError(
                .usage,
                "--sweep \(text): found no values, expected section.key=VALUE,VALUE…, such as entropy.mask.top=0.1,0.2")
        }
        (key, self.values) = (parts[0], values)
    }

    /// Between commas, but for those within brackets, which are a list's.
    private static func values(_ text: String) -> [String] {
        var values = [""], depth = 0
        for character in text {
            depth += "[{".contains(character) ? 1 : "]}".contains(character) ? -1 : 0
            if character == ",", depth == 0 { values.append("") } else { values[values.count - 1].append(character) }
        }
        return values
    }
}

/// One setting of a sweep: what is changed, and the recipe that comes of it.
struct SweepSetting: Sendable {
    /// By key, in the order of the flags.
    let values: [String]
    let recipe: Recipe

    /// Every combination, the last key's values changing fastest.
    ///
    /// - Parameter overrides: What is the same in all of them, as `--set` takes it.
    static func all(_ keys: [SweptKey], recipe path: String, overrides: [String]) throws -> [SweepSetting] {
        let combinations = keys.reduce([[String]()]) { made, key in
            made.flatMap { values in key.values.map { values + [$0] } }
        }
        guard combinations.count <= most else {
            throw StageError(
                .usage,
                "--sweep: found \(combinations.count) settings, expected at most \(most): each holds a plan of the dump. Sweep in parts."
            )
        }
        return try combinations.map { values in
            let own = zip(keys, values).map { "\($0.key)=\($1)" }
            return SweepSetting(values: values, recipe: try Recipe.load(path: path, overrides: overrides + own))
        }
    }

    /// Each has a thread of its own and what a plan keeps in memory.
    private static let most = 256
}
