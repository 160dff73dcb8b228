/// Where a compressed frame lies in its shard.
package struct FrameSpan: Equatable, Sendable {
    package let offset: Int
    package let length: Int

    package init(offset: Int, length: Int) {
        self.offset = offset
        self.length = length
    }
}
