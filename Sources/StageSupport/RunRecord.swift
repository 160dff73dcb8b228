import Files
import Formats
import Foundation

/// `run.json`, beside a manifest: how its directory came about. Times, hosts and places differ between equal runs, so
/// they stand apart from the manifest, whose digest depends on content alone; nothing that is compared, or that a later
/// stage reads, depends on them.
package struct RunRecord: Equatable, Sendable {
    package var stage: String
    package var version: String
    /// The directory as it lay then, absolute.
    package var place: String
    /// What the run read, as it lay then, absolute.
    package var reads: [String]
    /// The recipe's own name, of a run that follows one.
    package var recipe: String?
    /// Resolved recipes as JSON, by what the configuration calls them.
    package var recipes: [String: String]
    /// Every process that worked in the directory, the first one first.
    package var attempts: [RunAttempt]

    package static let name = "run.json"

    package init(
        stage: String, version: String = cruxVersion, place: String, reads: [String], recipes: [String: String],
        attempts: [RunAttempt]
    ) {
        (self.stage, self.version, self.place, self.reads) = (stage, version, place, reads)
        (self.recipes, self.attempts) = (recipes, attempts)
        recipe = recipes["recipe"].flatMap { JSONLine($0).whole?["name"]?.text }
    }

    /// nil where there is none.
    ///
    /// - Throws: `FormatError` where there is a file of that name that no stage has written.
    package static func read(_ directory: String) throws -> RunRecord? {
        let path = directory + "/" + name
        guard let data = try readFile(path) else { return nil }
        guard let record = RunRecord(data) else {
            throw FormatError(
                file: path, place: "", found: "something else than the record of a run",
                expected: "JSON as a stage writes it",
                remedy: "Remove it: the directory is whole without it, and only its times are lost.")
        }
        return record
    }

    /// The same; nil also where the file is no stage's.
    static func readable(_ directory: String) throws -> RunRecord? {
        do { return try read(directory) } catch is FormatError { return nil }
    }

    /// Whether a file of this name in the directory is one that stages have written, or there is none.
    static func isOwn(in directory: String) throws -> Bool {
        do {
            _ = try read(directory)
            return true
        } catch is FormatError { return false }
    }

    func encoded() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        let plain = PlainRecord(
            stage: stage, version: version, place: place, reads: reads, recipe: recipe, attempts: attempts)
        let text = String(decoding: try encoder.encode(plain), as: UTF8.self)
        // Recipes go in as they are: whoever reads the file finds their keys.
        let own = recipes.sorted { $0.key < $1.key }.map { "    \"\($0.key)\" : \(Self.oneLine($0.value))" }
        guard !own.isEmpty, let end = text.lastIndex(of: "}") else { return text + "\n" }
        return text[..<end].trimmingSuffix("\n") + ",\n  \"recipes\" : {\n\(own.joined(separator: ",\n"))\n  }\n}\n"
    }

    private static func oneLine(_ json: String) -> String { JSONLine(json).whole?.encoded ?? "{}" }

    private init?(_ data: Data) {
        guard let object = JSONLine(data).whole, let plain = try? JSONDecoder().decode(PlainRecord.self, from: data)
        else { return nil }
        let recipes = object["recipes"]?.object?.members.map { ($0.key, $0.value.encoded) } ?? []
        (stage, version, place, reads) = (plain.stage, plain.version, plain.place, plain.reads)
        (recipe, attempts) = (plain.recipe, plain.attempts)
        self.recipes = Dictionary(recipes) { first, _ in first }
    }
}

/// All of a record but its recipes, whose keys are theirs.
private struct PlainRecord: Codable {
    var stage: String
    var version: String
    var place: String
    var reads: [String]
    var recipe: String?
    var attempts: [RunAttempt]
}

extension Substring {
    fileprivate func trimmingSuffix(_ character: Character) -> Substring {
        last == character ? dropLast().trimmingSuffix(character) : self
    }
}
