/// `json.dumps`, as transformers' `tojson` calls it: nothing is escaped for HTML, keys stay in their order, other
/// scripts stay as they are.
struct PythonJSON {
    var indent: String?
    var itemSeparator: String
    var keySeparator: String
    var sortsKeys = false
    var isASCII = false

    func text(_ value: TemplateValue) throws(TemplateFault) -> String { try text(value, depth: 0) }

    private func text(_ value: TemplateValue, depth: Int) throws(TemplateFault) -> String {
        switch value {
        case .none: return "null"
        case .bool(let flag): return flag ? "true" : "false"
        case .integer(let number): return "\(number)"
        case .float(let number): return Self.number(number)
        case .string(let text), .marked(let text): return quoted(text)
        case .list(let values), .tuple(let values):
            var parts: [String] = []
            for value in values { parts.append(try text(value, depth: depth + 1)) }
            return joined(parts, "[", "]", depth)
        case .mapping(let mapping):
            var pairs: [(key: String, value: TemplateValue)] = []
            for entry in mapping.entries { pairs.append((try Self.key(entry.key), entry.value)) }
            // Python sorts by code points, which is UTF-8's order.
            if sortsKeys { pairs.sort { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) } }
            var parts: [String] = []
            for (key, value) in pairs {
                parts.append(quoted(key) + keySeparator + (try text(value, depth: depth + 1)))
            }
            return joined(parts, "{", "}", depth)
        default: throw .failed("a value of kind '\(value.typeName)' can't be written as JSON")
        }
    }

    private func joined(_ parts: [String], _ open: String, _ close: String, _ depth: Int) -> String {
        guard let indent, !parts.isEmpty else { return open + parts.joined(separator: itemSeparator) + close }
        let outer = "\n" + String(repeating: indent, count: depth), inner = outer + indent
        return open + inner + parts.joined(separator: itemSeparator + inner) + outer + close
    }

    private static func number(_ number: Double) -> String {
        number.isNaN ? "NaN" : number.isInfinite ? (number < 0 ? "-Infinity" : "Infinity") : PythonNumber.text(number)
    }

    private static func key(_ key: TemplateValue) throws(TemplateFault) -> String {
        switch key {
        case .string(let text), .marked(let text): return text
        case .none: return "null"
        case .bool(let flag): return flag ? "true" : "false"
        case .integer(let number): return "\(number)"
        case .float(let number): return Self.number(number)
        default: throw .failed("a value of kind '\(key.typeName)' can't be a key of JSON")
        }
    }

    private static let escapes: [Unicode.Scalar: String] = [
        "\"": "\\\"", "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\u{c}": "\\f", "\u{8}": "\\b",
    ]

    private func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            if let escape = Self.escapes[scalar] {
                result += escape
            } else if scalar.value < 0x20 || isASCII && scalar.value > 0x7e {
                for unit in String(scalar).utf16 {
                    result += "\\u" + PythonNumber.hexadecimal(UInt32(unit), 4)
                }
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
