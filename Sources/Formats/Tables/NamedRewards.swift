import Foundation

/// Several rewards of one rollout by their names, as metadata and tables have them: a JSON object of numbers.
package enum NamedRewards {
    /// nil where the text is no such object. A reward that is null is none.
    package static func parse(_ text: String) -> [String: Double]? {
        guard let object = try? JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any] else {
            return nil
        }
        return parse(object)
    }

    /// nil where one of them is no finite number.
    package static func parse(_ object: [String: Any]) -> [String: Double]? {
        var rewards: [String: Double] = [:]
        for (name, value) in object where !(value is NSNull) {
            guard let number = (value as? NSNumber)?.doubleValue, number.isFinite, !name.isEmpty else { return nil }
            rewards[name] = number
        }
        return rewards
    }

    /// Names in their order; nil where there are none.
    package static func text(_ rewards: [String: Double]) -> String? {
        guard !rewards.isEmpty,
            let data = try? JSONSerialization.data(
                withJSONObject: rewards, options: [.sortedKeys, .withoutEscapingSlashes])
        else { return nil }
        return String(decoding: data, as: UTF8.self)
    }

    /// Those that a rollout's metadata state, of its `extras`.
    package static func ofExtras(_ extras: String) -> [String: Double] {
        guard extras.contains("\"rewards\""),
            let object = try? JSONSerialization.jsonObject(with: Data(extras.utf8)) as? [String: Any],
            let text = object["rewards"] as? String
        else { return [:] }
        return parse(text) ?? [:]
    }
}
