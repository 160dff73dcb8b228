import Foundation

/// The dialects that `crux-plan --engine` may write jobs in.
package enum EngineDialects {
    /// Sorted by name. A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any EngineDialect.Type] = [ChatPrefill.self, OpenAICompletions.self, SGLangGenerate.self]
    package static var names: [String] { all.map { $0.name } }
    package static func named(_ name: String) -> (any EngineDialect.Type)? { all.first { $0.name == name } }

    /// One JSON line of a request.
    package static func encode(_ request: EngineRequest, as dialect: any EngineDialect.Type) throws -> String {
        let data = try JSONSerialization.data(
            withJSONObject: dialect.line(request), options: [.sortedKeys, .withoutEscapingSlashes])
        return String(decoding: data, as: UTF8.self) + "\n"
    }

    /// nil where the line is not a JSON object of any dialect.
    package static func decodeRequest(_ line: Data) -> EngineRequest? {
        object(line).flatMap { object in all.lazy.compactMap { $0.request(object) }.first }
    }
    /// Dialects that results may be in.
    package static let results: [any DumpDialect.Type] = [OpenAIDump.self, SGLangDump.self]

    private static func object(_ line: Data) -> [String: Any]? {
        (try? JSONSerialization.jsonObject(with: line)) as? [String: Any]
    }
}
