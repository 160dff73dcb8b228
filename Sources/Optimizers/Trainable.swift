/// What of a model a recipe trains. The conforming struct's properties are the recipe's keys of `trainable`.
package protocol Trainable: Codable, Sendable {
    static var name: String { get }
    static var source: String { get }
    init()
    var problems: [String] { get }
    /// Settings of adapters; nil where the model's own parameters are trained.
    var adapters: LowRankAdapters? { get }
}
