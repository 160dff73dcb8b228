/// `value is name(arguments)`.
struct TemplateTest: Sendable {
    typealias Body = @Sendable (TemplateValue, CallArguments) throws(TemplateFault) -> Bool

    let name: String
    private let arguments: Int
    private let body: Body

    private init(_ name: String, _ holds: @escaping @Sendable (TemplateValue) -> Bool) {
        (self.name, arguments) = (name, 0)
        body = { (value, _) throws(TemplateFault) in holds(value) }
    }

    /// One that compares with a second value.
    private init(
        comparing name: String,
        _ holds: @escaping @Sendable (TemplateValue, TemplateValue) throws(TemplateFault) -> Bool
    ) {
        (self.name, arguments) = (name, 1)
        body = { (value, given) throws(TemplateFault) in
            guard let other = given.positional.first else { throw .failed("the test '\(name)' takes a second value") }
            return try holds(value, other)
        }
    }

    func holds(_ value: TemplateValue, _ given: CallArguments) throws(TemplateFault) -> Bool {
        guard given.positional.count == arguments, given.named.isEmpty else {
            throw .failed("the test '\(name)' takes \(arguments) arguments, not \(given.positional.count)")
        }
        return try body(value, given)
    }

    /// A newcomer: one line here.
    static let all: [TemplateTest] = [
        TemplateTest("defined") { !$0.isUndefined },
        TemplateTest("undefined") { $0.isUndefined },
        TemplateTest("none") { $0.isNone },
        TemplateTest("boolean") { if case .bool = $0 { true } else { false } },
        TemplateTest("true") { if case .bool(true) = $0 { true } else { false } },
        TemplateTest("false") { if case .bool(false) = $0 { true } else { false } },
        TemplateTest("string") { $0.text != nil },
        TemplateTest("number") { $0.number != nil },
        TemplateTest("integer") { if case .integer = $0 { true } else { false } },
        TemplateTest("float") { if case .float = $0 { true } else { false } },
        TemplateTest("mapping") { if case .mapping = $0 { true } else { false } },
        TemplateTest("iterable") { isIterable($0) },
        // Jinja asks for a length and for items: texts and dicts are sequences to it, and so is what isn't there.
        TemplateTest("sequence") { if case .view(_, let name) = $0 { name == "range" } else { $0.count != nil } },
        TemplateTest("callable") { isCallable($0) },
        TemplateTest("lower") { $0.text.map { isCased($0) && PythonString.lower($0) == $0 } ?? false },
        TemplateTest("upper") { $0.text.map { isCased($0) && PythonString.upper($0) == $0 } ?? false },
        TemplateTest("odd") { $0.integer.map { $0 % 2 != 0 } ?? false },
        TemplateTest("even") { $0.integer.map { $0 % 2 == 0 } ?? false },
        TemplateTest(comparing: "divisibleby") { (value, other) throws(TemplateFault) in
            guard let one = value.integer, let two = other.integer, two != 0 else {
                throw .failed("'divisibleby' takes whole numbers, the second not 0")
            }
            return two == -1 || one % two == 0
        },
        TemplateTest(comparing: "equalto") { (value, other) throws(TemplateFault) in value.equals(other) },
        TemplateTest(comparing: "ne") { (value, other) throws(TemplateFault) in !value.equals(other) },
        TemplateTest(comparing: "lt") { (value, other) throws(TemplateFault) in try value.isLess(than: other) },
        TemplateTest(comparing: "gt") { (value, other) throws(TemplateFault) in try other.isLess(than: value) },
        TemplateTest(comparing: "le") { (value, other) throws(TemplateFault) in
            try value.isLess(than: other) || value.equals(other)
        },
        TemplateTest(comparing: "ge") { (value, other) throws(TemplateFault) in
            try other.isLess(than: value) || value.equals(other)
        },
        TemplateTest(comparing: "in") { (value, other) throws(TemplateFault) in try other.contains(value) },
        TemplateTest(comparing: "sameas") { (value, other) throws(TemplateFault) in
            switch (value, other) {
            case (.none, .none): true
            case (.bool(let one), .bool(let two)): one == two
            default: throw .unsupported("'sameas' of values of kinds '\(value.typeName)' and '\(other.typeName)'")
            }
        },
    ]

    private static let aliases = [
        "eq": "equalto", "==": "equalto", "!=": "ne", "<": "lt", "lessthan": "lt", ">": "gt", "greaterthan": "gt",
        "<=": "le", ">=": "ge",
    ]
    private static let byName: [String: TemplateTest] = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })

    static func named(_ name: String) -> TemplateTest? { byName[aliases[name] ?? name] }

    private static func isIterable(_ value: TemplateValue) -> Bool {
        switch value {
        case .none, .bool, .integer, .float, .macro, .function, .method, .namespace: false
        default: true
        }
    }

    private static func isCallable(_ value: TemplateValue) -> Bool {
        switch value {
        case .macro, .function, .method: true
        default: false
        }
    }

    private static func isCased(_ text: String) -> Bool {
        text.unicodeScalars.contains { $0.properties.isUppercase || $0.properties.isLowercase }
    }
}
