/// Every parameter.
package struct AllParameters: Trainable {
    package static let name = "full"
    package static let source = "every parameter"

    package init() {}

    package var problems: [String] { [] }
    package var adapters: LowRankAdapters? { nil }
}
