/// Values as Python's `str` and `repr` write them.
extension TemplateValue {
    /// `str(value)`: what a template prints.
    func printed() throws(TemplateFault) -> String {
        switch self {
        case .undefined: ""
        case .string(let text), .marked(let text): text
        default: try represented()
        }
    }

    /// `repr(value)`: how it stands within a list.
    func represented() throws(TemplateFault) -> String {
        switch self {
        case .undefined: return "Undefined"
        case .none: return "None"
        case .bool(let flag): return flag ? "True" : "False"
        case .integer(let number): return "\(number)"
        case .float(let number): return PythonNumber.text(number)
        case .string(let text): return PythonNumber.quoted(text)
        case .marked(let text): return "Markup(" + PythonNumber.quoted(text) + ")"
        case .list(let values): return "[" + (try Self.joined(values)) + "]"
        case .tuple(let values):
            return "(" + (try Self.joined(values)) + (values.count == 1 ? ",)" : ")")
        case .mapping(let mapping):
            var parts: [String] = []
            for entry in mapping.entries {
                parts.append(try entry.key.represented() + ": " + (try entry.value.represented()))
            }
            return "{" + parts.joined(separator: ", ") + "}"
        default: throw .unsupported("a value of kind '\(typeName)' that is printed")
        }
    }

    private static func joined(_ values: [TemplateValue]) throws(TemplateFault) -> String {
        var parts: [String] = []
        for value in values { parts.append(try value.represented()) }
        return parts.joined(separator: ", ")
    }
}

/// Numbers and quoted texts as Python spells them.
enum PythonNumber {
    /// `repr` of a float: the shortest digits that read back, with an exponent below 1e-4 and from 1e16.
    static func text(_ value: Double) -> String {
        if value.isNaN { return "nan" }
        if value.isInfinite { return value < 0 ? "-inf" : "inf" }
        let sign = value.sign == .minus ? "-" : ""
        if value == 0 { return sign + "0.0" }
        let (digits, point) = shortest(value.magnitude)
        return sign + (point > -4 && point <= 16 ? fixed(digits, point) : exponential(digits, point))
    }

    /// Digits without zeros at their ends, and how many of them stand before the point.
    private static func shortest(_ value: Double) -> (digits: String, point: Int) {
        let parts = "\(value)".split(separator: "e"), mantissa = parts[0]
        let exponent = parts.count > 1 ? Int(parts[1]) ?? 0 : 0
        let whole = mantissa.prefix { $0 != "." }
        let all = mantissa.filter { $0 != "." }, leading = all.prefix { $0 == "0" }.count
        var digits = String(all.dropFirst(leading))
        while digits.count > 1, digits.hasSuffix("0") { digits.removeLast() }
        return (digits, whole.count + exponent - leading)
    }

    private static func fixed(_ digits: String, _ point: Int) -> String {
        if point <= 0 { return "0." + String(repeating: "0", count: -point) + digits }
        if digits.count <= point { return digits + String(repeating: "0", count: point - digits.count) + ".0" }
        return digits.prefix(point) + "." + digits.dropFirst(point)
    }

    private static func exponential(_ digits: String, _ point: Int) -> String {
        let exponent = point - 1, size = "\(exponent.magnitude)"
        let rest = digits.dropFirst().isEmpty ? "" : "." + digits.dropFirst()
        return digits.prefix(1) + rest + "e" + (exponent < 0 ? "-" : "+") + (size.count < 2 ? "0" + size : size)
    }

    /// `repr` of a text: single quotes, unless it has these and no double ones.
    static func quoted(_ text: String) -> String {
        let usesDouble = text.unicodeScalars.contains("'") && !text.unicodeScalars.contains("\"")
        let quote: Unicode.Scalar = usesDouble ? "\"" : "'"
        var result = String.UnicodeScalarView([quote])
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\", quote: result.append(contentsOf: ["\\", scalar])
            case "\n": result.append(contentsOf: ["\\", "n"])
            case "\r": result.append(contentsOf: ["\\", "r"])
            case "\t": result.append(contentsOf: ["\\", "t"])
            default:
                if isPrintable(scalar) {
                    result.append(scalar)
                } else {
                    result.append(contentsOf: spelled(scalar).unicodeScalars)
                }
            }
        }
        result.append(quote)
        return String(result)
    }

    private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: false
        case .spaceSeparator: scalar == " "
        default: true
        }
    }

    private static func spelled(_ scalar: Unicode.Scalar) -> String {
        let (letter, width) = scalar.value < 0x100 ? ("x", 2) : scalar.value < 0x10000 ? ("u", 4) : ("U", 8)
        return "\\" + letter + hexadecimal(scalar.value, width)
    }

    static func hexadecimal(_ value: UInt32, _ width: Int) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}
