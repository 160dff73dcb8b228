/// Rules that recipes may name as `expansion.anchor_score`.
package enum AnchorRegistry: NamedMembers {
    /// Sorted by name. A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any AnchorRule.Type] = [BlankLineAnchors.self, EntropyAnchors.self, SurprisalAnchors.self]
    package static var names: [String] { all.map { $0.name } }
    package static func named(_ name: MemberName<Self>) -> any AnchorRule.Type {
        all.first { $0.name == name.word } ?? EntropyAnchors.self
    }
}
