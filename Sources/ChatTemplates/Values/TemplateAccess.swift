/// `a.b`, `a['b']`, `a[1:2]`, as Jinja looks them up.
extension TemplateValue {
    /// `a.b`: a method first, then an item of that name.
    func attribute(_ name: String) throws(TemplateFault) -> TemplateValue {
        switch self {
        case .undefined(let words): throw .failed(words)
        case .namespace(let space): return space.values[name] ?? missing(name)
        case .loop(let loop): return try loop.attribute(name)
        case .mapping, .string, .marked, .list:
            if let method = try TemplateMethod.named(name, of: self) { return .method(method, of: [self]) }
        default: break
        }
        return try key(.string(name)) ?? missing(name)
    }

    /// `a[b]`: an item first, then, for a text, what has that name.
    func item(_ key: TemplateValue) throws(TemplateFault) -> TemplateValue {
        if case .undefined(let words) = self { throw .failed(words) }
        if case .undefined(let words) = key {
            // Python asks with the undefined value itself, which is no key of anything.
            if case .mapping = self { return .undefined(words) }
        }
        if let found = try self.key(key) { return found }
        guard let name = key.text else { return .undefined("there is no item \(try key.represented())") }
        if case .mapping = self, let method = try TemplateMethod.named(name, of: self) {
            return .method(method, of: [self])
        }
        if case .mapping = self { return missing(name) }
        return try attribute(name)
    }

    private func missing(_ name: String) -> TemplateValue {
        .undefined(isNone ? "'None' has no attribute '\(name)'" : "'\(typeName)' has no attribute '\(name)'")
    }

    private func key(_ key: TemplateValue) throws(TemplateFault) -> TemplateValue? {
        switch self {
        case .mapping(let mapping):
            switch key {
            case .list, .mapping, .undefined: return nil
            default: return try mapping.value(key)
            }
        case .list(let values), .tuple(let values):
            return key.integer.flatMap { Self.place($0, values.count) }.map { values[$0] }
        case .view(let values, "range"):
            return key.integer.flatMap { Self.place($0, values.count) }.map { values[$0] }
        case .string(let text), .marked(let text):
            guard let index = key.integer else { return nil }
            let scalars = PythonString.scalars(text)
            return Self.place(index, scalars.count).map { .string(String(scalars[$0])) }
        default: return nil
        }
    }

    /// A negative index goes from the end.
    private static func place(_ index: Int, _ count: Int) -> Int? {
        let place = index < 0 ? index + count : index
        return (0..<count).contains(place) ? place : nil
    }

    func slice(_ from: Int?, _ to: Int?, _ step: Int?) throws(TemplateFault) -> TemplateValue {
        guard step != 0 else { throw .failed("a slice with a step of 0") }
        switch self {
        case .undefined(let words): throw .failed(words)
        case .list(let values): return .list(Self.places(values.count, from, to, step ?? 1).map { values[$0] })
        case .tuple(let values): return .tuple(Self.places(values.count, from, to, step ?? 1).map { values[$0] })
        case .view(let values, "range"):
            return .list(Self.places(values.count, from, to, step ?? 1).map { values[$0] })
        case .string(let text), .marked(let text):
            let scalars = PythonString.scalars(text)
            return .string(PythonString.text(Self.places(scalars.count, from, to, step ?? 1).map { scalars[$0] }))
        // Jinja finds no item there, as with any other index.
        case .mapping, .none, .bool, .integer, .float: return .undefined("'\(typeName)' has no slices")
        default: throw .failed("a value of kind '\(typeName)' has no slices")
        }
    }

    /// Python's `slice.indices`.
    private static func places(_ count: Int, _ from: Int?, _ to: Int?, _ step: Int) -> [Int] {
        let isForward = step > 0, low = isForward ? 0 : -1, high = isForward ? count : count - 1
        func bound(_ given: Int?, _ fallback: Int) -> Int {
            guard let given else { return fallback }
            return given < 0 ? max(low, given < -count ? low : given + count) : min(high, given)
        }
        let start = bound(from, isForward ? 0 : count - 1), end = bound(to, isForward ? count : -1)
        // Steps longer than the list need not be exact.
        let bounded = max(-count - 1, min(count + 1, step))
        return Array(stride(from: start, to: end, by: bounded))
    }
}
