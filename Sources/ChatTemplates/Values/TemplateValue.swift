import Formats
import Scratch

/// A value as Python has it while a template runs.
enum TemplateValue {
    /// What isn't there: empty text, false, no element. The words say what was looked for.
    case undefined(String)
    case none
    case bool(Bool)
    case integer(Int)
    case float(Double)
    case string(String)
    /// A text that `safe` marked. It prints as it is, but Python escapes what is added to it.
    case marked(String)
    case list([TemplateValue])
    case tuple([TemplateValue])
    case mapping(TemplateMapping)
    /// `dict.items()`, `dict.keys()`, `dict.values()`, `range()`: with a length, but no list.
    case view([TemplateValue], name: String)
    /// What `map`, `select` and their like give: once through, without a length, always true.
    case iterator(TemplateIterator)
    case namespace(TemplateNamespace)
    case loop(LoopState)
    case macro(Macro)
    case function(TemplateFunction)
    case method(TemplateMethod, of: [TemplateValue])
}

/// Elements that are gone once they have been looked at.
final class TemplateIterator {
    private var values: [TemplateValue]

    init(_ values: [TemplateValue]) { self.values = values }

    func take() -> [TemplateValue] {
        defer { values = [] }
        return values
    }

    func takeFirst() -> TemplateValue? { values.isEmpty ? nil : values.removeFirst() }
}

/// What `namespace()` gives: names that a loop can set for what stands behind it.
final class TemplateNamespace {
    var values: [String: TemplateValue] = [:]
}

/// A macro with the names that stood around it.
final class Macro {
    let definition: MacroDefinition
    let scope: Scope

    init(_ definition: MacroDefinition, _ scope: Scope) { (self.definition, self.scope) = (definition, scope) }
}

extension TemplateValue {
    /// Throws for a whole number that 64 bits don't hold: it would be printed as another.
    init(_ json: JSONValue) throws(TemplateFault) {
        switch json {
        case .null: self = .none
        case .bool(let flag): self = .bool(flag)
        case .integer(let number): self = .integer(Int(number))
        case .decimal(let text): self = try Self.number(text)
        case .string(let text), .broken(let text, _): self = .string(text)
        case .list(let values):
            var list: [TemplateValue] = []
            for value in values { list.append(try TemplateValue(value)) }
            self = .list(list)
        case .object(let object):
            var mapping = TemplateMapping()
            for member in object.members { mapping.set(member.key, try TemplateValue(member.value)) }
            self = .mapping(mapping)
        }
    }

    private static func number(_ text: String) throws(TemplateFault) -> TemplateValue {
        if let whole = Int(text) { return .integer(whole) }
        guard text.contains(where: { ".eEN".contains($0) }) || text.hasSuffix("Infinity") else {
            throw TemplateFault.failed("the whole number \(text.prefix(40)) is beyond 64 bits")
        }
        return .float(Double(text) ?? .nan)
    }

    /// Python's name of the kind, for messages.
    var typeName: String {
        switch self {
        case .undefined: "Undefined"
        case .none: "NoneType"
        case .bool: "bool"
        case .integer: "int"
        case .float: "float"
        case .string: "str"
        case .marked: "Markup"
        case .list: "list"
        case .tuple: "tuple"
        case .mapping: "dict"
        case .view(_, let name): name
        case .iterator: "generator"
        case .namespace: "Namespace"
        case .loop: "LoopContext"
        case .macro: "Macro"
        case .function, .method: "function"
        }
    }

    var isUndefined: Bool { if case .undefined = self { true } else { false } }
    var isNone: Bool { if case .none = self { true } else { false } }

    /// A string's text, marked or not.
    var text: String? {
        switch self {
        case .string(let text), .marked(let text): text
        default: nil
        }
    }

    /// Whole numbers, and truth values, which Python counts among them.
    var integer: Int? {
        switch self {
        case .integer(let number): number
        case .bool(let flag): flag ? 1 : 0
        default: nil
        }
    }

    var number: Double? {
        if case .float(let number) = self { return number }
        return integer.map(Double.init)
    }

    var isTrue: Bool {
        switch self {
        case .undefined, .none: false
        case .bool(let flag): flag
        case .integer(let number): number != 0
        case .float(let number): number != 0
        case .string(let text), .marked(let text): !text.isEmpty
        case .list(let values), .tuple(let values), .view(let values, _): !values.isEmpty
        case .mapping(let mapping): mapping.count > 0
        case .iterator, .namespace, .loop, .macro, .function, .method: true
        }
    }

    /// How many there are; nil where Python has no `len`.
    var count: Int? {
        switch self {
        case .undefined: 0
        case .string(let text), .marked(let text): text.unicodeScalars.count
        case .list(let values), .tuple(let values), .view(let values, _): values.count
        case .mapping(let mapping): mapping.count
        default: nil
        }
    }

    /// What a loop goes over.
    func elements() throws(TemplateFault) -> [TemplateValue] {
        switch self {
        case .undefined: return []
        case .string(let text), .marked(let text): return text.unicodeScalars.map { .string(String($0)) }
        case .list(let values), .tuple(let values), .view(let values, _): return values
        case .mapping(let mapping): return mapping.entries.map(\.key)
        case .iterator(let iterator): return iterator.take()
        default: throw .failed("a value of kind '\(typeName)' can't be gone through")
        }
    }
}

// MARK: comparing

extension TemplateValue {
    /// Python's `==`.
    func equals(_ other: TemplateValue) -> Bool {
        if let one = text, let two = other.text { return one.isSameBytes(as: two) }
        if let one = integer, let two = other.integer { return one == two }
        if let one = number, let two = other.number { return one == two }
        switch (self, other) {
        case (.undefined, .undefined), (.none, .none): return true
        case (.list(let one), .list(let two)), (.tuple(let one), .tuple(let two)):
            return one.count == two.count && zip(one, two).allSatisfy { $0.equals($1) }
        case (.mapping(let one), .mapping(let two)): return one.equals(two)
        case (.namespace(let one), .namespace(let two)): return one === two
        case (.macro(let one), .macro(let two)): return one === two
        default: return false
        }
    }

    /// Python's `<`.
    func isLess(than other: TemplateValue) throws(TemplateFault) -> Bool {
        if let one = text, let two = other.text { return one.utf8.lexicographicallyPrecedes(two.utf8) }
        if let one = integer, let two = other.integer { return one < two }
        if let one = number, let two = other.number { return one < two }
        switch (self, other) {
        case (.list(let one), .list(let two)), (.tuple(let one), .tuple(let two)):
            for (a, b) in zip(one, two) where !a.equals(b) { return try a.isLess(than: b) }
            return one.count < two.count
        default:
            throw .failed("values of kinds '\(typeName)' and '\(other.typeName)' have no order")
        }
    }

    /// Python's `in`.
    func contains(_ element: TemplateValue) throws(TemplateFault) -> Bool {
        switch self {
        case .string(let text), .marked(let text):
            guard let part = element.text else {
                throw .failed("'in <string>' needs a text on its left, not a value of kind '\(element.typeName)'")
            }
            return PythonString.find(part, in: text) != nil
        case .mapping(let mapping): return try mapping.value(element) != nil
        default: return try elements().contains { $0.equals(element) }
        }
    }
}
