/// Values that stream by as often as they are asked for, in pieces: each row's at its trainable tokens.
package protocol ValueStream: Sendable {
    /// Rows by their number, those of a piece in one chunk.
    var pieces: [Range<Int>] { get }
    /// How many values each piece has.
    var counts: [Int] { get }
    /// On any thread, in the order of the rows. Numbers last for the call alone.
    func forEachRow(of piece: Int, _ body: (_ row: Int, UnsafeBufferPointer<Float>) throws -> Void) throws
    /// The same for who looks at few of them or says himself which are no finite numbers: none is refused for that.
    func readUnchecked(at piece: Int, _ body: (_ row: Int, UnsafeBufferPointer<Float>) throws -> Void) throws
    /// Copies a few values of a piece's rows, which ascend.
    func gather(_ ranges: [GatherRange], of piece: Int, into target: UnsafeMutablePointer<Float>) throws
    /// All pieces: `produce` runs on any thread, `consume` on the calling one in their order.
    func inOrder<Value: Sendable>(_ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void)
        throws
}

extension ValueStream {
    package func readUnchecked(at piece: Int, _ body: (Int, UnsafeBufferPointer<Float>) throws -> Void) throws {
        try forEachRow(of: piece, body)
    }

    package func gather(_ ranges: [GatherRange], of piece: Int, into target: UnsafeMutablePointer<Float>) throws {
        var left = ranges[...]
        try readUnchecked(at: piece) { row, values in
            while let gather = left.first, gather.row == row { left.removeFirst(); gather.copy(values, into: target) }
        }
    }
}

/// What is known of the rows of a stream before it flows: which population each belongs to, and how many values it has.
package struct StreamedRows: Sendable {
    package let count: Int
    let population: @Sendable (Int) -> Int
    let values: @Sendable (Int) -> Int

    package init(count: Int, population: @escaping @Sendable (Int) -> Int, values: @escaping @Sendable (Int) -> Int) {
        (self.count, self.population, self.values) = (count, population, values)
    }
}
