/// Methods that recipes may name as `expansion.type`.
package enum ExpansionRegistry {
    /// Sorted by name. A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any Expansion.Type] = [
        AEPO.self, ARPO.self, FR3E.self, SGRPO.self, TreeSearch.self, TreePO.self, VinePPO.self,
    ]
}
