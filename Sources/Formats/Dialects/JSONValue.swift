import Foundation

/// A value of a JSON text, with numbers as they were written.
package enum JSONValue: Sendable {
    case null
    case bool(Bool)
    case integer(Int64)
    /// Every other number, as it was written: `0.5`, `1e9`, `NaN`, `-Infinity`, a whole number beyond 64 bits.
    case decimal(String)
    case string(String)
    /// Text with a lone surrogate or with bytes that are no UTF-8: as Unicode has it, with U+FFFD in their place, and
    /// with
    /// them spelled out (`\ud83d`, `\xff`), which keeps ids apart that differ in nothing else.
    indirect case broken(text: String, spelled: String)
    case list([JSONValue])
    case object(JSONObject)

    package var isNull: Bool { if case .null = self { true } else { false } }

    /// A string's text.
    package var string: String? {
        switch self {
        case .string(let text), .broken(let text, _): text
        default: nil
        }
    }

    package var list: [JSONValue]? { if case .list(let list) = self { list } else { nil } }
    package var object: JSONObject? { if case .object(let object) = self { object } else { nil } }
    package var bool: Bool? { if case .bool(let flag) = self { flag } else { nil } }

    /// A whole number that fits; `2.0` and `true` are none.
    package var int: Int? { if case .integer(let number) = self { Int(number) } else { nil } }

    /// A number, also one that is not finite; what is beyond the type is infinite.
    package var double: Double? {
        switch self {
        case .integer(let number): Double(number)
        // Swift reads NaN, Infinity and -Infinity in any case of their letters.
        case .decimal(let text): Double(text)
        default: nil
        }
    }

    package var float: Float? {
        switch self {
        case .integer(let number): Float(number)
        case .decimal(let text): Float(text)
        default: nil
        }
    }

    /// Text as it is, numbers and truth values as written, anything else as JSON; nil for null.
    package var text: String? {
        switch self {
        case .null: nil
        case .string(let text), .broken(let text, _): text
        default: encoded
        }
    }

    /// `text` for names of things: where a string is no whole Unicode, what is wrong in it is spelled out.
    package var identifier: String? { if case .broken(_, let spelled) = self { spelled } else { text } }

    /// As Foundation's JSON reader has it.
    package var foundation: Any {
        switch self {
        case .null: NSNull()
        case .bool(let flag): NSNumber(value: flag)
        case .integer(let number): NSNumber(value: number)
        case .decimal: NSNumber(value: double ?? .nan)
        case .string(let text), .broken(let text, _): text
        case .list(let list): list.map(\.foundation)
        case .object(let object): Dictionary(object.members.map { ($0.key, $0.value.foundation) }) { $1 }
        }
    }

    /// As JSON in one line, keys sorted by their bytes. Numbers stay as they were written, `NaN` too.
    package var encoded: String { spelled(sortsKeys: true) }

    /// As JSON in one line, keys in the order of the text.
    package var ordered: String { spelled(sortsKeys: false) }

    fileprivate func spelled(sortsKeys: Bool) -> String {
        switch self {
        case .null: "null"
        case .bool(let flag): flag ? "true" : "false"
        case .integer(let number): "\(number)"
        case .decimal(let text): text
        case .string(let text), .broken(let text, _): Self.quoted(text)
        case .list(let list): "[" + list.map { $0.spelled(sortsKeys: sortsKeys) }.joined(separator: ",") + "]"
        case .object(let object): object.spelled(sortsKeys: sortsKeys)
        }
    }

    /// At most 40 characters of it, to show what was found.
    package var excerpt: String {
        let text = encoded
        return text.count > 40 ? text.prefix(40) + "…" : text
    }

    /// As a JSON string: escapes are those that JSON asks for.
    static func quoted(_ text: String) -> String {
        var bytes: [UInt8] = [UInt8(ascii: "\"")]
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""): bytes += Array(#"\""#.utf8)
            case UInt8(ascii: "\\"): bytes += Array(#"\\"#.utf8)
            case 0x0a: bytes += Array(#"\n"#.utf8)
            case 0x0d: bytes += Array(#"\r"#.utf8)
            case 0x09: bytes += Array(#"\t"#.utf8)
            case ..<0x20: bytes += Array(("\\u00" + (byte < 16 ? "0" : "") + String(byte, radix: 16)).utf8)
            default: bytes.append(byte)
            }
        }
        return String(decoding: bytes + [UInt8(ascii: "\"")], as: UTF8.self)
    }
}

/// The members of a JSON object in the order of the text. Of equal keys the last one counts, as in Python.
package struct JSONObject: Sendable {
    package struct Member: Sendable {
        package let key: String
        package let value: JSONValue

        package init(key: String, value: JSONValue) { (self.key, self.value) = (key, value) }
    }

    package internal(set) var members: [Member] = []

    package init(_ members: [Member] = []) { self.members = members }

    /// By the key's bytes. What engines write has a few keys, and looking through them is faster than to hash each.
    package subscript(key: String) -> JSONValue? { members.last { $0.key.isSameBytes(as: key) }?.value }

    /// A value that is there and not null.
    package func given(_ key: String) -> JSONValue? { self[key].flatMap { $0.isNull ? nil : $0 } }

    package var encoded: String { spelled(sortsKeys: true) }

    /// Keys in the order of the text: a chat template prints them so.
    package var ordered: String { spelled(sortsKeys: false) }

    fileprivate func spelled(sortsKeys: Bool) -> String {
        let own = sortsKeys ? members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) } : members
        let pairs = own.map { JSONValue.quoted($0.key) + ":" + $0.value.spelled(sortsKeys: sortsKeys) }
        return "{" + pairs.joined(separator: ",") + "}"
    }
}
