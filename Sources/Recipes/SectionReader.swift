import Foundation

/// Reads sections of a recipe strictly: a section's keys are the properties of the struct that uses it, what is left
/// out takes that struct's defaults, and every problem is collected rather than thrown.
struct SectionReader {
    private(set) var problems: [String] = []
    /// What stands in the recipe, without what a preset lays under it.
    private let recipe: RecipeNode

    init(_ recipe: RecipeNode) { self.recipe = recipe }

    mutating func report(_ problem: String) { problems.append(problem) }

    /// Whether the recipe itself has a key, such as "reward.overlong".
    func isWritten(_ path: String) -> Bool { recipe.written(at: path) != nil }

    /// `node`'s keys overlaid on `T`'s defaults. `ignoring`: keys that someone else reads. `unread`: keys that have no
    /// effect beside the section's others, with what stands against them: to write one down is a mistake.
    mutating func read<T: Codable>(
        _ type: T.Type, defaults: T, _ node: RecipeNode?, at path: String, ignoring: Set<String> = [],
        unread: (T) -> [String: String] = { _ in [:] }
    ) -> T {
        guard let node, node != .null else { return defaults }
        guard case .map(let given) = node else {
            report("\(path) is \(node.description); expected a section")
            return defaults
        }
        var values = Self.resolved(defaults)
        for (key, value) in given.sorted(by: { $0.key < $1.key }) where !ignoring.contains(key) {
            guard values[key] != nil else {
                let known = (Array(values.keys) + ignoring).sorted().joined(separator: ", ")
                report("unknown key \(path.isEmpty ? "" : path + ".")\(RecipeNode.cut(key)); known: \(known)")
                continue
            }
            values[key] = value
        }
        let section = decode(values, defaults, at: path)
        for (key, reason) in unread(section).sorted(by: { $0.key < $1.key }) where isWritten("\(path).\(key)") {
            report("\(path).\(key) has no effect: \(reason); expected it left out")
        }
        return section
    }

    private mutating func decode<T: Codable>(_ values: [String: RecipeNode], _ defaults: T, at path: String) -> T {
        do { return try T(from: NodeDecoder(.map(values))) } catch let mismatch as NodeDecoder.Mismatch {
            let key = mismatch.path.first.map { Self.snakeCase($0.stringValue) } ?? ""
            report("\(path).\(key) is \(mismatch.found); expected \(mismatch.expected)")
        } catch { report("\(path): \(error)") }
        return defaults
    }

    /// Every property with its value; those that are nil as null.
    static func resolved<T: Encodable>(_ value: T) -> [String: RecipeNode] {
        let encoder = JSONEncoder(), labels = Mirror(reflecting: value).children.compactMap(\.label)
        (encoder.keyEncodingStrategy, encoder.outputFormatting) = (.convertToSnakeCase, .withoutEscapingSlashes)
        var known = Dictionary(uniqueKeysWithValues: labels.map { (snakeCase($0), RecipeNode.null) })
        guard let data = try? encoder.encode(value) else { return known }
        // One reader for all, so that numbers keep their digits.
        guard case .map(let map)? = try? RecipeDocument(yaml: String(decoding: data, as: UTF8.self), file: "").root
        else { return known }
        known.merge(map) { $1 }
        return known
    }

    static func snakeCase(_ name: String) -> String {
        name.reduce(into: "") { $0 += $1.isUppercase ? "_" + $1.lowercased() : String($1) }
    }
}

extension SectionReader {
    /// A section that is off where it is absent or null.
    mutating func readOptional<T: Codable>(
        _ type: T.Type, _ defaults: T, _ node: RecipeNode?, at path: String,
        unread: (T) -> [String: String] = { _ in [:] }
    ) -> T? {
        node == nil || node == .null ? nil : read(type, defaults: defaults, node, at: path, unread: unread)
    }

    /// A section whose `type` names a member of a registry; a bare word is its type.
    mutating func readTyped<P>(
        _ node: RecipeNode?, _ known: [(name: String, defaults: P)], default fallback: String, at path: String,
        ignoring: Set<String> = [], unread: (P) -> [String: String]
    ) -> P {
        let (name, section) = typeName(node, default: fallback, at: path)
        guard let entry = known.first(where: { $0.name == name }) else {
            let names = known.map(\.name).sorted().joined(separator: ", ")
            report("unknown \(path) type '\(RecipeNode.cut(name))'; known: \(names)")
            return known.first { $0.name == fallback }!.defaults
        }
        guard let defaults = entry.defaults as? any Codable else { return entry.defaults }
        return readAny(defaults, section, at: path, ignoring: ignoring) { ($0 as? P).map(unread) ?? [:] } as? P
            ?? entry.defaults
    }

    private mutating func readAny<T: Codable>(
        _ defaults: T, _ node: RecipeNode?, at path: String, ignoring: Set<String>,
        unread: (any Codable) -> [String: String]
    ) -> any Codable {
        read(T.self, defaults: defaults, node, at: path, ignoring: ignoring.union(["type"])) { unread($0) }
    }

    mutating func typeName(_ node: RecipeNode?, default fallback: String, at path: String) -> (String, RecipeNode?) {
        switch node {
        case .plain(let name)?, .text(let name)?: return (name, nil)
        case .map(let map)?:
            if let name = map["type"]?.scalar { return (name, node) }
            if let type = map["type"] { report("\(path).type is \(type.description); expected a word") }
            return (fallback, node)
        default: return (fallback, node)
        }
    }
}
