import Files
import Formats
import Foundation

/// Tokens that end a rollout: `eos_token_id` of a checkpoint's generation_config.json, else of its config.json; one id
/// or a list. nil where neither says. A file that is there and can't be read is an error: without it a rollout would
/// end elsewhere.
package enum StopTokens {
    private static let names = ["generation_config.json", "config.json"]

    package static func read(_ directory: String) throws -> Set<Int32>? {
        for path in try paths(directory) { if let ids = try ids(path) { return ids } }
        return nil
    }

    /// The files it depends on, for manifests.
    package static func inputPaths(_ directory: String) throws -> [String] { try paths(directory) }

    private static func paths(_ directory: String) throws -> [String] {
        try names.map { directory + "/" + $0 }.filter(fileExists)
    }

    private static func ids(_ path: String) throws -> Set<Int32>? {
        let root = TokenizerNode(file: path, place: "", value: try JSONValue(file: path, expected: "a JSON object"))
        guard root.object != nil else { throw root.error(expected: "a JSON object") }
        let node = root["eos_token_id"]
        guard !node.isNull else { return nil }
        if let id = node.tokenID { return [id] }
        let list = node.list, ids = list.compactMap(\.tokenID)
        guard !ids.isEmpty, ids.count == list.count else {
            throw node.error(expected: "a token id, or a list of token ids")
        }
        return Set(ids)
    }
}
