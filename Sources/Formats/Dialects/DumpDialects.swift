import Foundation

/// The dialects that `crux-ingest` reads, tried one after the other on each line.
package enum DumpDialects {
    /// Sorted by name; no line is of two. A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any DumpDialect.Type] = [
        ARealDump.self, ATIFDump.self, MessagesDump.self, MSSwiftDump.self, NeMoRLDump.self, OpenInstructDump.self,
        OpenAIDump.self, OpenAIResponsesDump.self, PrimeRLDump.self, ROLLDump.self, SGLangDump.self, TRLDump.self,
        TurnsDump.self, VerlDump.self,
    ]
    package static var names: [String] { all.map { $0.name } }

    /// `dialects`: those to try.
    package static func decode(
        _ line: Data, as dialects: [any DumpDialect.Type] = all, in context: LineContext = LineContext()
    ) -> DumpedLine {
        if let found = TransposedLine.decode(line, as: dialects, in: context) { return found }
        let json = JSONLine(line)
        guard !json.objects.isEmpty else {
            return .damaged(id: name(json.object), expected: json.damage?.description ?? "")
        }
        var rollouts: [DumpedRollout] = []
        for object in json.objects {
            guard let found = Self.rollouts(object, as: dialects, in: context) else {
                return .unknown(id: name(object))
            }
            rollouts += found
        }
        for place in rollouts.indices { rollouts[place].remark(brokenTexts: json.brokenTexts, tooDeep: json.tooDeep) }
        return .rollouts(rollouts)
    }

    /// By the first dialect that knows the object.
    static func rollouts(
        _ object: JSONObject, as dialects: [any DumpDialect.Type], in context: LineContext
    ) -> [DumpedRollout]? {
        dialects.lazy.compactMap { $0.rollouts(object, in: context) }.first
    }

    /// By which a line that can't be read may be known.
    private static func name(_ object: JSONObject?) -> String? {
        guard let object else { return nil }
        return ["custom_id", "rid", "rollout_id", "uid", "id"].lazy.compactMap { object[$0]?.identifier }.first
            ?? object["meta_info"]?.object?["id"]?.identifier
    }
}
