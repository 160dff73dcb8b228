/// Values that compete with each other: how many there are, and which ranks among them are wanted, ascending.
package struct Population: Sendable {
    package var count: Int
    package var ranks: [Int]

    package init(count: Int = 0, ranks: [Int] = []) { (self.count, self.ranks) = (count, ranks) }
}
