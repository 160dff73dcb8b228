import Foundation

/// Reads sections of a recipe strictly: a section's keys are the properties of the struct that uses it, what is left out
/// takes that struct's defaults, and every problem is collected rather than thrown.
struct SectionReader {
    private(set) var problems: [String] = []

    mutating func report(_ problem: String) { problems.append(problem) }

    /// `node`'s keys overlaid on `T`'s defaults. `ignoring`: keys that someone else reads.
    mutating func read<T: Codable>(_ type: T.Type, defaults: T, _ node: RecipeNode?, at path: String, ignoring: Set<String> = []) -> T {
        guard let node, node != .null else { return defaults }
        guard case .map(let given) = node else {
            report("\(path) is \(node.description); expected a section")
            return defaults
        }
        var values = Self.resolved(defaults)
        for (key, value) in given.sorted(by: { $0.key < $1.key }) where !ignoring.contains(key) {
            guard values[key] != nil else {
                report("unknown key \(path.isEmpty ? "" : path + ".")\(key); known: \((Array(values.keys) + ignoring).sorted().joined(separator: ", "))")
                continue
            }
            values[key] = value
        }
        return decode(values, defaults, at: path)
    }

    private mutating func decode<T: Codable>(_ values: [String: RecipeNode], _ defaults: T, at path: String) -> T {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        do { return try decoder.decode(T.self, from: try JSONEncoder().encode(RecipeNode.map(values))) } catch let error as DecodingError {
            report(Self.explain(error, values, at: path))
        } catch { report("\(path): \(error)") }
        return defaults
    }

    private static func explain(_ error: DecodingError, _ values: [String: RecipeNode], at path: String) -> String {
        func place(_ context: DecodingError.Context) -> (name: String, found: String) {
            let key = context.codingPath.first.map { snakeCase($0.stringValue) } ?? ""
            return ((path.isEmpty ? "" : path + ".") + key, values[key]?.description ?? "nothing")
        }
        switch error {
        case .typeMismatch(let type, let context), .valueNotFound(let type, let context):
            return "\(place(context).name) is \(place(context).found); expected \(word(for: type))"
        case .dataCorrupted(let context):
            let allowed = context.debugDescription.contains("expected") ? ": \(context.debugDescription)" : " (not one of the known values)"
            return "\(place(context).name) is \(place(context).found)\(allowed)"
        case .keyNotFound(let key, _): return "\(path).\(snakeCase(key.stringValue)) is missing"
        @unknown default: return "\(path): \(error)"
        }
    }

    private static func word(for type: Any.Type) -> String {
        if type == Int.self { return "a whole number" }
        if type == Double.self { return "a number" }
        if type == Bool.self { return "true or false" }
        return type == String.self ? "a word" : "\(type)"
    }

    /// Every property with its value; those that are nil as null.
    static func resolved<T: Encodable>(_ value: T) -> [String: RecipeNode] {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        var known = Dictionary(uniqueKeysWithValues: Mirror(reflecting: value).children.compactMap(\.label).map { (snakeCase($0), RecipeNode.null) })
        guard let data = try? encoder.encode(value), case .map(let map)? = try? JSONDecoder().decode(RecipeNode.self, from: data) else { return known }
        known.merge(map) { $1 }
        return known
    }

    static func snakeCase(_ name: String) -> String {
        name.reduce(into: "") { $0 += $1.isUppercase ? "_" + $1.lowercased() : String($1) }
    }
}
