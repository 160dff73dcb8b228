/// Another program's way of dumping rollouts as JSON lines.
package protocol DumpDialect: Sendable {
    static var name: String { get }
    static var source: String { get }
    /// The rollouts of a line, at least one; nil where it is none of this dialect.
    static func rollouts(_ object: JSONObject, in context: LineContext) -> [DumpedRollout]?
}

/// What a line is found to be.
package enum DumpedLine: Sendable {
    /// At least one.
    case rollouts([DumpedRollout])
    /// A whole object, but of no dialect.
    case unknown(id: String?)
    /// Not a whole JSON object. `id`: what stands in it before the damage.
    case damaged(id: String?, expected: String)
}
