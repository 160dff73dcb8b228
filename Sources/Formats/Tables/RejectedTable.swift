import Arrow

/// A row or frame that `ingest` refused, with its reason.
package struct RejectedRow: Equatable, Sendable {
    package var shard = ""
    package var frameIndex: Int64 = 0
    package var frameOffset: Int64 = 0
    package var rolloutID: String?
    package var reason = ""
    package var detail = ""
    package init() {}
}

extension Tables {
    package static let rejected = Table<RejectedRow>(
        name: "rejected",
        documentation: "One row or frame of a dump that crux-ingest left out, with its reason.",
        columns: [
            .utf8("shard", \.shard, "file that it came from"),
            .int64("frame_index", \.frameIndex, "its number in the file, from 0; lines of JSON count from 0 too"),
            .int64("frame_offset", \.frameOffset, "bytes: where it begins in the file"),
            .utf8("rollout_id", \.rolloutID, "its name; null where none can be read"),
            .utf8("reason", \.reason, "the reason in one word, to count by"),
            .utf8("detail", \.detail, "what was found and what was expected, in a sentence"),
        ],
        make: { RejectedRow() }, weight: { _ in 16 }, writer: "crux-ingest")
}
