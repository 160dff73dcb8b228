/// A way to cut a response's text into reasoning steps. A newcomer: one type, one line in the registry.
package protocol Segmentation: Sendable {
    /// The recipe's word.
    static var name: String { get }
    static var source: String { get }
    /// With the keys of the method that are its own.
    init(_ method: VinePPO)
    var problems: [String] { get }
    /// Bytes of the UTF-8 text where steps start, ascending, 0 first.
    func starts(in text: [UInt8]) -> [Int]
}

extension Segmentation {
    package var problems: [String] { [] }
}
