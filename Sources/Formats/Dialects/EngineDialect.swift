/// A way of writing requests as JSON lines, and the dialect in which their results come back. A newcomer: one file, one
/// line in the registry.
package protocol EngineDialect: Sendable {
    static var name: String { get }
    /// Whether a prefix travels as text, so that it must be whole UTF-8 and may come back tokenised differently.
    static var sendsText: Bool { get }
    static func line(_ request: EngineRequest) -> [String: Any]
    /// nil where the object is no request of this dialect.
    static func request(_ object: [String: Any]) -> EngineRequest?
    /// How results are written.
    static var results: any DumpDialect.Type { get }
}
