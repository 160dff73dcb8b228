import Files
import Formats
import Foundation

/// A checkpoint's `config.json`, read key by key so that every wrong or missing value names its key.
package struct ModelConfiguration: @unchecked Sendable {
    package let path: String
    private let values: [String: Any]

    package init(directory: String) throws {
        let path = directory + "/config.json"
        guard let data = try readFile(path) else {
            throw FormatError(
                file: path, place: "", found: "no readable file",
                expected: "the configuration of a Hugging Face checkpoint",
                remedy: "Give the directory that holds config.json and the safetensors files."
                    + ModelFolder.remark(directory))
        }
        try self.init(json: data, path: path)
    }

    package init(json: Data, path: String) throws {
        self.path = path
        guard let object = try? JSONSerialization.jsonObject(with: json) as? [String: Any] else {
            throw FormatError(file: path, place: "", found: "text that is not a JSON object", expected: "a JSON object")
        }
        values = object
    }

    private init(path: String, values: [String: Any]) {
        self.path = path
        self.values = values
    }

    /// True where the key is present and not null.
    package func has(_ key: String) -> Bool { values[key].map { !($0 is NSNull) } ?? false }

    /// True where the key isn't there at all: a class's default then counts, which null switches off.
    func isMissing(_ key: String) -> Bool { values[key] == nil }

    package func string(_ key: String) throws -> String { try value(key, "a string") { $0 as? String } }
    package func string(_ key: String, default fallback: String) throws -> String {
        has(key) ? try string(key) : fallback
    }

    package func int(_ key: String) throws -> Int {
        try value(key, "a whole number") { ($0 as? NSNumber).flatMap { Int(exactly: $0.doubleValue) } }
    }
    package func int(_ key: String, default fallback: Int) throws -> Int { has(key) ? try int(key) : fallback }

    /// A size: a whole number of at least 1 and at most `limit`, far above any model's and below what could overflow a
    /// product.
    package func size(_ key: String, default fallback: Int? = nil, limit: Int = 1 << 31 - 1) throws -> Int {
        if let fallback, !has(key) { return fallback }
        return try value(key, "a whole number from 1 to \(limit)") {
            ($0 as? NSNumber).flatMap { Int(exactly: $0.doubleValue) }.flatMap { $0 > 0 && $0 <= limit ? $0 : nil }
        }
    }

    package func double(_ key: String) throws -> Double {
        try value(key, "a number") { ($0 as? NSNumber)?.doubleValue }
    }
    package func double(_ key: String, default fallback: Double) throws -> Double {
        has(key) ? try double(key) : fallback
    }

    package func bool(_ key: String, default fallback: Bool) throws -> Bool {
        has(key) ? try value(key, "true or false") { $0 as? Bool } : fallback
    }

    /// True where the key stands for something: not absent, null, false, 0 or 1, an empty list or object, which change
    /// nothing in a factor, a count or a switch.
    func isActive(_ key: String) -> Bool {
        switch values[key] {
        case nil, is NSNull: false
        case let number as NSNumber:
            isTruth(number) ? number.boolValue : number.doubleValue != 0 && number.doubleValue != 1
        case let list as [Any]: !list.isEmpty
        case let object as [String: Any]: !object.isEmpty
        case let text as String: !text.isEmpty
        default: true
        }
    }

    private func isTruth(_ number: NSNumber) -> Bool { String(cString: number.objCType) == "c" }

    /// What the key says, for a message.
    func spelled(_ key: String) -> String { values[key].map { String(String(describing: $0).prefix(80)) } ?? "nothing" }

    /// Keys whose values are objects.
    var sections: [String] { values.filter { $0.value is [String: Any] }.map(\.key).sorted() }

    /// Whether two sections say the same, `defaults` being what either may leave out.
    func saysTheSame(as other: ModelConfiguration, defaults: [String: Any]) -> Bool {
        func whole(_ values: [String: Any]) -> NSDictionary {
            let known = values.filter { !($0.value is NSNull) }
            var whole = defaults.merging(known) { $1 }
            if whole["rope_type"] == nil { whole["rope_type"] = whole["type"] ?? "default" }
            whole["type"] = nil
            return whole as NSDictionary
        }
        return whole(values) == whole(other.values)
    }

    package func ints(_ key: String) throws -> [Int]? {
        has(key)
            ? try value(key, "a list of whole numbers") {
                ($0 as? [NSNumber])?.map { Int(exactly: $0.doubleValue) ?? -1 }
            }
            : nil
    }

    package func doubles(_ key: String) throws -> [Double]? {
        has(key) ? try value(key, "a list of numbers") { ($0 as? [NSNumber])?.map(\.doubleValue) } : nil
    }

    package func strings(_ key: String) throws -> [String]? {
        has(key) ? try value(key, "a list of strings") { $0 as? [String] } : nil
    }

    /// A nested object with the same reading rules; nil where absent or null.
    package func section(_ key: String) throws -> ModelConfiguration? {
        guard has(key) else { return nil }
        return ModelConfiguration(path: "\(path): \(key)", values: try value(key, "an object") { $0 as? [String: Any] })
    }

    /// An error about this file's `key`.
    package func error(_ key: String, found: String, expected: String, remedy: String = "") -> FormatError {
        FormatError(file: path, place: "key \(key)", found: found, expected: expected, remedy: remedy)
    }

    private func value<T>(_ key: String, _ expected: String, _ read: (Any) -> T?) throws -> T {
        guard has(key), let raw = values[key] else { throw error(key, found: "nothing", expected: expected) }
        guard let value = read(raw) else { throw error(key, found: "\(raw)", expected: expected) }
        return value
    }
}
