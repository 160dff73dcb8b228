import Foundation
import Yams

/// A recipe as a tree of plain values, whether it was written as YAML or resolved as JSON.
indirect enum RecipeNode: Equatable {
    case null
    case bool(Bool)
    case int(Int)
    case double(Double)
    case string(String)
    case list([RecipeNode])
    case map([String: RecipeNode])

    init(yaml: String, file: String) throws {
        do {
            self = try RecipeNode(value: try Yams.load(yaml: yaml))
        } catch let error as YamlError { throw RecipeError(file: file, problems: ["not valid YAML: \(error)"]) }
    }

    private init(value: Any?) throws {
        switch value {
        case nil, is NSNull: self = .null
        case let value as Bool: self = .bool(value)
        case let value as Int: self = .int(value)
        case let value as Double: self = .double(value)
        case let value as String: self = Self.number(value) ?? .string(value)
        case let value as [Any]: self = .list(try value.map { try RecipeNode(value: $0) })
        case let value as [String: Any]: self = .map(try value.mapValues { try RecipeNode(value: $0) })
        default: self = .string("\(value!)")
        }
    }

    /// YAML 1.1 reads 1e-6, without a point, as text; people mean the number.
    private static func number(_ text: String) -> RecipeNode? {
        guard let first = text.first, "+-.0123456789".contains(first), let value = Double(text), value.isFinite else { return nil }
        return .double(value)
    }

    /// This tree with "a.b=value" laid over it. A bare word where a section is needed is its type.
    func setting(_ text: String, file: String) throws -> RecipeNode {
        let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
        guard parts.count == 2 else { throw RecipeError(file: "--set \(text)", problems: ["found no '=', expected section.key=value"]) }
        return replacing(parts[0].split(separator: ".").map(String.init)[...], with: try RecipeNode(yaml: parts[1], file: "--set \(text)"))
    }

    func replacing(_ path: ArraySlice<String>, with value: RecipeNode) -> RecipeNode {
        guard let key = path.first else { return value }
        var map: [String: RecipeNode] = [:]
        if case .map(let existing) = self { map = existing } else if case .string = self { map = ["type": self] }
        map[key] = (map[key] ?? .null).replacing(path.dropFirst(), with: value)
        return .map(map)
    }

    /// As YAML's flow style has it.
    var written: String {
        switch self {
        case .string(let value): value.contains("\n") ? "\"\(value.replacingOccurrences(of: "\n", with: "\\n"))\"" : value
        case .list(let list): "[\(list.map(\.written).joined(separator: ", "))]"
        case .map(let map): "{\(map.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value.written)" }.joined(separator: ", "))}"
        default: description
        }
    }

    var description: String {
        switch self {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .int(let value): "\(value)"
        case .double(let value): "\(value)"
        case .string(let value): "'\(value)'"
        case .list: "a list"
        case .map: "a section"
        }
    }
}

extension RecipeNode: Codable {
    init(from decoder: any Decoder) throws {
        if let container = try? decoder.container(keyedBy: Key.self) {
            self = .map(try Dictionary(uniqueKeysWithValues: container.allKeys.map { ($0.stringValue, try container.decode(RecipeNode.self, forKey: $0)) }))
            return
        }
        if var container = try? decoder.unkeyedContainer() {
            var list: [RecipeNode] = []
            while !container.isAtEnd { list.append(try container.decode(RecipeNode.self)) }
            self = .list(list)
            return
        }
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int.self) {
            self = .int(value)
        } else if let value = try? container.decode(Double.self) {
            self = .double(value)
        } else {
            self = .string(try container.decode(String.self))
        }
    }

    func encode(to encoder: any Encoder) throws {
        switch self {
        case .map(let map):
            var container = encoder.container(keyedBy: Key.self)
            for (key, value) in map { try container.encode(value, forKey: Key(stringValue: key)) }
        case .list(let list):
            var container = encoder.unkeyedContainer()
            for value in list { try container.encode(value) }
        default:
            var container = encoder.singleValueContainer()
            switch self {
            case .bool(let value): try container.encode(value)
            case .int(let value): try container.encode(value)
            case .double(let value): try container.encode(value)
            case .string(let value): try container.encode(value)
            default: try container.encodeNil()
            }
        }
    }

    private struct Key: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }
}

/// Everything that is wrong with a recipe, all at once.
package struct RecipeError: Error, Equatable, CustomStringConvertible {
    package let file: String
    package let problems: [String]

    package var description: String { "\(file): " + problems.joined(separator: "; ") }
}
