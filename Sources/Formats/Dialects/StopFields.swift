import Foundation

/// `stop` and `stop_token_ids` of a request, a prompt line or a rollout's metadata.
package enum StopFields {
    package struct Malformed: Error, CustomStringConvertible {
        package let description: String
    }

    /// One string, a list of strings, or nothing. An empty one would stop everything at once; engines refuse it too.
    package static func texts(_ value: Any?) throws -> [String] {
        guard let value, !(value is NSNull) else { return [] }
        let list = (value as? String).map { [$0] } ?? value as? [Any]
        guard let texts = list?.compactMap({ $0 as? String }), texts.count == list?.count, !texts.contains("") else {
            throw Malformed(description: "stop is \(spelled(value)), not a string or a list of strings, none empty")
        }
        return texts
    }

    /// A list of token ids, or nothing.
    package static func tokens(_ value: Any?) throws -> [Int32] {
        guard let value, !(value is NSNull) else { return [] }
        guard let ids = tokenIDs(value) else {
            throw Malformed(description: "stop_token_ids is \(spelled(value)), not a list of token ids")
        }
        return ids
    }

    /// Both lists, each text once, by its bytes.
    package static func union(_ first: [String], _ second: [String]) -> [String] {
        var seen = Set<[UInt8]>()
        return (first + second).filter { seen.insert(Array($0.utf8)).inserted }
    }

    /// Whole numbers from 0 that fit, of a JSON list; nil where it is something else: a truth value or a fraction is no
    /// id.
    package static func tokenIDs(_ value: Any) -> [Int32]? {
        guard let list = value as? [Any] else { return nil }
        let ids = list.compactMap { entry -> Int32? in
            guard let number = entry as? NSNumber, !isTruthValue(number) else { return nil }
            return Int32(exactly: number.doubleValue).flatMap { $0 < 0 ? nil : $0 }
        }
        return ids.count == list.count ? ids : nil
    }

    /// `true` reads back as a number too; only its type tells.
    private static func isTruthValue(_ number: NSNumber) -> Bool { String(cString: number.objCType) == "c" }

    private static func spelled(_ value: Any) -> String { "'\(String(describing: value).prefix(60))'" }

    /// As metadata of a rollout, which are strings: JSON.
    package static func metadata(texts: [String], tokens: [Int32]) -> [String: String] {
        var fields: [String: String] = [:]
        if !texts.isEmpty { fields["stop"] = json(texts) }
        if !tokens.isEmpty { fields["stop_token_ids"] = json(tokens.map { Int($0) }) }
        return fields
    }

    /// What a rollout's `extras` say it was asked to stop at, as `metadata` wrote it or as JSON proper.
    package static func asked(inExtras extras: String) throws -> (texts: [String], tokens: [Int32]) {
        guard extras.contains("\"stop"), let object = object(extras) else { return ([], []) }
        return (try texts(unwrapped(object["stop"])), try tokens(unwrapped(object["stop_token_ids"])))
    }

    private static func object(_ text: String) -> [String: Any]? {
        (try? JSONSerialization.jsonObject(with: Data(text.utf8))) as? [String: Any]
    }

    /// A list that is written as a string, or the value itself.
    private static func unwrapped(_ value: Any?) -> Any? {
        guard let text = value as? String, text.hasPrefix("["),
            let list = (try? JSONSerialization.jsonObject(with: Data(text.utf8))) as? [Any]
        else { return value }
        return list
    }

    private static func json(_ list: [Any]) -> String {
        let data = try? JSONSerialization.data(withJSONObject: list, options: [.withoutEscapingSlashes])
        return String(decoding: data ?? Data("[]".utf8), as: UTF8.self)
    }
}
