import Foundation

/// The dialects that `crux-ingest` reads, tried one after the other on each line.
package enum DumpDialects {
    /// Sorted by name; no line is of two. A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any DumpDialect.Type] = [
        MessagesDump.self, OpenAIDump.self, PrimeRLDump.self, SGLangDump.self, VerlDump.self,
    ]
    package static var names: [String] { all.map { $0.name } }

    /// `dialects`: those to try.
    package static func decode(
        _ line: Data, as dialects: [any DumpDialect.Type] = all, asked: @escaping RequestLookup = { _ in nil }
    ) -> DumpedLine {
        let json = JSONLine(line)
        guard !json.objects.isEmpty else {
            return .damaged(id: name(json.object), expected: json.damage?.description ?? "")
        }
        var rollouts: [DumpedRollout] = []
        for object in json.objects {
            guard let found = dialects.lazy.compactMap({ $0.rollouts(object, asked: asked) }).first else {
                return .unknown(id: name(object))
            }
            rollouts += found
        }
        for place in rollouts.indices {
            if json.brokenTexts > 0 { rollouts[place].remarks.insert(.brokenText) }
            if json.tooDeep > 0 { rollouts[place].remarks.insert(.nestingCut) }
        }
        return .rollouts(rollouts)
    }

    /// By which a line that can't be read may be known.
    private static func name(_ object: JSONObject?) -> String? {
        guard let object else { return nil }
        return ["custom_id", "rid", "rollout_id", "uid", "id"].lazy.compactMap { object[$0]?.identifier }.first
            ?? object["meta_info"]?.object?["id"]?.identifier
    }
}
