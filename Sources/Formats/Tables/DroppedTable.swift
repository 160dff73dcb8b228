import Arrow

/// A rollout the plan leaves out, with its reason.
package struct DroppedRow: Equatable, Sendable {
    package var rolloutID = ""
    package var groupID = ""
    package var reason = ""
    package init() {}
}

extension Tables {
    package static let dropped = Table<DroppedRow>(
        name: "dropped",
        documentation: "One rollout that a plan leaves out, with its reason.",
        columns: [
            .utf8("rollout_id", \.rolloutID, "name of the rollout"),
            .utf8("group_id", \.groupID, "name of its group"),
            .utf8("reason", \.reason, "the reason in one word, to count by; the words are below"),
        ],
        make: { DroppedRow() }, weight: { _ in 16 }, writer: "crux-plan")
}
