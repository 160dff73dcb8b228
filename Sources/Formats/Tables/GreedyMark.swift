import Foundation

/// Metadata by which a rollout says that it was decoded greedily: what writes it and what reads it agree here.
package enum GreedyMark {
    package static let key = "greedy"
    package static let value = "true"

    /// What other programs write for it, in any case.
    private static let words: Set<String> = [value, "1"]

    /// Whether a table's extras say so.
    package static func isSaid(inExtras extras: String) -> Bool {
        guard extras.contains("\"\(key)\""),
            let object = try? JSONSerialization.jsonObject(with: Data(extras.utf8)) as? [String: Any]
        else { return false }
        return (object[key] as? String).map { words.contains($0.lowercased()) } ?? false
    }
}
