import Files
import Formats
import Foundation

/// A JSON value whose strings are compared by bytes. Foundation keeps objects in dictionaries of Swift strings, in
/// which keys that Unicode calls equivalent are one key: a vocabulary that has a letter both composed and decomposed
/// would lose a token.
enum JSONValue: Sendable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case list([JSONValue])
    /// In the file's order.
    case object([(key: String, value: JSONValue)])
}

extension JSONValue {
    init(file path: String, expected: String) throws {
        guard let data = try readFile(path) else {
            throw FormatError(file: path, place: "", found: "no readable file", expected: expected)
        }
        do { self = try JSONParser.parse([UInt8](data)) } catch let error as JSONParser.Failure {
            throw FormatError(
                file: path, place: "byte \(error.offset)", found: "text that is not JSON (\(error.reason))",
                expected: expected,
                remedy: "The file is damaged; copy it again.")
        }
    }
}

/// RFC 8259, as strictly as serde reads it: UTF-8 alone, no lone surrogates, nothing behind the value, bounded nesting.
struct JSONParser {
    struct Failure: Error {
        let offset: Int
        let reason: String
    }

    private static let deepest = 127
    private let bytes: [UInt8]
    private var position = 0

    static func parse(_ bytes: [UInt8]) throws -> JSONValue {
        guard String(validating: bytes, as: UTF8.self) != nil else { throw Failure(offset: 0, reason: "not UTF-8") }
        var parser = JSONParser(bytes: bytes)
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        guard parser.position == bytes.count else { throw parser.failure("something behind the value") }
        return value
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private func failure(_ reason: String) -> Failure { Failure(offset: position, reason: reason) }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { position += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        skipSpace()
        guard next == byte else { return false }
        position += 1
        return true
    }

    private mutating func value(depth: Int) throws -> JSONValue {
        skipSpace()
        guard depth <= Self.deepest else { throw failure("nested more than \(Self.deepest) deep") }
        switch next {
        case UInt8(ascii: "{"): return try object(depth)
        case UInt8(ascii: "["): return try list(depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case nil: throw failure("its end where a value should be")
        default: return try number()
        }
    }

    private mutating func word(_ text: StaticString, _ value: JSONValue) throws -> JSONValue {
        let count = text.utf8CodeUnitCount
        guard position + count <= bytes.count,
            text.withUTF8Buffer({ bytes[position..<position + count].elementsEqual($0) })
        else {
            throw failure("an unknown word")
        }
        position += count
        return value
    }

    private mutating func object(_ depth: Int) throws -> JSONValue {
        position += 1
        var pairs: [(key: String, value: JSONValue)] = []
        if take(UInt8(ascii: "}")) { return .object([]) }
        repeat {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw failure("no key") }
            let key = try string()
            guard take(UInt8(ascii: ":")) else { throw failure("no ':' behind a key") }
            pairs.append((key, try value(depth: depth + 1)))
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "}")) else { throw failure("an object without its end") }
        return .object(pairs)
    }

    private mutating func list(_ depth: Int) throws -> JSONValue {
        position += 1
        var values: [JSONValue] = []
        if take(UInt8(ascii: "]")) { return .list([]) }
        repeat { values.append(try value(depth: depth + 1)) } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "]")) else { throw failure("a list without its end") }
        return .list(values)
    }

    private mutating func number() throws -> JSONValue {
        let start = position
        while let byte = next,
            byte == 0x2b || byte == 0x2d || byte == 0x2e || (0x30...0x39).contains(byte) || byte | 0x20 == 0x65
        {
            position += 1
        }
        let text = bytes[start..<position], digits = text.first == 0x2d ? text.dropFirst() : text
        guard let first = digits.first, (0x30...0x39).contains(first),
            !(first == 0x30 && digits.dropFirst().first.map { (0x30...0x39).contains($0) } ?? false),
            let value = Double(String(decoding: text, as: UTF8.self)), value.isFinite
        else {
            position = start
            throw failure("no value")
        }
        return .number(value)
    }

    private mutating func string() throws -> String {
        position += 1
        let start = position
        // Most strings have no escape: they are taken as they lie.
        while let byte = next, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\") {
            guard byte >= 0x20 else { throw failure("a control character in a string") }
            position += 1
        }
        if next == UInt8(ascii: "\"") {
            position += 1
            return String(decoding: bytes[start..<position - 1], as: UTF8.self)
        }
        var text = Array(bytes[start..<position])
        while let byte = next, byte != UInt8(ascii: "\"") {
            guard byte >= 0x20 else { throw failure("a control character in a string") }
            position += 1
            if byte == UInt8(ascii: "\\") { text += try escape() } else { text.append(byte) }
        }
        guard next != nil else { throw failure("a string without its end") }
        position += 1
        return String(decoding: text, as: UTF8.self)
    }

    private mutating func escape() throws -> [UInt8] {
        guard let byte = next else { throw failure("a string without its end") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0c]
        case UInt8(ascii: "n"): return [0x0a]
        case UInt8(ascii: "r"): return [0x0d]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "u"): return Array(String(Character(try scalar())).utf8)
        default: throw failure("an unknown escape")
        }
    }

    private mutating func scalar() throws -> Unicode.Scalar {
        let first = try codeUnit()
        if let scalar = Unicode.Scalar(first) { return scalar }
        guard first < 0xdc00, next == UInt8(ascii: "\\") else { throw failure("a lone surrogate") }
        position += 1
        guard next == UInt8(ascii: "u") else { throw failure("a lone surrogate") }
        position += 1
        let second = try codeUnit()
        guard (0xdc00...0xdfff).contains(second),
            let scalar = Unicode.Scalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00))
        else {
            throw failure("a lone surrogate")
        }
        return scalar
    }

    private mutating func codeUnit() throws -> UInt32 {
        guard position + 4 <= bytes.count, !bytes[position..<position + 4].contains(0x2b),
            let value = UInt32(String(decoding: bytes[position..<position + 4], as: UTF8.self), radix: 16)
        else { throw failure("no four hexadecimal digits") }
        position += 4
        return value
    }
}

/// A piece of a tokenizer's JSON that knows where it stands.
struct TokenizerNode: Sendable {
    let file: String
    let place: String
    let value: JSONValue?

    /// The last of equal keys, as everyone reads them.
    subscript(key: String) -> TokenizerNode {
        var found: JSONValue?
        if case .object(let pairs) = value { found = pairs.last { $0.key.utf8.elementsEqual(key.utf8) }?.value }
        return TokenizerNode(file: file, place: place.isEmpty ? key : place + "." + key, value: found)
    }

    var isNull: Bool { if case .null? = value { true } else { value == nil } }
    var string: String? { if case .string(let text)? = value { text } else { nil } }
    var bool: Bool? { if case .bool(let truth)? = value { truth } else { nil } }
    var object: [(key: String, value: JSONValue)]? { if case .object(let pairs)? = value { pairs } else { nil } }
    var values: [JSONValue]? { if case .list(let values)? = value { values } else { nil } }
    var number: Double? { if case .number(let number)? = value { number } else { nil } }
    /// A token id: a whole number from 0 that fits.
    var tokenID: Int32? {
        guard case .number(let number)? = value, let id = Int32(exactly: number), id >= 0 else { return nil }
        return id
    }
    var list: [TokenizerNode] {
        (values ?? []).enumerated().map { TokenizerNode(file: file, place: "\(place)[\($0)]", value: $1) }
    }

    /// What stands here, for a message.
    private var spelled: String {
        switch value {
        case nil, .null?: "nothing"
        case .bool(let truth)?: "'\(truth)'"
        case .number(let number)?: "'\(Int64(exactly: number).map { "\($0)" } ?? "\(number)")'"
        case .string(let text)?: "'\(text.prefix(80))'"
        case .list(let values)?: "a list of \(values.count)"
        case .object?: "an object"
        }
    }

    /// Something that is wrong here.
    func error(found: String? = nil, expected: String) -> FormatError {
        FormatError(file: file, place: place, found: found ?? spelled, expected: expected)
    }

    /// A kind of tokenizer that Crux doesn't read.
    func unsupported(found: String? = nil, expected: String) -> UnsupportedTokenizer {
        UnsupportedTokenizer(
            error: FormatError(
                file: file, place: place, found: found ?? spelled, expected: expected,
                remedy:
                    "Crux reads BPE tokenizers, of bytes (Qwen, Llama 3) and of characters (Llama 2, Gemma); prompts given as token ids need none."
            ))
    }

    func require<T>(_ value: T?, _ expected: String) throws -> T {
        guard let value else { throw error(expected: expected) }
        return value
    }
}

/// A sound tokenizer of a kind that Crux doesn't read; whoever has token ids can do without.
package struct UnsupportedTokenizer: Error, CustomStringConvertible {
    package let error: FormatError
    package var description: String { error.description }
}
