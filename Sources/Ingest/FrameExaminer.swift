import Formats
import Scratch
import StageSupport

/// A shard's frames, one by one: the row that each becomes, or why it becomes none.
struct FrameExaminer: Sendable {
    let logits: LogitsMode
    let invalidLogprobs: InvalidLogprobs
    /// Folder for frames on their way into a copy.
    let folder: String
    let memory: PlaneMemory
    let context: StageContext
    /// Whether logits are measured for score as they are decoded.
    var measures = false

    /// Throws only when the run is interrupted: what is wrong with a frame is an outcome.
    func examine(_ shard: RolloutShard, entry index: Int) throws -> Outcome {
        try context.checkInterruption()
        let span = shard.entries[index].span
        func reject(_ id: String?, _ reason: RejectReason, _ detail: String) -> Outcome {
            .rejected(.init(frameIndex: index, frameOffset: span.offset, rolloutID: id, reason: reason, detail: detail))
        }
        if case .broken(_, let reason) = shard.entries[index] {
            return reject(
                nil, reason,
                "found bytes \(span.offset)..<\(span.offset + span.length) that are no whole zstd frame, expected one")
        }
        do {
            return try accept(shard, span, place: "frame \(index) at byte \(span.offset)")
        } catch let error as FrameError {
            return reject(
                error.rolloutID, error.reason, "found \(error.format.found), expected \(error.format.expected)")
        } catch let error as Rejection {
            return reject(error.rolloutID, error.reason, error.detail)
        } catch let error as IOError {
            throw error
        } catch { return reject(nil, .unreadableFrame, "\(error)") }
    }

    private func accept(_ shard: RolloutShard, _ span: FrameSpan, place: String) throws -> Outcome {
        let stream = try FrameStream(span, in: shard.file, place: place)
        var measuring = LogitsMeasuring(isWanted: measures)
        let frame = try RolloutFrameReader.read(
            stream, file: shard.file.path, place: place, memory: memory, logitsRow: { measuring.see($0) },
            beforeLogits: { measuring.begin($0) })
        var validation = RolloutValidation(
            frame, span: span, keepLogits: logits != .drop, invalidLogprobs: invalidLogprobs)
        let row = try validation.row()
        try measuring.requireFinite(rolloutID: row.rolloutID)
        let copy =
            logits == .copy && FrameSplitting.applies(to: frame.logits)
            ? try SplitCopy(span, in: shard.file, place: place, folder: folder) : nil
        return .accepted(
            AcceptedRollout(
                row: row, vocabulary: frame.logits?.vocabulary, frame: copy, remarks: validation.remarks,
                measure: measuring.finished(row, frame)))
    }

    /// Of a file that has no frame at all: it is no shard, however it is called.
    static func lackOfFrames(_ shard: RolloutShard) -> (reason: RejectReason, detail: String)? {
        guard !shard.file.bytes.isEmpty, Array(shard.file.bytes.prefix(4)) != [0x28, 0xb5, 0x2f, 0xfd] else {
            return nil
        }
        let frames = shard.entries.contains { if case .frame = $0 { true } else { false } }
        guard !frames, !shard.entries.isEmpty else { return nil }
        return (
            .noFrame,
            "found no zstd frame in \(shard.file.bytes.count) bytes, expected concatenated zstd frames, one rollout each"
        )
    }
}
