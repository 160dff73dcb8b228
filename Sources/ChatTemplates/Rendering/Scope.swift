/// Names and what they stand for. A loop's body, a macro's and a generation's each have their own: what is set there
/// doesn't leave them.
final class Scope {
    private var values: [String: TemplateValue] = [:]
    private let outer: Scope?

    init(_ outer: Scope?) { self.outer = outer }

    func set(_ name: String, _ value: TemplateValue) { values[name] = value }

    func value(_ name: String) -> TemplateValue? {
        var scope: Scope? = self
        while let current = scope {
            if let value = current.values[name] { return value }
            scope = current.outer
        }
        return nil
    }
}

/// `loop`: where a loop stands. Elements are asked for one by one, because a filter may depend on what earlier rounds
/// have set.
final class LoopState {
    private let next: () throws -> TemplateValue?
    private var before: TemplateValue?
    private var current: TemplateValue?
    private var behind: [TemplateValue] = []
    private var isDone = false
    private(set) var index0 = -1

    init(_ next: @escaping () throws -> TemplateValue?) { self.next = next }

    /// The next element, whose round begins.
    func advance() throws -> TemplateValue? {
        let found = behind.isEmpty ? try pull() : behind.removeFirst()
        guard let found else { return nil }
        (before, current) = (current, found)
        index0 += 1
        return found
    }

    private func pull() throws -> TemplateValue? {
        if isDone { return nil }
        let found = try next()
        isDone = found == nil
        return found
    }

    private func peek() throws -> TemplateValue? {
        if behind.isEmpty, let found = try pull() { behind.append(found) }
        return behind.first
    }

    private func length() throws -> Int {
        while let found = try pull() { behind.append(found) }
        return index0 + 1 + behind.count
    }

    func attribute(_ name: String) throws(TemplateFault) -> TemplateValue {
        do { return try looked(name) } catch let error as TemplateFault { throw error } catch let error as TemplateError
        {
            throw TemplateFault(reason: error.reason)
        } catch { throw .failed("\(error)") }
    }

    private func looked(_ name: String) throws -> TemplateValue {
        switch name {
        case "index": .integer(index0 + 1)
        case "index0": .integer(index0)
        case "first": .bool(index0 == 0)
        case "last": .bool(try peek() == nil)
        case "length": .integer(try length())
        case "revindex": .integer(try length() - index0)
        case "revindex0": .integer(try length() - index0 - 1)
        case "previtem": index0 == 0 ? .undefined("there is no previous item") : before ?? .undefined("")
        case "nextitem": try peek() ?? .undefined("there is no next item")
        case "depth": .integer(1)
        case "depth0": .integer(0)
        case "cycle", "changed": throw TemplateFault.unsupported("'loop.\(name)'")
        default: .undefined("'LoopContext' has no attribute '\(name)'")
        }
    }
}
