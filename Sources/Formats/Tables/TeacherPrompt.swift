import Foundation

/// The prompt that a teacher reads in place of the policy's, as a table's extras have it: by its ids, or as text.
package enum TeacherPrompt {
    package static let key = "teacher_prompt_ids"
    package static let textKey = "teacher_prompt"

    package static func text(_ ids: [Int32]) -> String { "[\(ids.map { "\($0)" }.joined(separator: ","))]" }

    /// nil where the text is no list of ids.
    package static func parse(_ text: String) -> [Int32]? {
        guard let list = try? JSONSerialization.jsonObject(with: Data(text.utf8)) as? [NSNumber], !list.isEmpty else {
            return nil
        }
        let ids = list.compactMap { Int32(exactly: $0.doubleValue) }
        return ids.count == list.count && ids.allSatisfy { $0 >= 0 } ? ids : nil
    }

    /// nil where a rollout has none.
    package static func ids(ofExtras extras: String) -> [Int32]? {
        value(of: key, in: extras).flatMap(parse)
    }

    /// The same as text, which the teacher's tokenizer makes ids of; nil where a rollout has none.
    package static func text(ofExtras extras: String) -> String? {
        value(of: textKey, in: extras).flatMap { $0.isEmpty ? nil : $0 }
    }

    private static func value(of key: String, in extras: String) -> String? {
        guard extras.contains("\"\(key)\""),
            let object = try? JSONSerialization.jsonObject(with: Data(extras.utf8)) as? [String: Any]
        else { return nil }
        return object[key] as? String
    }
}
