import Files
import Foundation

/// The path from the root, without dots.
func absolutePath(_ path: String) -> String { URL(fileURLWithPath: path).standardizedFileURL.path }

/// Paths in a sentence: the first few, and how many there are more.
func fewPaths(_ paths: [String]) -> String {
    let shown = paths.prefix(shownPaths), more = paths.count - shown.count
    return shown.joined(separator: ", ") + (more > 0 ? " and \(more) more" : "")
}

private let shownPaths = 3

/// Results or rollouts as JSON lines.
func isLines(_ path: String) -> Bool { path.hasSuffix(".jsonl") || path.hasSuffix(".json") }

/// Files as given, folders as their *.rollouts.zst, else their JSON lines, sorted by name; each file once.
func findShards(_ inputs: [String]) throws -> [String] {
    var found: [String] = [], seen = Set<String>()
    for input in inputs {
        for path in try expand(input) where seen.insert(absolutePath(path)).inserted { found.append(path) }
    }
    return found
}

private func expand(_ input: String) throws -> [String] {
    // A file that is not there counts as a shard that fails when its turn comes: the others need not wait for it. A
    // folder's files aren't known before it is there, and the output is made from a fixed list of them.
    guard try fileExists(input) || input.hasSuffix(".rollouts.zst") || isLines(input) else {
        throw FormatError(
            file: input, place: "", found: "no such file or folder",
            expected: "rollout shards, JSON lines, or a folder of them",
            remedy: "Check --input; once it is there, run the same command again.")
    }
    guard try Folder.isFolder(input) else { return [input] }
    let all = try Folder.names(input)
    let shards = all.filter { $0.hasSuffix(".rollouts.zst") }, names = shards.isEmpty ? all.filter(isLines) : shards
    guard !names.isEmpty else {
        for name in all where name.hasSuffix(".parquet") || name.hasSuffix(".pt") {
            try ForeignFile.refuse(input + "/" + name)
        }
        throw FormatError(
            file: input, place: "", found: "no *.rollouts.zst and no *.jsonl",
            expected: "at least one rollout shard or file of JSON lines", remedy: "Check --input.")
    }
    return names.map { input + (input.hasSuffix("/") ? "" : "/") + $0 }
}
