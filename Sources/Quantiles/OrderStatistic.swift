/// A population's k-th smallest value, how many lie below it and how many equal it.
package struct OrderStatistic: Equatable, Sendable {
    package var value: Float
    package var below: Int
    package var equal: Int

    package init(value: Float, below: Int, equal: Int) { (self.value, self.below, self.equal) = (value, below, equal) }
}
