/// Names by number, in the order in which they first come.
package struct NameTable: Sendable {
    package private(set) var names: [String] = []
    private var numbers: [String: Int32] = [:]

    package init() {}

    /// A name that is new gets the next one.
    package mutating func number(of name: String) -> Int32 {
        if let number = numbers[name] { return number }
        let number = Int32(names.count)
        numbers[name] = number
        names.append(name)
        return number
    }
}
