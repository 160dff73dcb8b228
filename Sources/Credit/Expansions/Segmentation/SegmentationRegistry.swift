/// Ways to cut that recipes may name as `expansion.segmentation`.
package enum SegmentationRegistry: NamedMembers {
    /// Sorted by name. A newcomer: one file, one line here; the tests over this list cover it.
    package static let all: [any Segmentation.Type] = [LineSegmentation.self, MathSegmentation.self]
    package static var names: [String] { all.map { $0.name } }
    package static func named(_ name: MemberName<Self>) -> any Segmentation.Type {
        all.first { $0.name == name.word } ?? LineSegmentation.self
    }
}
