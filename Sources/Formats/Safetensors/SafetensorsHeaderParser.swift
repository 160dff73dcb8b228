import Files

/// Reads the JSON of a safetensors header byte by byte. A general JSON reader would not do: it lets the last of two
/// equal keys win in silence, and the format forbids them. The grammar has fixed depth, so hostile nesting cannot
/// exhaust the stack.
struct SafetensorsHeaderParser {
    private let bytes: UnsafeRawBufferPointer
    private let file: String
    private let filePlace: String
    private var position = 0

    private init(bytes: UnsafeRawBufferPointer, file: String, place: String) {
        self.bytes = bytes
        self.file = file
        filePlace = place
    }

    static func parse(
        _ bytes: UnsafeRawBufferPointer, file: String, place: String
    ) throws -> (tensors: [TensorInfo], metadata: [String: String]) {
        var parser = SafetensorsHeaderParser(bytes: bytes, file: file, place: place)
        var tensors: [TensorInfo] = []
        var metadata: [String: String] = [:]
        try parser.expectOpeningBrace()
        try parser.members(of: "the header") { name, parser in
            if name == "__metadata__" {
                metadata = try parser.metadata()
            } else {
                tensors.append(try parser.tensor(name))
            }
        }
        try parser.expectOnlySpaces()
        return (tensors, metadata)
    }

    // MARK: what a header consists of

    private mutating func metadata() throws -> [String: String] {
        var metadata: [String: String] = [:]
        try expect("{", in: "__metadata__")
        try members(of: "__metadata__") { key, parser in metadata[key] = try parser.string(in: "__metadata__.\(key)") }
        return metadata
    }

    private mutating func tensor(_ name: String) throws -> TensorInfo {
        var dtype: DType?
        var shape: [Int]?
        var offsets: [Int]?
        try expect("{", in: "tensor \(name)")
        try members(of: "tensor \(name)") { key, parser in
            switch key {
            case "dtype": dtype = try parser.dtype(of: name)
            case "shape": shape = try parser.integers(in: "shape of \(name)")
            case "data_offsets": offsets = try parser.integers(in: "data_offsets of \(name)")
            default: throw parser.error("tensor \(name)", "the key '\(key)'", "dtype, shape and data_offsets")
            }
        }
        guard let dtype, let shape, let offsets, offsets.count == 2 else {
            throw error("tensor \(name)", "an entry without all of dtype, shape and two data_offsets", "all three")
        }
        return TensorInfo(name: name, dtype: dtype, shape: shape, begin: offsets[0], end: offsets[1])
    }

    private mutating func dtype(of name: String) throws -> DType {
        let text = try string(in: "dtype of \(name)")
        guard let dtype = DType(rawValue: text) else {
            throw error(
                "dtype of \(name)", "'\(text)'", "one of " + DType.allCases.map(\.rawValue).joined(separator: ", "))
        }
        return dtype
    }

    // MARK: JSON pieces

    /// The members of an object whose opening brace has been read; refuses a key that comes twice.
    private mutating func members(
        of place: String, _ member: (_ key: String, _ parser: inout SafetensorsHeaderParser) throws -> Void
    ) throws {
        var seen: Set<String> = []
        if nextIs("}") { return }
        while true {
            let key = try string(in: place)
            guard seen.insert(key).inserted else { throw error(place, "the key '\(key)' twice", "each key once") }
            try expect(":", in: place)
            try member(key, &self)
            if nextIs("}") { return }
            try expect(",", in: place)
        }
    }

    private mutating func integers(in place: String) throws -> [Int] {
        var values: [Int] = []
        try expect("[", in: place)
        if nextIs("]") { return values }
        while true {
            values.append(try integer(in: place))
            if nextIs("]") { return values }
            try expect(",", in: place)
        }
    }

    private mutating func integer(in place: String) throws -> Int {
        skipSpaces()
        let start = position
        while position < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[position]) {
            position += 1
        }
        let digits = String(decoding: bytes[start..<position], as: UTF8.self)
        guard let value = Int(digits) else {
            throw error(place, digits.isEmpty ? describeNext() : digits, "a whole number from 0 to 2^63-1")
        }
        return value
    }

    private mutating func string(in place: String) throws -> String {
        try expect("\"", in: place)
        var units: [UInt8] = []
        while true {
            guard position < bytes.count else { throw error(place, "a string without end", "a closing quote") }
            let byte = bytes[position]
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validating: units, as: UTF8.self) else {
                    throw error(place, "invalid UTF-8", "valid UTF-8")
                }
                return text
            case UInt8(ascii: "\\"): units += try escape(in: place)
            case 0..<0x20: throw error(place, "a raw control character", "an escaped one")
            default: units.append(byte)
            }
        }
    }

    private static let simpleEscapes: [UInt8: UInt8] = [
        UInt8(ascii: "\""): UInt8(ascii: "\""), UInt8(ascii: "\\"): UInt8(ascii: "\\"),
        UInt8(ascii: "/"): UInt8(ascii: "/"),
        UInt8(ascii: "b"): 8, UInt8(ascii: "f"): 12, UInt8(ascii: "n"): 10, UInt8(ascii: "r"): 13, UInt8(ascii: "t"): 9,
    ]

    /// The UTF-8 of one escape whose backslash has been read.
    private mutating func escape(in place: String) throws -> [UInt8] {
        guard position < bytes.count else { throw error(place, "a string without end", "a closing quote") }
        let kind = bytes[position]
        position += 1
        if let plain = SafetensorsHeaderParser.simpleEscapes[kind] { return [plain] }
        guard kind == UInt8(ascii: "u") else { throw error(place, "an unknown escape", "a JSON escape") }
        let first = try fourHexDigits(in: place)
        let code = (0xD800..<0xDC00).contains(first) ? try lowSurrogate(after: first, in: place) : first
        guard let scalar = Unicode.Scalar(code) else { throw error(place, "half of a surrogate pair", "a whole pair") }
        return Array(String(Character(scalar)).utf8)
    }

    private mutating func lowSurrogate(after high: UInt32, in place: String) throws -> UInt32 {
        guard position + 2 <= bytes.count, bytes[position] == UInt8(ascii: "\\"),
            bytes[position + 1] == UInt8(ascii: "u")
        else {
            throw error(place, "half of a surrogate pair", "a whole pair")
        }
        position += 2
        let low = try fourHexDigits(in: place)
        guard (0xDC00..<0xE000).contains(low) else { throw error(place, "half of a surrogate pair", "a whole pair") }
        return 0x10000 + (high - 0xD800) << 10 + (low - 0xDC00)
    }

    private mutating func fourHexDigits(in place: String) throws -> UInt32 {
        let end = min(position + 4, bytes.count)
        let digits = bytes[position..<end]
        guard digits.count == 4, digits.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit && $0 < 0x80 }),
            let value = UInt32(String(decoding: digits, as: UTF8.self), radix: 16)
        else { throw error(place, "a broken \\u escape", "four hexadecimal digits") }
        position = end
        return value
    }

    // MARK: single characters

    /// The format wants the brace first, without white space before it.
    private mutating func expectOpeningBrace() throws {
        guard bytes.first == UInt8(ascii: "{") else { throw error("byte 0", describeNext(), "'{'") }
        position = 1
    }

    private mutating func expectOnlySpaces() throws {
        skipSpaces()
        guard position == bytes.count else {
            throw error("byte \(position)", describeNext(), "only spaces after the closing brace")
        }
    }

    private mutating func expect(_ character: Unicode.Scalar, in place: String) throws {
        guard nextIs(character) else { throw error("\(place), byte \(position)", describeNext(), "'\(character)'") }
    }

    private mutating func nextIs(_ character: Unicode.Scalar) -> Bool {
        skipSpaces()
        guard position < bytes.count, bytes[position] == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    private mutating func skipSpaces() {
        while position < bytes.count,
            bytes[position] == 0x20 || bytes[position] == 0x0A || bytes[position] == 0x0D || bytes[position] == 0x09
        { position += 1 }
    }

    private func describeNext() -> String {
        position < bytes.count ? "byte 0x" + String(bytes[position], radix: 16) : "the end of the header"
    }

    private func error(_ place: String, _ found: String, _ expected: String) -> FormatError {
        FormatError(
            file: file, place: filePlace.isEmpty ? place : "\(filePlace), \(place)", found: "\(found) in \(place)",
            expected: expected)
    }
}
