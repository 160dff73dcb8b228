import Files
import Formats
import Foundation
import StageSupport

/// `iteration-0007/`: the stage directories of one iteration, and its record when it is through.
struct Iteration {
    let number: Int
    private let folder: String
    private let root: String

    let name: String

    init(number: Int, root: String) {
        self.number = number
        self.root = root
        name = String(format: "iteration-%04d", number)
        folder = root + "/" + name
    }

    var before: Iteration { Iteration(number: number - 1, root: root) }

    func path(_ name: String) -> String { folder + "/" + name }

    func createFolder() throws { try Folder.create(folder) }

    /// What the loop's manifest lists of it.
    func listed() throws -> [String] {
        try Folder.names(folder).compactMap { name in
            if ["record.json", "prompts.jsonl"].contains(name) { return name }
            let manifest = name + "/" + Manifest.name
            return try fileStatus(path(manifest)) == nil ? nil : manifest
        }
    }

    func manifest(_ name: String, stage: String) throws -> Manifest { try Manifest.finished(path(name), stage: stage) }

    /// This iteration, or the last one before it that has an update of this name; nil where none has: a plan may find
    /// nothing to learn from, and the policy stays as it was.
    func trained(_ name: String = "update") throws -> Iteration? {
        try (0...max(0, number)).reversed().lazy.map { Iteration(number: $0, root: root) }.first {
            try fileExists($0.path(name + "/manifest.json"))
        }
    }

    /// The checkpoint that this iteration ended with.
    func lastStep(of name: String = "update") throws -> String { try StepFolders.last(in: path(name)).weights }

    func record() throws -> LoopRow? {
        guard let data = try readFile(path("record.json")) else { return nil }
        do { return try JSONDecoder().decode(LoopRow.self, from: data) } catch {
            throw FormatError(
                file: path("record.json"), place: "", found: "a damaged record",
                expected: "JSON as crux-loop writes it",
                remedy: "Remove the iteration's folder and run again.")
        }
    }

    func save(_ row: LoopRow) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        try AtomicFile.write(String(decoding: try encoder.encode(row), as: UTF8.self) + "\n", to: path("record.json"))
    }

    /// Everything but the record.
    func prune() throws {
        guard number >= 0, try Folder.isFolder(folder) else { return }
        for name in try Folder.names(folder) where name != "record.json" { try Folder.remove(path(name)) }
    }
}

/// Lines of a prompt file, dealt in order, round and round; in a later round group ids are told apart by it.
struct PromptLines {
    private let lines: [String]
    private let path: String

    init(_ path: String) throws {
        var lines: [String] = []
        try forEachLine(of: path) { lines.append(String(decoding: $1, as: UTF8.self)) }
        guard !lines.isEmpty else {
            throw FormatError(file: path, place: "", found: "no prompt", expected: "at least one JSON line")
        }
        (self.lines, self.path) = (lines, path)
    }

    func lines(from first: Int, count: Int) throws -> String {
        try (first..<first + count).map { try line($0) + "\n" }.joined()
    }

    private func line(_ place: Int) throws -> String {
        let line = lines[place % lines.count], round = place / lines.count
        guard round > 0 else { return line }
        guard let object = JSONLine(line).whole, let group = object["group_id"]?.identifier else {
            throw FormatError(
                file: path, place: "line \(place % lines.count + 1)", found: "no group_id",
                expected: "JSON with group_id and prompt")
        }
        let named = JSONObject.Member(key: "group_id", value: .string("\(group)~\(round)"))
        return JSONObject(object.members.filter { $0.key != "group_id" } + [named]).ordered
    }
}
