/// What a function may know beside its arguments.
struct FunctionContext {
    /// What `strftime_now` takes for now; nil refuses it.
    let date: TemplateDate?
}

/// `name(arguments)`.
struct TemplateFunction: Sendable {
    typealias Body = @Sendable (CallArguments, FunctionContext) throws(TemplateFault) -> TemplateValue

    let name: String
    private let body: Body

    private init(_ name: String, _ body: @escaping Body) { (self.name, self.body) = (name, body) }

    func call(_ arguments: CallArguments, _ context: FunctionContext) throws(TemplateFault) -> TemplateValue {
        try body(arguments, context)
    }

    /// A newcomer: one line here.
    static let all: [TemplateFunction] = [
        TemplateFunction("raise_exception") { (arguments, _) throws(TemplateFault) in
            try arguments.require(["message"], of: "'raise_exception'")
            throw TemplateFault(reason: .raised(try arguments.value(0, "message")?.printed() ?? ""))
        },
        TemplateFunction("namespace") { (arguments, _) throws(TemplateFault) in
            let space = TemplateNamespace()
            for entry in try dictionary(arguments, of: "'namespace'").entries {
                try space.set(entry.key.text ?? "", entry.value)
            }
            return .namespace(space)
        },
        TemplateFunction("dict") { (arguments, _) throws(TemplateFault) in
            .mapping(try dictionary(arguments, of: "'dict'"))
        },
        TemplateFunction("range") { (arguments, _) throws(TemplateFault) in try range(arguments) },
        TemplateFunction("strftime_now") { (arguments, context) throws(TemplateFault) in
            try arguments.require(["format"], of: "'strftime_now'")
            guard let format = try arguments.text(0, "format", of: "'strftime_now'") else {
                throw .failed("'strftime_now' takes a format")
            }
            guard let date = context.date else { throw .failed("'strftime_now' needs a date (--date YYYY-MM-DD)") }
            return .string(try date.formatted(format))
        },
    ]

    static let byName: [String: TemplateFunction] = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })
    /// Functions of Jinja that no chat template uses.
    static let unknown: Set<String> = ["cycler", "joiner", "lipsum"]

    /// One dict, or pairs, and names behind it.
    private static func dictionary(_ arguments: CallArguments, of what: String) throws(TemplateFault) -> TemplateMapping
    {
        var result = TemplateMapping()
        if arguments.positional.count > 1 { throw .failed("\(what) takes one dict, and names") }
        if let first = arguments.positional.first {
            if case .mapping(let mapping) = first {
                result = mapping
            } else {
                for pair in try first.elements() {
                    let parts = try pair.elements()
                    guard parts.count == 2 else { throw .failed("\(what) takes pairs") }
                    try result.set(parts[0], parts[1])
                }
            }
        }
        for (name, value) in arguments.named { result.set(name, value) }
        return result
    }

    private static func range(_ arguments: CallArguments) throws(TemplateFault) -> TemplateValue {
        try arguments.require(["", "", ""], of: "'range'")
        var numbers: [Int] = []
        for value in arguments.positional {
            guard let number = value.integer else {
                throw .failed("'range' takes whole numbers, not a value of kind '\(value.typeName)'")
            }
            numbers.append(number)
        }
        guard !numbers.isEmpty else { throw .failed("'range' takes a whole number") }
        let from = numbers.count > 1 ? numbers[0] : 0, to = numbers.count > 1 ? numbers[1] : numbers[0]
        let step = numbers.count > 2 ? numbers[2] : 1
        guard step != 0 else { throw .failed("'range' with a step of 0") }
        let (distance, isBeyond) = to.subtractingReportingOverflow(from)
        guard !isBeyond, distance.magnitude / step.magnitude < UInt(TemplateBounds.range) else {
            throw .bound("a range of more than \(TemplateBounds.range) numbers")
        }
        return .view(stride(from: from, to: to, by: step).map { .integer($0) }, name: "range")
    }
}

extension TemplateNamespace {
    /// transformers lets no name begin with an underscore.
    func set(_ name: String, _ value: TemplateValue) throws(TemplateFault) {
        guard !name.hasPrefix("_") else {
            throw .failed("a namespace takes no name with an underscore first, '\(name)'")
        }
        values[name] = value
    }
}
