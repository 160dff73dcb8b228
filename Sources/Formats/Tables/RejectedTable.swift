import Arrow

/// A row or frame that `ingest` refused, with its reason.
package struct RejectedRow: Equatable, Sendable {
    package fileprivate(set) var shard = ""
    package fileprivate(set) var frameIndex: Int64 = 0
    package fileprivate(set) var frameOffset: Int64 = 0
    package fileprivate(set) var rolloutID: String?
    /// A `RejectReason`'s word; in a file of another version whatever stands there.
    package fileprivate(set) var reason = ""
    package fileprivate(set) var detail = ""

    fileprivate init() {}

    /// `frameIndex`, `frameOffset`: number and first byte of the frame or line in `shard`; 0 where the whole file is
    /// meant. `rolloutID`: nil where none can be read.
    package init(
        shard: String, frameIndex: Int = 0, frameOffset: Int = 0, rolloutID: String? = nil, reason: RejectReason,
        detail: String
    ) {
        (self.shard, self.frameIndex, self.frameOffset) = (shard, Int64(frameIndex), Int64(frameOffset))
        (self.rolloutID, self.reason, self.detail) = (rolloutID, reason.rawValue, detail)
    }
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
            .utf8("reason", \.reason, "the reason in one word, to count by; the words are below"),
            .utf8("detail", \.detail, "what was found and what was expected, in a sentence"),
        ],
        make: { RejectedRow() }, weight: { _ in 16 }, writer: "crux-ingest")
}
