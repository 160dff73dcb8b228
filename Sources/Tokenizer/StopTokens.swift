import Foundation

/// Tokens that end a rollout: `eos_token_id` of a checkpoint's generation_config.json, else of its config.json; one id or a
/// list. nil where neither says.
package enum StopTokens {
    package static func read(_ directory: String) -> Set<Int32>? {
        ["generation_config.json", "config.json"].lazy.compactMap { ids(directory + "/" + $0) }.first
    }

    private static func ids(_ path: String) -> Set<Int32>? {
        guard let data = FileManager.default.contents(atPath: path), let object = (try? JSONSerialization.jsonObject(with: data)) as? [String: Any] else { return nil }
        if let list = object["eos_token_id"] as? [NSNumber] { return Set(list.map(\.int32Value)) }
        return (object["eos_token_id"] as? NSNumber).map { [$0.int32Value] }
    }
}
