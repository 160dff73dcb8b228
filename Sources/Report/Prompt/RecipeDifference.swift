import Foundation

/// Keys of two resolved recipes whose values differ; a key that is null is as good as one that isn't there.
enum RecipeDifference {
    struct Key: Equatable {
        let name: String
        /// As JSON has it; nil where the recipe has no such key.
        let first: String?
        let second: String?
    }

    static func keys(_ first: String, _ second: String) -> [Key] {
        let one = leaves(first), two = leaves(second)
        return Set(one.keys).union(two.keys).sorted().filter { one[$0] != two[$0] }.map {
            Key(name: $0, first: one[$0], second: two[$0])
        }
    }

    /// Every value that is no section, by its dotted name.
    private static func leaves(_ json: String) -> [String: String] {
        guard let root = try? JSONSerialization.jsonObject(with: Data(json.utf8)) else { return [:] }
        var leaves: [String: String] = [:]
        func collect(_ value: Any, _ name: String) {
            if let section = value as? [String: Any], !section.isEmpty {
                for (key, value) in section { collect(value, name.isEmpty ? key : name + "." + key) }
            } else {
                let text = try? JSONSerialization.data(
                    withJSONObject: value, options: [.fragmentsAllowed, .sortedKeys])
                if !(value is NSNull) { leaves[name] = text.map { String(decoding: $0, as: UTF8.self) } ?? "" }
            }
        }
        collect(root, "")
        return leaves
    }
}
