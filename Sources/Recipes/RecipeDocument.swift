import Files
import Foundation
import Yams

/// The text of a recipe, YAML as people write it or JSON as the tool does, read into a tree within bounds: a few lines
/// can stand for more than any memory holds.
struct RecipeDocument {
    let root: RecipeNode
    /// Line of each key, by its path.
    let lines: [String: Int]

    /// Bytes of a file: a hundred times the longest recipe.
    static let mostBytes = 1 << 18
    private static let mostNodes = 20_000
    private static let mostLevels = 16
    /// Each may stand for all that came before.
    private static let mostAliases = 12

    init(path: String) throws {
        func unreadable(_ reason: String) -> RecipeError { RecipeError(file: path, problems: [reason]) }
        guard let data = try readFile(path, upTo: Self.mostBytes + 1) else { throw unreadable("no such recipe") }
        guard data.count <= Self.mostBytes else {
            throw unreadable("found more than \(Self.mostBytes) bytes, expected a recipe of some dozen lines")
        }
        guard let text = String(validating: data, as: UTF8.self) else {
            throw unreadable("not UTF-8, which recipes are written in")
        }
        try self.init(yaml: text, file: path)
    }

    init(yaml: String, file: String) throws {
        func problem(_ text: String) -> RecipeError { RecipeError(file: file, problems: [text]) }
        guard yaml.utf8.count <= Self.mostBytes else {
            throw problem("found \(yaml.utf8.count) bytes, expected at most \(Self.mostBytes)")
        }
        guard Self.aliases(in: yaml) <= Self.mostAliases else {
            throw problem("found more than \(Self.mostAliases) aliases (*name), expected them written out")
        }
        var builder = Builder()
        do {
            root = try builder.node(Yams.compose(yaml: yaml, .basic) ?? Node(""), at: "", level: 0)
        } catch let error as YamlError {
            throw problem("not valid YAML: " + Self.text(error))
        } catch let error as Builder.Problem { throw problem(error.text) }
        lines = builder.lines
    }

    /// Of text that defines anchors, what looks like an alias: a parser that meets them compares what they stand for.
    private static func aliases(in yaml: String) -> Int {
        let bytes = Array(yaml.utf8)
        func marks(_ mark: UInt8) -> Int {
            bytes.indices.dropLast().count { place in
                bytes[place] == mark && bytes[place + 1] > 0x20
                    && (place == 0 || " \t\r\n[{,:-?".utf8.contains(bytes[place - 1]))
            }
        }
        return marks(UInt8(ascii: "&")) == 0 ? 0 : marks(UInt8(ascii: "*"))
    }

    /// One line, without the document.
    private static func text(_ error: YamlError) -> String {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            "line \(mark.line), column \(mark.column): \(problem)"
        case .duplicatedKeysInMapping(let keys, let context):
            "line \(context.mark.line): key \(keys.prefix(3).map { "'\(RecipeNode.cut($0))'" }.joined(separator: ", ")) stands there twice"
        case .reader(let problem, _, _, _), .writer(let problem), .emitter(let problem), .representer(let problem):
            problem
        case .memory: "too large"
        case .dataCouldNotBeDecoded, .no: "unreadable"
        }
    }

    /// Makes a tree of what the parser found.
    private struct Builder {
        struct Problem: Error { let text: String }

        private(set) var lines: [String: Int] = [:]
        private var nodes = 0

        mutating func node(_ node: Node, at path: String, level: Int) throws -> RecipeNode {
            nodes += 1
            guard nodes <= RecipeDocument.mostNodes else {
                throw Problem(
                    text:
                        "found more than \(RecipeDocument.mostNodes) entries with its aliases written out, expected some dozen"
                )
            }
            guard level <= RecipeDocument.mostLevels else {
                throw Problem(
                    text: "\(Self.place(node))found sections nested more than \(RecipeDocument.mostLevels) deep")
            }
            switch node {
            case .scalar(let scalar): return Self.scalar(scalar)
            case .sequence(let list):
                return .list(try list.map { try self.node($0, at: path, level: level + 1) })
            case .mapping(let mapping): return .map(try map(mapping, at: path, level: level))
            case .alias(let alias): throw Problem(text: "found an alias to nothing: *\(alias.anchor.rawValue)")
            }
        }

        private static func scalar(_ scalar: Node.Scalar) -> RecipeNode {
            guard scalar.style == .plain || scalar.style == .any else { return .text(scalar.string) }
            return RecipeScalar.isNull(scalar.string) ? .null : .plain(scalar.string)
        }

        private mutating func map(_ mapping: Node.Mapping, at path: String, level: Int) throws -> [String: RecipeNode] {
            var map: [String: RecipeNode] = [:], merged: [String: RecipeNode] = [:]
            for (key, value) in mapping {
                guard case .scalar(let name) = key else {
                    let found = if case .sequence = key { "a list" } else { "a section" }
                    throw Problem(
                        text:
                            "\(Self.place(key))found \(found) as a key, expected a word: is this a template whose {{…}} were not filled in?"
                    )
                }
                let place = path.isEmpty ? name.string : path + "." + name.string
                if let mark = name.mark { lines[place] = mark.line }
                let value = try node(value, at: place, level: level + 1)
                if name.string == "<<", name.style == .plain {
                    merged.merge(try Self.merge(value, key)) { own, _ in own }
                } else {
                    map[name.string] = value
                }
            }
            return map.merging(merged) { own, _ in own }
        }

        /// What a merge key brings: a section, or several of which the first one counts.
        private static func merge(_ value: RecipeNode, _ key: Node) throws -> [String: RecipeNode] {
            switch value {
            case .map(let map): return map
            case .list(let list): return try list.reduce(into: [:]) { $0.merge(try merge($1, key)) { own, _ in own } }
            default: throw Problem(text: "\(place(key))found \(value.description) to merge (<<), expected a section")
            }
        }

        private static func place(_ node: Node) -> String {
            node.mark.map { "line \($0.line), column \($0.column): " } ?? ""
        }
    }
}

extension RecipeNode {
    /// This tree with the value of "a.b=value" at a.b. Throws where `text` is none such.
    func setting(_ text: String) throws -> RecipeNode {
        let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
        let path = (parts.first ?? "").split(separator: ".").map(String.init)
        guard parts.count == 2, !path.isEmpty else {
            throw RecipeError(file: "--set \(text)", problems: ["found no '=', expected section.key=value"])
        }
        return replacing(path[...], with: try RecipeDocument(yaml: parts[1], file: "--set \(text)").root)
    }
}
