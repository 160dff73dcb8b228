/// What stands in a call's brackets, evaluated.
struct CallArguments {
    var positional: [TemplateValue] = []
    var named: [(name: String, value: TemplateValue)] = []

    /// By place or by name; nil where it isn't given.
    func value(_ place: Int, _ name: String) -> TemplateValue? {
        positional.indices.contains(place) ? positional[place] : named.last { $0.name == name }?.value
    }

    /// Throws where there are more of them, or others, than `names`; an empty name can't be called by.
    func require(_ names: [String], of what: String) throws(TemplateFault) {
        if positional.count > names.count {
            throw .failed("\(what) takes \(names.count) arguments, not \(positional.count)")
        }
        if let odd = named.first(where: { !names.contains($0.name) }) {
            throw .unsupported("the argument '\(odd.name)' of \(what)")
        }
        if let twice = named.first(where: { names.firstIndex(of: $0.name).map { $0 < positional.count } ?? false }) {
            throw .failed("\(what) is given '\(twice.name)' twice")
        }
    }

    func text(_ place: Int, _ name: String, of what: String) throws(TemplateFault) -> String? {
        guard let value = value(place, name), !value.isNone else { return nil }
        guard let text = value.text else {
            throw .failed("\(what) takes a text for '\(name)', not a value of kind '\(value.typeName)'")
        }
        return text
    }

    func integer(_ place: Int, _ name: String, of what: String) throws(TemplateFault) -> Int? {
        guard let value = value(place, name), !value.isNone else { return nil }
        guard let number = value.integer else {
            throw .failed("\(what) takes a whole number for '\(name)', not a value of kind '\(value.typeName)'")
        }
        return number
    }

    func flag(_ place: Int, _ name: String) -> Bool? { value(place, name)?.isTrue }

    /// Without its first one.
    func dropping(_ count: Int) -> CallArguments {
        CallArguments(positional: Array(positional.dropFirst(count)), named: named)
    }
}

/// Sizes that no chat reaches and that a hostile template must not pass.
enum TemplateBounds {
    /// Bytes of a text on its way, and of the whole output.
    static let text = 64 << 20
    /// Evaluated expressions and executed statements.
    static let steps = 20_000_000
    /// Calls of macros, brackets and blocks within each other. A frame of an unoptimised build is several hundred bytes.
    static let depth = 400
    /// Elements of a list, and of what it holds.
    static let elements = 1_000_000
    /// As Jinja's sandbox has it.
    static let range = 100_000
    static let indent = 64

    static func require(text bytes: Int, times count: Int = 1) throws(TemplateFault) {
        let (whole, isBeyond) = bytes.multipliedReportingOverflow(by: count)
        if isBeyond || whole > text { throw .bound("a text of more than \(text >> 20) MiB") }
    }
}
