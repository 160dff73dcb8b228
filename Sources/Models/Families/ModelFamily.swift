/// A family of models: how a `config.json` of its kind becomes the description that the shared decoder runs.
package protocol ModelFamily: Sendable {
    /// The `model_type` of config.json; several where they mean the same.
    static var modelTypes: [String] { get }
    /// Who they are, for a list.
    static var summary: String { get }
    /// Keys that it reads and that other families refuse.
    static var ownKeys: Set<String> { get }
    static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture
}

extension ModelFamily {
    package static var ownKeys: Set<String> { [] }
}
