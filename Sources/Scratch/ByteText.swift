/// A text that is told from others by its bytes. Swift's own `==`, hash and order take canonically equivalent strings,
/// such as
/// the two spellings of "é", for one; ids, groups and prompts that differ so are different ones.
package struct ByteText: Hashable, Comparable, Sendable {
    package let text: String

    package init(_ text: String) {
        var text = text
        text.makeContiguousUTF8()
        self.text = text
    }

    package static func == (one: ByteText, other: ByteText) -> Bool { one.text.isSameBytes(as: other.text) }

    package static func < (one: ByteText, other: ByteText) -> Bool {
        one.text.utf8.lexicographicallyPrecedes(other.text.utf8)
    }

    package func hash(into hasher: inout Hasher) {
        // Contiguous since `init`.
        _ = text.utf8.withContiguousStorageIfAvailable { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
        hasher.combine(text.utf8.count)
    }
}

extension String {
    /// Whether two strings have the same bytes; `==` asks for canonical equivalence.
    package func isSameBytes(as other: String) -> Bool {
        utf8.count == other.utf8.count && utf8.elementsEqual(other.utf8)
    }
}
