/// How token losses become a step's loss: the weight of each row's tokens, so that the loss is a plain weighted sum and
/// splitting a step can't change it.
package protocol Aggregation: Codable, Sendable {
    static var name: String { get }
    static var source: String { get }
    init()
    var problems: [String] { get }
    /// Weight of every token of a row with so many trainable ones; 0 where there is nothing to divide by.
    func weight(trainable: Int, in step: StepCounts) -> Double
}

extension Aggregation {
    package var problems: [String] { [] }
}

/// 1 / count; 0 where there is nothing to divide by.
func inverse(_ count: Int) -> Double { count > 0 ? 1 / Double(count) : 0 }
