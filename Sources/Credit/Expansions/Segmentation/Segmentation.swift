/// What a recipe says of steps; each way to cut reads the keys that are its own.
package struct SegmentationSettings: Sendable {
    /// `step_separators`: texts that end a step.
    var separators: [String]
    /// `minimum_step_characters`: what is shorter is no step of its own.
    var minimumCharacters: Int

    package init(separators: [String], minimumCharacters: Int) {
        (self.separators, self.minimumCharacters) = (separators, minimumCharacters)
    }
}

/// A way to cut a response's text into reasoning steps. A newcomer: one file, one line in the registry.
package protocol Segmentation: Sendable {
    /// The recipe's word.
    static var name: String { get }
    static var source: String { get }
    init(_ settings: SegmentationSettings)
    var problems: [String] { get }
    /// Bytes of the UTF-8 text where steps start, ascending, 0 first.
    func starts(in text: [UInt8]) -> [Int]
}

extension Segmentation {
    package var problems: [String] { [] }
}
