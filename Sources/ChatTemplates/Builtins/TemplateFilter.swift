/// `value | name(arguments)`.
struct TemplateFilter: Sendable {
    typealias Body = @Sendable (TemplateValue, CallArguments) throws(TemplateFault) -> TemplateValue

    let name: String
    /// By which they can be called; nil leaves that to the body.
    let parameters: [String]?
    private let body: Body

    init(_ name: String, _ parameters: [String]? = [], _ body: @escaping Body) {
        (self.name, self.parameters, self.body) = (name, parameters, body)
    }

    func apply(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFault) -> TemplateValue {
        if let parameters { try arguments.require(parameters, of: "the filter '\(name)'") }
        return try body(value, arguments)
    }

    /// A newcomer: one line in one of the lists below.
    static let all: [TemplateFilter] = texts + sequences + selections + others

    static func named(_ name: String) -> TemplateFilter? { byName[name] }
    private static let byName: [String: TemplateFilter] = {
        var names = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })
        (names["d"], names["count"]) = (names["default"], names["length"])
        return names
    }()
}

// MARK: texts

extension TemplateFilter {
    fileprivate static let texts: [TemplateFilter] = [
        TemplateFilter("trim", ["chars"]) { (value, arguments) throws(TemplateFault) in
            .string(PythonString.strip(try value.printed(), try arguments.text(0, "chars", of: "trim"), .both))
        },
        TemplateFilter("upper") { (value, _) throws(TemplateFault) in .string(PythonString.upper(try value.printed()))
        },
        TemplateFilter("lower") { (value, _) throws(TemplateFault) in .string(PythonString.lower(try value.printed()))
        },
        TemplateFilter("capitalize") { (value, _) throws(TemplateFault) in
            .string(PythonString.capitalize(try value.printed()))
        },
        TemplateFilter("title") { (value, _) throws(TemplateFault) in .string(titled(try value.printed())) },
        TemplateFilter("string") { (value, _) throws(TemplateFault) in
            if case .marked = value { return value }
            return .string(try value.printed())
        },
        TemplateFilter("safe") { (value, _) throws(TemplateFault) in .marked(try value.printed()) },
        TemplateFilter("replace", ["old", "new", "count"]) { (value, arguments) throws(TemplateFault) in
            guard let old = arguments.value(0, "old"), let new = arguments.value(1, "new") else {
                throw .failed("the filter 'replace' takes what to replace and by what")
            }
            let count = try arguments.integer(2, "count", of: "replace") ?? -1
            return .string(try replaced(try value.printed(), try old.printed(), try new.printed(), limit: count))
        },
        TemplateFilter("indent", ["width", "first", "blank"]) { (value, arguments) throws(TemplateFault) in
            let margin = try margin(arguments.value(0, "width") ?? .integer(4)) ?? ""
            return .string(
                indented(
                    try value.printed(), margin, first: arguments.flag(1, "first") ?? false,
                    blank: arguments.flag(2, "blank") ?? false))
        },
    ]

    static func replaced(
        _ text: String, _ old: String, _ new: String, limit: Int
    ) throws(TemplateFault) -> String {
        let places = text.utf8.count / max(1, old.utf8.count) + 1
        try TemplateBounds.require(text: places, times: new.utf8.count)
        return PythonString.replace(text, old, new, limit: limit)
    }

    /// Jinja's own: a word begins behind white space, a minus, or an opening bracket.
    private static func titled(_ text: String) -> String {
        var isStart = true
        return text.unicodeScalars.map { scalar in
            if scalar.isPythonSpace || "-({[<".unicodeScalars.contains(scalar) {
                isStart = true
                return String(scalar)
            }
            defer { isStart = false }
            return isStart ? scalar.properties.uppercaseMapping : scalar.properties.lowercaseMapping
        }.joined()
    }

    /// So many spaces, or the text itself; nil for none.
    fileprivate static func margin(_ value: TemplateValue) throws(TemplateFault) -> String? {
        if value.isNone { return nil }
        let text = value.text ?? value.integer.map { String(repeating: " ", count: max(0, min($0, 1000))) }
        guard let text else {
            throw .failed("an indent is a number or a text, not a value of kind '\(value.typeName)'")
        }
        guard text.utf8.count <= TemplateBounds.indent else {
            throw .bound("an indent of more than \(TemplateBounds.indent)")
        }
        return text
    }

    private static func indented(_ text: String, _ margin: String, first: Bool, blank: Bool) -> String {
        let lines = PythonString.lines(text + "\n")
        let rest = lines.dropFirst().map { blank || !$0.isEmpty ? margin + $0 : $0 }
        return (first ? margin : "") + ([lines.first ?? ""] + rest).joined(separator: "\n")
    }
}

// MARK: lists and dicts

extension TemplateFilter {
    fileprivate static let sequences: [TemplateFilter] = [
        TemplateFilter("length") { (value, _) throws(TemplateFault) in
            guard let count = value.count else { throw .failed("a value of kind '\(value.typeName)' has no length") }
            return .integer(count)
        },
        TemplateFilter("list") { (value, _) throws(TemplateFault) in .list(try value.elements()) },
        TemplateFilter("first") { (value, _) throws(TemplateFault) in
            if case .iterator(let iterator) = value {
                return iterator.takeFirst() ?? .undefined("there is no first item")
            }
            return try value.elements().first ?? .undefined("there is no first item")
        },
        TemplateFilter("last") { (value, _) throws(TemplateFault) in
            if case .iterator = value { throw .failed("the last of a generator: it has to be made a list") }
            return try value.elements().last ?? .undefined("there is no last item")
        },
        TemplateFilter("reverse") { (value, _) throws(TemplateFault) in
            if let text = value.text { return .string(PythonString.text(text.unicodeScalars.reversed())) }
            return .iterator(TemplateIterator(try value.elements().reversed()))
        },
        TemplateFilter("join", ["d", "attribute"]) { (value, arguments) throws(TemplateFault) in
            let separator = try arguments.value(0, "d")?.printed() ?? ""
            var parts: [String] = [], bytes = 0
            for element in try value.elements() {
                let part = try AttributePath.of(arguments.value(1, "attribute"))?.value(of: element) ?? element
                parts.append(try part.printed())
                bytes += separator.utf8.count + (parts.last?.utf8.count ?? 0)
                try TemplateBounds.require(text: bytes)
            }
            return .string(parts.joined(separator: separator))
        },
        TemplateFilter("items") { (value, _) throws(TemplateFault) in
            if value.isUndefined { return .iterator(TemplateIterator([])) }
            guard case .mapping(let mapping) = value else {
                throw .failed("the filter 'items' takes a dict, not a value of kind '\(value.typeName)'")
            }
            return .iterator(TemplateIterator(mapping.entries.map { .tuple([$0.key, $0.value]) }))
        },
        TemplateFilter("dictsort", ["case_sensitive", "by", "reverse"]) { (value, arguments) throws(TemplateFault) in
            guard case .mapping(let mapping) = value else {
                throw .failed("the filter 'dictsort' takes a dict, not a value of kind '\(value.typeName)'")
            }
            let by = try arguments.text(1, "by", of: "dictsort") ?? "key"
            guard by == "key" || by == "value" else {
                throw .failed("dictsort goes by 'key' or 'value', not by '\(by)'")
            }
            let sorting = Sorting(
                isCaseSensitive: arguments.flag(0, "case_sensitive") ?? false,
                isReversed: arguments.flag(2, "reverse") ?? false)
            let sorted = try sorting.sorted(mapping.entries.map { ($0, by == "key" ? $0.key : $0.value) })
            return .list(sorted.map { .tuple([$0.key, $0.value]) })
        },
        TemplateFilter("sort", ["reverse", "case_sensitive", "attribute"]) { (value, arguments) throws(TemplateFault) in
            let sorting = Sorting(
                isCaseSensitive: arguments.flag(1, "case_sensitive") ?? false,
                isReversed: arguments.flag(0, "reverse") ?? false)
            let path = try AttributePath.of(arguments.value(2, "attribute"))
            var keyed: [(TemplateValue, key: TemplateValue)] = []
            for element in try value.elements() { keyed.append((element, try path?.value(of: element) ?? element)) }
            return .list(try sorting.sorted(keyed))
        },
        TemplateFilter("unique", ["case_sensitive", "attribute"]) { (value, arguments) throws(TemplateFault) in
            let isCaseSensitive = arguments.flag(0, "case_sensitive") ?? false
            let path = try AttributePath.of(arguments.value(1, "attribute"))
            var seen = TemplateMapping(), kept: [TemplateValue] = []
            for element in try value.elements() {
                let key = Sorting.key(try path?.value(of: element) ?? element, isCaseSensitive)
                guard try seen.value(key) == nil else { continue }
                try seen.set(key, .none)
                kept.append(element)
            }
            return .iterator(TemplateIterator(kept))
        },
    ]
}

/// How `sort` and `dictsort` go: stable, and by small letters unless told otherwise.
private struct Sorting {
    let isCaseSensitive: Bool
    let isReversed: Bool

    static func key(_ value: TemplateValue, _ isCaseSensitive: Bool) -> TemplateValue {
        guard !isCaseSensitive, let text = value.text else { return value }
        return .string(PythonString.lower(text))
    }

    func sorted<T>(_ values: [(T, key: TemplateValue)]) throws(TemplateFault) -> [T] {
        let keyed = values.enumerated().map { (place: $0, value: $1.0, key: Self.key($1.key, isCaseSensitive)) }
        do {
            return try keyed.sorted { one, two in
                if try one.key.isLess(than: two.key) { return !isReversed }
                if try two.key.isLess(than: one.key) { return isReversed }
                return one.place < two.place
            }.map(\.value)
        } catch let fault as TemplateFault { throw fault } catch { throw .failed("\(error)") }
    }
}

/// `'function.name'`, as `map`, `selectattr` and their like take it.
struct AttributePath {
    private let parts: [TemplateValue]

    static func of(_ value: TemplateValue?) throws(TemplateFault) -> AttributePath? {
        guard let value, !value.isNone else { return nil }
        return try AttributePath(value)
    }

    init(_ value: TemplateValue) throws(TemplateFault) {
        if case .integer = value {
            parts = [value]
        } else if let text = value.text {
            parts = text.split(separator: ".", omittingEmptySubsequences: false).map { part in
                part.allSatisfy(\.isNumber)
                    ? Int(part).map(TemplateValue.integer) ?? .string(String(part))
                    : .string(String(part))
            }
        } else {
            throw .failed("an attribute is named by a text, not by a value of kind '\(value.typeName)'")
        }
    }

    func value(of element: TemplateValue) throws(TemplateFault) -> TemplateValue {
        var value = element
        for part in parts { value = try value.item(part) }
        return value
    }
}

// MARK: what is chosen of a list

extension TemplateFilter {
    fileprivate static let selections: [TemplateFilter] = [
        TemplateFilter("map", nil) { (value, arguments) throws(TemplateFault) in try mapped(value, arguments) },
        TemplateFilter("select", nil) { (value, arguments) throws(TemplateFault) in
            try chosen(value, arguments, byAttribute: false, wanted: true)
        },
        TemplateFilter("reject", nil) { (value, arguments) throws(TemplateFault) in
            try chosen(value, arguments, byAttribute: false, wanted: false)
        },
        TemplateFilter("selectattr", nil) { (value, arguments) throws(TemplateFault) in
            try chosen(value, arguments, byAttribute: true, wanted: true)
        },
        TemplateFilter("rejectattr", nil) { (value, arguments) throws(TemplateFault) in
            try chosen(value, arguments, byAttribute: true, wanted: false)
        },
    ]

    private static func mapped(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFault)
        -> TemplateValue
    {
        var results: [TemplateValue] = []
        if arguments.positional.isEmpty {
            try arguments.require(["attribute", "default"], of: "the filter 'map'")
            guard let name = arguments.value(0, "attribute") else {
                throw .failed("the filter 'map' takes a filter's name or an attribute")
            }
            let path = try AttributePath(name), fallback = arguments.value(1, "default")
            for element in try value.elements() {
                let found = try path.value(of: element)
                results.append(found.isUndefined ? fallback ?? found : found)
            }
        } else {
            let name = try arguments.text(0, "", of: "map") ?? ""
            guard let filter = named(name) else { throw .unsupported("the filter '\(name)'") }
            let rest = arguments.dropping(1)
            for element in try value.elements() { results.append(try filter.apply(element, rest)) }
        }
        return .iterator(TemplateIterator(results))
    }

    private static func chosen(
        _ value: TemplateValue, _ arguments: CallArguments, byAttribute: Bool, wanted: Bool
    ) throws(TemplateFault) -> TemplateValue {
        var rest = arguments, path: AttributePath?
        if byAttribute {
            guard let name = arguments.positional.first else { throw .failed("an attribute to choose by is missing") }
            (path, rest) = (try AttributePath(name), arguments.dropping(1))
        }
        var test: TemplateTest?
        if !rest.positional.isEmpty {
            let name = try rest.text(0, "", of: "select") ?? ""
            test = TemplateTest.named(name)
            guard test != nil else { throw .unsupported("the test '\(name)'") }
        }
        let given = rest.dropping(1)
        var kept: [TemplateValue] = []
        for element in try value.elements() {
            let subject = try path?.value(of: element) ?? element
            if try test?.holds(subject, given) ?? subject.isTrue == wanted { kept.append(element) }
        }
        return .iterator(TemplateIterator(kept))
    }
}

// MARK: others

extension TemplateFilter {
    fileprivate static let others: [TemplateFilter] = [
        TemplateFilter("default", ["default_value", "boolean"]) { (value, arguments) throws(TemplateFault) in
            let isMissing = value.isUndefined || arguments.flag(1, "boolean") ?? false && !value.isTrue
            return isMissing ? arguments.value(0, "default_value") ?? .string("") : value
        },
        TemplateFilter("tojson", ["ensure_ascii", "indent", "separators", "sort_keys"]) {
            (value, arguments) throws(TemplateFault) in
            .string(try json(arguments).text(value))
        },
        TemplateFilter("abs") { (value, _) throws(TemplateFault) in
            if let whole = value.integer {
                guard whole != .min else { throw .failed("a whole number beyond 64 bits") }
                return .integer(abs(whole))
            }
            guard let number = value.number else { throw .failed("'\(value.typeName)' has no absolute value") }
            return .float(abs(number))
        },
        TemplateFilter("int", ["default"]) { (value, arguments) throws(TemplateFault) in
            if let whole = value.integer { return .integer(whole) }
            let text = value.text.map { PythonString.strip($0, nil, .both) }
            if let whole = text.flatMap({ Int($0) }) { return .integer(whole) }
            let number = value.number ?? text.flatMap { Double($0) }
            return number.flatMap { Int(exactly: $0.rounded(.towardZero)) }.map { .integer($0) }
                ?? arguments.value(0, "default") ?? .integer(0)
        },
        TemplateFilter("float", ["default"]) { (value, arguments) throws(TemplateFault) in
            let text = value.text.map { PythonString.strip($0, nil, .both) }
            return (value.number ?? text.flatMap { Double($0) }).map { .float($0) } ?? arguments.value(0, "default")
                ?? .float(0)
        },
    ]

    private static func json(_ arguments: CallArguments) throws(TemplateFault) -> PythonJSON {
        let indent = try margin(arguments.value(1, "indent") ?? .none)
        var json = PythonJSON(indent: indent, itemSeparator: indent == nil ? ", " : ",", keySeparator: ": ")
        json.isASCII = arguments.flag(0, "ensure_ascii") ?? false
        json.sortsKeys = arguments.flag(3, "sort_keys") ?? false
        if let separators = arguments.value(2, "separators"), !separators.isNone {
            let pair = try separators.elements().compactMap(\.text)
            guard pair.count == 2, separators.count == 2 else {
                throw .failed("the separators of 'tojson' are two texts")
            }
            (json.itemSeparator, json.keySeparator) = (pair[0], pair[1])
        }
        return json
    }
}
