import Foundation

/// Routed experts as an engine gives them: base64 of a `.npy` file with its shape (vLLM), or of bare int32 numbers
/// (SGLang), whose shape is the model's.
package enum GivenExperts: Equatable, Sendable {
    case shaped(RoutedExperts)
    case flat([UInt16], start: Int)

    /// vLLM's: `routed_experts` of the whole sequence but for the rows that `routed_experts_prompt_start` skipped; in
    /// older servers of the answer alone, with `prompt_routed_experts` in front.
    static func ofVLLM(_ choice: JSONObject, _ body: JSONObject) throws(RolloutFault) -> GivenExperts? {
        let prompt = choice.given("prompt_routed_experts") ?? body.given("prompt_routed_experts")
        let start = choice.given("routed_experts_prompt_start") ?? body.given("routed_experts_prompt_start")
        guard let value = choice.given("routed_experts") else { return nil }
        let array = try NumpyArray(value, "routed_experts"),
            front = try prompt.map { value throws(RolloutFault) in
                try NumpyArray(value, "prompt_routed_experts")
            }
        if let front, front.shape.dropFirst() != array.shape.dropFirst() {
            throw RolloutFault(
                .wrongShape, found: "routed_experts \(array.shape) and prompt_routed_experts \(front.shape)",
                expected: "the same layers and experts in both")
        }
        let rows = array.shape[0] + (front?.shape[0] ?? 0)
        guard
            let experts = RoutedExperts(
                values: (front?.values ?? []) + array.values, start: start?.int ?? 0, rows: rows,
                layers: array.shape[1], perToken: array.shape[2])
        else {
            throw RolloutFault(
                .wrongShape, found: "routed_experts \(array.shape)", expected: "[tokens, layers, experts of a token]")
        }
        return .shaped(experts)
    }

    /// SGLang's: `routed_experts`, and the first token that they are of.
    static func ofSGLang(_ meta: JSONObject) throws(RolloutFault) -> GivenExperts? {
        guard let value = meta.given("routed_experts") else { return nil }
        let bytes = try decoded(value, "routed_experts")
        guard bytes.count % 4 == 0 else {
            throw RolloutFault(
                .wrongShape, found: "routed_experts of \(bytes.count) bytes", expected: "32-bit numbers")
        }
        return .flat(
            try NumpyArray.values(bytes[...], width: 4, isSigned: true, "routed_experts"),
            start: meta["routed_experts_start_len"]?.int ?? 0)
    }

    fileprivate static func decoded(_ value: JSONValue, _ name: String) throws(RolloutFault) -> [UInt8] {
        guard let text = value.string, let data = Data(base64Encoded: text) else {
            throw RolloutFault(.invalidValue, found: "\(name) \(value.excerpt)", expected: "base64 text")
        }
        return [UInt8](data)
    }
}

/// A three-dimensional array of expert numbers out of a `.npy` file.
private struct NumpyArray {
    let shape: [Int]
    let values: [UInt16]

    init(_ value: JSONValue, _ name: String) throws(RolloutFault) {
        let bytes = try GivenExperts.decoded(value, name)
        guard bytes.starts(with: [0x93] + Array("NUMPY".utf8)), bytes.count > 12 else {
            throw RolloutFault(
                .invalidValue, found: "\(name) of \(bytes.count) bytes that are no .npy file", expected: "one")
        }
        // Version 1 has two bytes of length, later ones four.
        let start = bytes[6] == 1 ? 10 : 12
        let length = (8..<start).reversed().reduce(0) { $0 << 8 | Int(bytes[$1]) }
        guard length <= bytes.count - start else {
            throw RolloutFault(.invalidValue, found: "\(name) whose header is cut off", expected: "a whole .npy file")
        }
        let header = String(decoding: bytes[start..<start + length], as: UTF8.self)
        guard let type = Self.field("descr", in: header), let shape = Self.shape(header), shape.count == 3,
            Self.field("fortran_order", in: header)?.hasPrefix("False") == true, let width = Self.widths[type]
        else {
            throw RolloutFault(
                .wrongShape, found: "\(name) \(header.prefix(80))",
                expected: "[tokens, layers, experts of a token] of uint8, uint16 or int32, in C order")
        }
        let rest = bytes[(start + length)...]
        // Bounds first: a product of what a header says may be no number.
        guard shape[0] <= 1 << 24, shape[1] <= RoutedExperts.most, shape[2] <= RoutedExperts.most,
            rest.count == shape.reduce(1, *) * width.bytes
        else {
            throw RolloutFault(
                .wrongShape, found: "\(name) \(shape) with \(rest.count) bytes", expected: "as many as its shape says")
        }
        self.shape = shape
        values = try Self.values(rest, width: width.bytes, isSigned: width.isSigned, name)
    }

    private static let widths: [String: (bytes: Int, isSigned: Bool)] = [
        "|u1": (1, false), "<u1": (1, false), "<u2": (2, false), "<i2": (2, true), "<i4": (4, true), "<u4": (4, false),
    ]

    /// What stands behind a key of the header, a Python dictionary: text without its quotes.
    private static func field(_ key: String, in header: String) -> String? {
        guard let range = header.range(of: "'\(key)':") else { return nil }
        let rest = header[range.upperBound...].drop { $0 == " " }
        if rest.first == "'" { return String(rest.dropFirst().prefix { $0 != "'" }) }
        return String(rest.prefix { $0 != "," && $0 != "}" })
    }

    private static func shape(_ header: String) -> [Int]? {
        guard let range = header.range(of: "'shape': ("), let end = header[range.upperBound...].firstIndex(of: ")")
        else { return nil }
        let parts = header[range.upperBound..<end].split(separator: ",").map { $0.filter { $0 != " " } }
        let numbers = parts.compactMap { Int($0) }
        return numbers.count == parts.count && numbers.allSatisfy { $0 >= 0 } ? numbers : nil
    }

    /// Little-endian numbers that are experts.
    static func values(
        _ bytes: ArraySlice<UInt8>, width: Int, isSigned: Bool, _ name: String
    ) throws(RolloutFault) -> [UInt16] {
        var values: [UInt16] = []
        values.reserveCapacity(bytes.count / width)
        var place = bytes.startIndex
        while place < bytes.endIndex {
            var value: UInt32 = 0
            for byte in (0..<width).reversed() { value = value << 8 | UInt32(bytes[place + byte]) }
            guard value <= (isSigned && width == 2 ? 0x7fff : 0xffff), let expert = UInt16(exactly: value) else {
                throw RolloutFault(
                    .invalidValue,
                    found: "expert \(width == 4 ? Int(Int32(bitPattern: value)) : Int(value)) in \(name)",
                    expected: "numbers from 0 to 65535")
            }
            values.append(expert)
            place += width
        }
        return values
    }
}
