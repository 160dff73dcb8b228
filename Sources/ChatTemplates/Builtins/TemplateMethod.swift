/// `value.name(arguments)`, of texts and dicts.
struct TemplateMethod: Sendable {
    typealias Body = @Sendable (TemplateValue, CallArguments) throws(TemplateFault) -> TemplateValue

    let name: String
    private let parameters: [String]
    private let body: Body

    private init(_ name: String, _ parameters: [String] = [], _ body: @escaping Body) {
        (self.name, self.parameters, self.body) = (name, parameters, body)
    }

    func call(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFault) -> TemplateValue {
        try arguments.require(parameters, of: "the method '\(name)'")
        return try body(value, arguments)
    }

    /// The method of that name that such a value has; throws for one that only Python has.
    static func named(_ name: String, of value: TemplateValue) throws(TemplateFault) -> TemplateMethod? {
        let (known, unknown): ([String: TemplateMethod], Set<String>)
        switch value {
        case .string, .marked: (known, unknown) = (ofTexts, unknownOfTexts)
        case .mapping: (known, unknown) = (ofMappings, unknownOfMappings)
        case .list: (known, unknown) = ([:], unknownOfLists)
        default: return nil
        }
        if unknown.contains(name) { throw .unsupported("the method '\(name)' of a value of kind '\(value.typeName)'") }
        return known[name]
    }

    private static func table(_ methods: [TemplateMethod]) -> [String: TemplateMethod] {
        Dictionary(uniqueKeysWithValues: methods.map { ($0.name, $0) })
    }
}

// MARK: dicts

extension TemplateMethod {
    /// A newcomer: one line here.
    private static let ofMappings: [String: TemplateMethod] = table([
        TemplateMethod("items") { (value, _) throws(TemplateFault) in
            .view(mapping(value).entries.map { .tuple([$0.key, $0.value]) }, name: "dict_items")
        },
        TemplateMethod("keys") { (value, _) throws(TemplateFault) in
            .view(mapping(value).entries.map(\.key), name: "dict_keys")
        },
        TemplateMethod("values") { (value, _) throws(TemplateFault) in
            .view(mapping(value).entries.map(\.value), name: "dict_values")
        },
        TemplateMethod("get", ["key", "default"]) { (value, arguments) throws(TemplateFault) in
            guard let key = arguments.positional.first else { throw .failed("the method 'get' takes a key") }
            return try mapping(value).value(key) ?? arguments.value(1, "default") ?? .none
        },
    ])

    private static let unknownOfMappings: Set<String> = [
        "clear", "copy", "fromkeys", "pop", "popitem", "setdefault", "update",
    ]
    /// The sandbox lets none of them change a list.
    private static let unknownOfLists: Set<String> = [
        "append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse", "sort",
    ]

    private static func mapping(_ value: TemplateValue) -> TemplateMapping {
        if case .mapping(let mapping) = value { mapping } else { TemplateMapping() }
    }
}

// MARK: texts

extension TemplateMethod {
    /// One that needs nothing but the text.
    private static func plain(_ name: String, _ change: @escaping @Sendable (String) -> String) -> TemplateMethod {
        TemplateMethod(name) { (value, _) throws(TemplateFault) in .string(change(value.text ?? "")) }
    }

    private static func asking(_ name: String, _ holds: @escaping @Sendable (String) -> Bool) -> TemplateMethod {
        TemplateMethod(name) { (value, _) throws(TemplateFault) in .bool(holds(value.text ?? "")) }
    }

    private static func stripping(_ name: String, _ side: PythonString.Side) -> TemplateMethod {
        TemplateMethod(name, ["chars"]) { (value, arguments) throws(TemplateFault) in
            .string(PythonString.strip(value.text ?? "", try arguments.text(0, "chars", of: name), side))
        }
    }

    private static func splitting(
        _ name: String, _ split: @escaping @Sendable (String, String, Int) -> [String]
    ) -> TemplateMethod {
        TemplateMethod(name, ["sep", "maxsplit"]) { (value, arguments) throws(TemplateFault) in
            let text = value.text ?? "", limit = try arguments.integer(1, "maxsplit", of: name) ?? -1
            guard let separator = try arguments.text(0, "sep", of: name) else {
                guard name == "split" || limit < 0 else { throw .unsupported("'\(name)' at spaces with a limit") }
                return .list(PythonString.splitAtSpaces(text, limit: limit).map { .string($0) })
            }
            guard !separator.isEmpty else { throw .failed("'\(name)' at an empty text") }
            return .list(split(text, separator, limit).map { .string($0) })
        }
    }

    /// `startswith`, `endswith`: of one text or of one among several.
    private static func bounding(
        _ name: String, _ holds: @escaping @Sendable (String, String) -> Bool
    ) -> TemplateMethod {
        TemplateMethod(name, ["prefix"]) { (value, arguments) throws(TemplateFault) in
            guard let given = arguments.positional.first else { throw .failed("'\(name)' takes a text") }
            var parts = [given]
            if case .tuple(let several) = given { parts = several }
            for part in parts {
                guard let part = part.text else {
                    throw .failed("'\(name)' takes a text or a tuple of texts, not a value of kind '\(given.typeName)'")
                }
                if holds(value.text ?? "", part) { return .bool(true) }
            }
            return .bool(false)
        }
    }

    /// One that takes a text.
    private static func taking(
        _ name: String, _ change: @escaping @Sendable (String, String) throws(TemplateFault) -> TemplateValue
    ) -> TemplateMethod {
        TemplateMethod(name, ["part"]) { (value, arguments) throws(TemplateFault) in
            guard let part = try arguments.text(0, "part", of: name) else { throw .failed("'\(name)' takes a text") }
            return try change(value.text ?? "", part)
        }
    }

    /// A newcomer: one line here, and its name taken out of those below.
    private static let ofTexts: [String: TemplateMethod] = table([
        splitting("split", PythonString.split), splitting("rsplit", PythonString.splitFromRight),
        stripping("strip", .both), stripping("lstrip", .left), stripping("rstrip", .right),
        bounding("startswith") { $0.utf8.starts(with: $1.utf8) },
        bounding("endswith") { $0.utf8.reversed().starts(with: $1.utf8.reversed()) },
        plain("upper", PythonString.upper), plain("lower", PythonString.lower),
        plain("capitalize", PythonString.capitalize), plain("title", PythonString.title),
        asking("isdigit") { !$0.isEmpty && $0.unicodeScalars.allSatisfy { isDigit($0) } },
        asking("isspace") { !$0.isEmpty && $0.unicodeScalars.allSatisfy(\.isPythonSpace) },
        taking("find") { (text, part) throws(TemplateFault) in .integer(PythonString.find(part, in: text) ?? -1) },
        taking("count") { (text, part) throws(TemplateFault) in
            part.isEmpty
                ? .integer(text.unicodeScalars.count + 1)
                : .integer(PythonString.split(text, at: part, limit: -1).count - 1)
        },
        taking("removeprefix") { (text, part) throws(TemplateFault) in
            .string(
                text.utf8.starts(with: part.utf8)
                    ? String(text.unicodeScalars.dropFirst(part.unicodeScalars.count)) : text)
        },
        taking("removesuffix") { (text, part) throws(TemplateFault) in
            let ends = text.utf8.reversed().starts(with: part.utf8.reversed())
            return .string(ends ? String(text.unicodeScalars.dropLast(part.unicodeScalars.count)) : text)
        },
        taking("partition") { (text, part) throws(TemplateFault) in
            guard !part.isEmpty else { throw .failed("'partition' at an empty text") }
            let parts = PythonString.split(text, at: part, limit: 1)
            return .tuple((parts.count == 2 ? [parts[0], part, parts[1]] : [text, "", ""]).map { .string($0) })
        },
        taking("rpartition") { (text, part) throws(TemplateFault) in
            guard !part.isEmpty else { throw .failed("'rpartition' at an empty text") }
            let parts = PythonString.splitFromRight(text, at: part, limit: 1)
            return .tuple((parts.count == 2 ? [parts[0], part, parts[1]] : ["", "", text]).map { .string($0) })
        },
        TemplateMethod("splitlines") { (value, _) throws(TemplateFault) in
            .list(PythonString.lines(value.text ?? "").map { .string($0) })
        },
        TemplateMethod("replace", ["old", "new", "count"]) { (value, arguments) throws(TemplateFault) in
            guard let old = try arguments.text(0, "old", of: "replace"),
                let new = try arguments.text(1, "new", of: "replace")
            else { throw .failed("'replace' takes two texts") }
            let limit = try arguments.integer(2, "count", of: "replace") ?? -1
            return .string(try TemplateFilter.replaced(value.text ?? "", old, new, limit: limit))
        },
        TemplateMethod("join", ["iterable"]) { (value, arguments) throws(TemplateFault) in
            guard let given = arguments.positional.first else { throw .failed("'join' takes a list") }
            var parts: [String] = []
            for element in try given.elements() {
                guard let text = element.text else {
                    throw .failed("'join' takes texts, not a value of kind '\(element.typeName)'")
                }
                parts.append(text)
            }
            try TemplateBounds.require(text: value.text?.utf8.count ?? 0, times: parts.count)
            try TemplateBounds.require(text: parts.reduce(0) { $0 + $1.utf8.count })
            return .string(parts.joined(separator: value.text ?? ""))
        },
    ])

    private static let unknownOfTexts: Set<String> = [
        "casefold", "center", "encode", "expandtabs", "format", "format_map", "index", "isalnum", "isalpha", "isascii",
        "isdecimal", "isidentifier", "islower", "isnumeric", "isprintable", "istitle", "isupper", "ljust",
        "maketrans", "rfind", "rindex", "rjust", "swapcase", "translate", "zfill",
    ]

    private static func isDigit(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.numericType {
        case .decimal, .digit: true
        default: false
        }
    }
}
