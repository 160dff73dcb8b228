/// Some of a row's numbers at trainable tokens, side by side, and where they are to go.
package struct GatherRange: Sendable {
    package var row: Int
    package var values: Range<Int>
    package var target: Int

    package init(row: Int, values: Range<Int>, target: Int) {
        (self.row, self.values, self.target) = (row, values, target)
    }

    /// From all numbers of the row.
    package func copy(_ all: UnsafeBufferPointer<Float>, into target: UnsafeMutablePointer<Float>) {
        for (index, place) in values.clamped(to: 0..<all.count).enumerated() {
            target[self.target + index] = all[place]
        }
    }
}
