/// Rules that recipes may name as keys of `entropy.mask`.
package enum MaskRegistry {
    /// Sorted by name. A newcomer: one file, one line here, a key in `EntropyMask`; the tests over this list cover it.
    package static let all: [any MaskRule.Type] = [BottomEntropy.self, RandomTokens.self, TopEntropy.self]
}
