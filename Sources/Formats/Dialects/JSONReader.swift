import Foundation

/// A line of JSON as other programs write it. Beyond the standard it takes what Python's `json` writes and reads: NaN,
/// Infinity and
/// -Infinity, surrogates without their other half; and bytes that are no UTF-8, which stand in text that was cut within
/// a character.
/// What lies deeper than `JSONReader.maximumDepth` is passed over as null, so that no nesting can exhaust the stack.
package struct JSONLine: Sendable {
    /// What the object has of whole members, also where the line is damaged behind them. nil where no object begins.
    package let object: JSONObject?
    /// The objects of a line that is a list of them, as engines answer several prompts or choices; else the object
    /// alone. Whole ones only.
    package let objects: [JSONObject]
    /// What is wrong with the line as a whole.
    package let damage: JSONReader.Damage?
    /// Strings that are no whole Unicode.
    package let brokenTexts: Int
    /// Values that were too deep.
    package let tooDeep: Int

    package init(_ bytes: UnsafeRawBufferPointer) {
        var reader = JSONReader(bytes)
        if let list = reader.listAlone() {
            (object, damage, objects) = (list.first, nil, list)
        } else {
            reader = JSONReader(bytes)
            (object, damage) = reader.objectAlone()
            objects = damage == nil ? [object].compactMap { $0 } : []
        }
        (brokenTexts, tooDeep) = (reader.brokenTexts, reader.tooDeep)
    }

    package init(_ data: Data) { self = data.withUnsafeBytes { JSONLine($0) } }

    package init(_ text: String) { self.init(Data(text.utf8)) }

    /// The object where the line is whole.
    package var whole: JSONObject? { damage == nil ? object : nil }
}

/// Reads JSON byte by byte. Foundation's reader refuses a whole line for one NaN, loses how numbers were written, and
/// lets canonically
/// equivalent keys of an object win over each other.
package struct JSONReader {
    package struct Damage: Error, Equatable, Sendable, CustomStringConvertible {
        package let offset: Int
        package let expected: String
        package var description: String { "at byte \(offset) of the line \(expected) was expected" }
    }

    /// Far above what any dump needs, far below what the smallest stack holds.
    package static let maximumDepth = 128

    private let bytes: UnsafeRawBufferPointer
    private var position = 0
    private var depth = 0
    fileprivate var brokenTexts = 0
    fileprivate var tooDeep = 0

    fileprivate init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// A byte order mark is passed over.
    private mutating func skipMark() {
        if bytes.count >= 3, bytes[0] == 0xef, bytes[1] == 0xbb, bytes[2] == 0xbf { position = 3 }
    }

    /// A list of objects, at least one, and nothing behind it; nil where the line is something else.
    fileprivate mutating func listAlone() -> [JSONObject]? {
        skipMark()
        skipSpaces()
        guard next == UInt8(ascii: "["), let values = (try? value())?.list, !values.isEmpty else { return nil }
        skipSpaces()
        let objects = values.compactMap(\.object)
        return position == bytes.count && objects.count == values.count ? objects : nil
    }

    /// An object and nothing behind it.
    fileprivate mutating func objectAlone() -> (JSONObject?, Damage?) {
        skipMark()
        var object = JSONObject()
        do throws(Damage) {
            skipSpaces()
            try expect(UInt8(ascii: "{"), "an object")
        } catch { return (nil, error) }
        do throws(Damage) {
            try members(into: &object)
            skipSpaces()
            if position < bytes.count { throw damage("the end") }
            return (object, nil)
        } catch { return (object, error) }
    }

    /// A value and nothing behind it.
    fileprivate mutating func valueAlone() throws(Damage) -> JSONValue {
        let value = try value()
        skipSpaces()
        guard position == bytes.count else { throw damage("the end") }
        return value
    }

    /// The lists of an object that has nothing else in it, and where their elements lie; throws at the first member
    /// that is none.
    fileprivate mutating func columnsAlone() throws(Damage) -> [(key: String, elements: [Range<Int>])] {
        skipMark()
        skipSpaces()
        try expect(UInt8(ascii: "{"), "an object")
        var columns: [(key: String, elements: [Range<Int>])] = []
        while true {
            skipSpaces()
            guard next == UInt8(ascii: "\"") else { throw damage("a key") }
            let key = try string().identifier ?? ""
            guard takes(UInt8(ascii: ":")) else { throw damage("':'") }
            skipSpaces()
            guard next == UInt8(ascii: "[") else { throw damage("a list") }
            columns.append((key, try elements()))
            if takes(UInt8(ascii: "}")) { break }
            try expect(UInt8(ascii: ","), "',' or '}'")
        }
        skipSpaces()
        guard position == bytes.count else { throw damage("the end") }
        return columns
    }

    /// Where the elements of a list lie that begins here.
    private mutating func elements() throws(Damage) -> [Range<Int>] {
        position += 1
        var places: [Range<Int>] = []
        if takes(UInt8(ascii: "]")) { return places }
        while true {
            skipSpaces()
            let start = position
            try skipValue()
            places.append(start..<position)
            if takes(UInt8(ascii: "]")) { return places }
            try expect(UInt8(ascii: ","), "',' or ']'")
        }
    }

    /// Passes over a value of any kind; whether it is a good one is seen when it is read.
    private mutating func skipValue() throws(Damage) {
        switch next {
        case UInt8(ascii: "\""):
            try skipString()
            position += 1
        case UInt8(ascii: "{"), UInt8(ascii: "["): try skipNested()
        default:
            let start = position
            while let byte = next, byte > 0x20, byte != UInt8(ascii: ","), byte != UInt8(ascii: "]") { position += 1 }
            guard position > start else { throw damage("a value") }
        }
    }

    private func damage(_ expected: String) -> Damage { Damage(offset: position, expected: expected) }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpaces() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x09, 0x0a, 0x0d: position += 1
            default: return
            }
        }
    }

    private mutating func expect(_ byte: UInt8, _ what: String) throws(Damage) {
        guard next == byte else { throw damage(what) }
        position += 1
    }

    /// Whether the byte stands next; if so it is passed over.
    private mutating func takes(_ byte: UInt8) -> Bool {
        skipSpaces()
        guard next == byte else { return false }
        position += 1
        return true
    }

    // MARK: values

    private mutating func value() throws(Damage) -> JSONValue {
        skipSpaces()
        switch next {
        case UInt8(ascii: "\""): return try string()
        case UInt8(ascii: "{"):
            return try nested { (reader: inout JSONReader) throws(Damage) in
                reader.position += 1
                var object = JSONObject()
                try reader.members(into: &object)
                return .object(object)
            }
        case UInt8(ascii: "["): return try nested { (reader: inout JSONReader) throws(Damage) in try reader.list() }
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "N"): return try word("NaN", .decimal("NaN"))
        case UInt8(ascii: "I"): return try word("Infinity", .decimal("Infinity"))
        default: return try number()
        }
    }

    private mutating func word(_ word: StaticString, _ value: JSONValue) throws(Damage) -> JSONValue {
        let count = word.utf8CodeUnitCount
        guard position + count <= bytes.count, memcmp(bytes.baseAddress! + position, word.utf8Start, count) == 0 else {
            throw damage("a value")
        }
        position += count
        return value
    }

    private mutating func nested(
        _ body: (inout JSONReader) throws(Damage) -> JSONValue
    ) throws(Damage) -> JSONValue {
        guard depth < Self.maximumDepth else {
            try skipNested()
            tooDeep += 1
            return .null
        }
        depth += 1
        defer { depth -= 1 }
        return try body(&self)
    }

    /// Passes over a list or an object without looking at more than its brackets and strings.
    private mutating func skipNested() throws(Damage) {
        var open = 0
        while position < bytes.count {
            switch bytes[position] {
            case UInt8(ascii: "["), UInt8(ascii: "{"): open += 1
            case UInt8(ascii: "]"), UInt8(ascii: "}"): open -= 1
            case UInt8(ascii: "\""): try skipString()
            default: break
            }
            position += 1
            if open == 0 { return }
        }
        throw damage("the end of a value")
    }

    /// From its first quote to its last one.
    private mutating func skipString() throws(Damage) {
        position += 1
        while let byte = next, byte != UInt8(ascii: "\"") { position += byte == UInt8(ascii: "\\") ? 2 : 1 }
        guard position < bytes.count else { throw damage("the end of a string") }
    }

    private mutating func list() throws(Damage) -> JSONValue {
        position += 1
        var values: [JSONValue] = []
        if takes(UInt8(ascii: "]")) { return .list(values) }
        while true {
            values.append(try value())
            if takes(UInt8(ascii: "]")) { return .list(values) }
            try expect(UInt8(ascii: ","), "',' or ']'")
        }
    }

    /// Those of an object whose opening brace has been read; what is whole stays in `object` also where damage follows.
    private mutating func members(into object: inout JSONObject) throws(Damage) {
        if takes(UInt8(ascii: "}")) { return }
        while true {
            skipSpaces()
            guard next == UInt8(ascii: "\"") else { throw damage("a key") }
            let key = try string()
            guard takes(UInt8(ascii: ":")) else { throw damage("':'") }
            object.members.append(JSONObject.Member(key: key.identifier ?? "", value: try value()))
            if takes(UInt8(ascii: "}")) { return }
            try expect(UInt8(ascii: ","), "',' or '}'")
        }
    }

    // MARK: numbers

    private mutating func number() throws(Damage) -> JSONValue {
        let start = position
        if next == UInt8(ascii: "-") { position += 1 }
        if next == UInt8(ascii: "I") {
            _ = try word("Infinity", .null)
            return .decimal("-Infinity")
        }
        let first = position
        try digits()
        // 007 is no number.
        if bytes[first] == UInt8(ascii: "0"), position > first + 1 { throw damage("a number without leading zeros") }
        let isWhole = next != UInt8(ascii: ".") && next != UInt8(ascii: "e") && next != UInt8(ascii: "E")
        if next == UInt8(ascii: ".") {
            position += 1
            try digits()
        }
        if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
            position += 1
            if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { position += 1 }
            try digits()
        }
        if isWhole, let whole = integer(first..<position, isNegative: first > start) { return .integer(whole) }
        return .decimal(String(decoding: UnsafeRawBufferPointer(rebasing: bytes[start..<position]), as: UTF8.self))
    }

    private mutating func digits() throws(Damage) {
        let start = position
        while position < bytes.count, bytes[position] &- UInt8(ascii: "0") < 10 { position += 1 }
        guard position > start else { throw damage("a value") }
    }

    /// nil for what 64 bits don't hold, and for -0.
    private func integer(_ range: Range<Int>, isNegative: Bool) -> Int64? {
        guard range.count < 19 else { return nil }
        var value: Int64 = 0
        for index in range { value = value * 10 + Int64(bytes[index] &- UInt8(ascii: "0")) }
        return isNegative && value == 0 ? nil : isNegative ? -value : value
    }

    // MARK: strings

    private mutating func string() throws(Damage) -> JSONValue {
        let start = position + 1
        var end = start, isASCII = true
        while end < bytes.count {
            let byte = bytes[end]
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") || byte < 0x20 { break }
            if byte >= 0x80 { isASCII = false }
            end += 1
        }
        position = end
        guard end < bytes.count, bytes[end] >= 0x20 else {
            throw damage(end < bytes.count ? "an escape" : "the end of a string")
        }
        let plain = UnsafeRawBufferPointer(rebasing: bytes[start..<end])
        if bytes[end] == UInt8(ascii: "\"") {
            position = end + 1
            if isASCII { return .string(String(decoding: plain, as: UTF8.self)) }
            if let text = String(validating: plain, as: UTF8.self) { return .string(text) }
            return broken(EscapedText(plain))
        }
        return try escaped(from: EscapedText(plain))
    }

    private mutating func broken(_ text: EscapedText) -> JSONValue {
        brokenTexts += 1
        return .broken(text: text.text, spelled: text.spelled)
    }

    /// A string from its first escape on; `text` is what stands before it.
    private mutating func escaped(from text: EscapedText) throws(Damage) -> JSONValue {
        var text = text
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                position += 1
                return text.isWhole ? .string(text.text) : broken(text)
            case UInt8(ascii: "\\"): try escape(into: &text)
            case ..<0x20: throw damage("an escape")
            default:
                let start = position
                while let byte = next, byte >= 0x20, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\") {
                    position += 1
                }
                text.append(UnsafeRawBufferPointer(rebasing: bytes[start..<position]))
            }
        }
        throw damage("the end of a string")
    }

    private mutating func escape(into text: inout EscapedText) throws(Damage) {
        position += 1
        let byte = next
        guard let byte, byte != UInt8(ascii: "u") else {
            if byte == nil { throw damage("the end of a string") }
            return try unicodeEscape(into: &text)
        }
        guard let meant = Self.escapes[byte] else { throw damage("an escape of JSON") }
        position += 1
        text.append(scalar: Unicode.Scalar(meant))
    }

    private static let escapes: [UInt8: UInt8] = [
        UInt8(ascii: "\""): UInt8(ascii: "\""), UInt8(ascii: "\\"): UInt8(ascii: "\\"),
        UInt8(ascii: "/"): UInt8(ascii: "/"),
        UInt8(ascii: "b"): 0x08, UInt8(ascii: "f"): 0x0c, UInt8(ascii: "n"): 0x0a, UInt8(ascii: "r"): 0x0d,
        UInt8(ascii: "t"): 0x09,
    ]

    /// `\uD83D\uDE00` is one scalar; half of it is none.
    private mutating func unicodeEscape(into text: inout EscapedText) throws(Damage) {
        let unit = try hexadecimal()
        if unit & 0xfc00 == 0xd800, position + 1 < bytes.count, bytes[position] == UInt8(ascii: "\\"),
            bytes[position + 1] == UInt8(ascii: "u")
        {
            let behind = position
            position += 1
            let low = try hexadecimal()
            if low & 0xfc00 == 0xdc00 {
                let value = 0x10000 + (UInt32(unit & 0x3ff) << 10 | UInt32(low & 0x3ff))
                return text.append(scalar: Unicode.Scalar(value) ?? "\u{fffd}")
            }
            position = behind
        }
        guard let scalar = Unicode.Scalar(UInt32(unit)) else { return text.append(surrogate: unit) }
        text.append(scalar: scalar)
    }

    /// Four digits behind the `u` that stands next.
    private mutating func hexadecimal() throws(Damage) -> UInt16 {
        position += 1
        guard position + 4 <= bytes.count else { throw damage("four hexadecimal digits") }
        var value: UInt16 = 0
        for _ in 0..<4 {
            guard let digit = Self.digit(bytes[position]) else { throw damage("four hexadecimal digits") }
            value = value << 4 | digit
            position += 1
        }
        return value
    }

    private static func digit(_ byte: UInt8) -> UInt16? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt16(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt16(byte - UInt8(ascii: "a") + 10)
        case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt16(byte - UInt8(ascii: "A") + 10)
        default: nil
        }
    }
}

/// Where the values of an object lie whose members are all lists.
struct JSONColumns {
    let keys: [String]
    private let elements: [[Range<Int>]]
    private let bytes: UnsafeRawBufferPointer

    /// nil where the text is something else. `bytes` must outlive it.
    init?(_ bytes: UnsafeRawBufferPointer) {
        var reader = JSONReader(bytes)
        guard let columns = try? reader.columnsAlone(), !columns.isEmpty else { return nil }
        (keys, elements, self.bytes) = (columns.map(\.key), columns.map(\.elements), bytes)
    }

    var lengths: [Int] { elements.map(\.count) }
    var count: Int { elements.first?.count ?? 0 }

    /// A row's values as an object, and how many of its texts are no whole Unicode and of its values too deep; nil
    /// where one of them is no JSON.
    func row(_ row: Int) -> (object: JSONObject, brokenTexts: Int, tooDeep: Int)? {
        var members: [JSONObject.Member] = [], broken = 0, deep = 0
        for (key, places) in zip(keys, elements) {
            var reader = JSONReader(UnsafeRawBufferPointer(rebasing: bytes[places[row]]))
            guard let value = try? reader.valueAlone() else { return nil }
            members.append(JSONObject.Member(key: key, value: value))
            (broken, deep) = (broken + reader.brokenTexts, deep + reader.tooDeep)
        }
        return (JSONObject(members), broken, deep)
    }
}

/// A string on its way, in UTF-8: as it is to be read, and with what is no Unicode spelled out.
private struct EscapedText {
    private var bytes: [UInt8] = []
    /// Differs from `bytes` once something was spelled out.
    private var spelling: [UInt8]?

    init(_ plain: UnsafeRawBufferPointer) { append(plain) }

    var isWhole: Bool { spelling == nil }
    var text: String { String(decoding: bytes, as: UTF8.self) }
    var spelled: String { String(decoding: spelling ?? bytes, as: UTF8.self) }

    private mutating func appendValid(_ valid: some Collection<UInt8>) {
        bytes += valid
        spelling?.append(contentsOf: valid)
    }

    private mutating func spellOut(_ words: String) {
        if spelling == nil { spelling = bytes }
        bytes += Array("\u{fffd}".utf8)
        spelling?.append(contentsOf: words.utf8)
    }

    mutating func append(scalar: Unicode.Scalar) {
        appendValid(Array(UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter))
    }

    mutating func append(surrogate: UInt16) { spellOut("\\u" + String(surrogate, radix: 16)) }

    /// Bytes of the line; those that are no UTF-8 are spelled out one by one.
    mutating func append(_ part: UnsafeRawBufferPointer) {
        if String(validating: part, as: UTF8.self) != nil { return appendValid(part) }
        var decoder = UTF8.ForwardParser(), rest = part.makeIterator(), position = 0
        while true {
            switch decoder.parseScalar(from: &rest) {
            case .valid(let encoded):
                appendValid(Array(encoded))
                position += encoded.count
            case .error(let length):
                spellOut(part[position..<position + length].map { "\\x" + String($0, radix: 16) }.joined())
                position += length
            case .emptyInput: return
            }
        }
    }
}
