import Files
import Foundation

/// Reads a frame tensor by tensor, in the order of its bytes, whichever that is.
package struct RolloutFrameReader {
    /// Far above any context length; below what could hurt.
    package static let maximumTokens = 1 << 24
    package static let maximumTopK = 1 << 16
    /// Of a whole rollout: they are held in memory.
    static let maximumTopKEntries = 1 << 28
    /// The same of the tokens that could have been drawn.
    static let maximumSupportEntries = 1 << 28

    /// Memory: the small tensors and one row of logits, never the matrix; of split logits one plane, as far as `memory`
    /// lets it. Lengths and shapes are checked against each other before anything large is decoded. Pass no `logitsRow`
    /// to let logits go by unseen. `hiddenRow` sees the rows of hidden states in the same way. `beforeLogits` sees what
    /// lies before the first logits, in the frame's own order.
    package static func read(
        _ stream: FrameStream, file: String, place: String, memory: PlaneMemory = PlaneMemory(limit: 0),
        logitsRow: LogitsRow.Consumer?, hiddenRow: LogitsRow.Consumer? = nil,
        beforeLogits: ((RolloutFrame) -> Void)? = nil
    ) throws -> RolloutFrame {
        let reader = RolloutFrameReader(stream: stream, file: file, place: place, memory: memory)
        let header = try reader.header()
        do {
            return try reader.frame(header, logitsRow, hiddenRow, beforeLogits)
        } catch var error as FrameError {
            error.rolloutID = header.metadata["rollout_id"]
            throw error
        }
    }

    private let stream: FrameStream
    private let file: String
    private let place: String
    private let memory: PlaneMemory

    /// Header of the blob that the stream stands before.
    static func header(_ stream: FrameStream, file: String, place: String) throws -> SafetensorsHeader {
        try RolloutFrameReader(stream: stream, file: file, place: place, memory: PlaneMemory(limit: 0)).header()
    }

    private func fail(_ reason: RejectReason, _ found: String, _ expected: String) -> FrameError {
        FrameError(reason, file, place, found: found, expected: expected)
    }

    /// Who brings the tensors that are seen row by row.
    private struct RowReadings {
        let logits: LogitsReading?
        let hiddenStates: LogitsReading?
    }

    private func frame(
        _ header: SafetensorsHeader, _ logitsRow: LogitsRow.Consumer?, _ hiddenRow: LogitsRow.Consumer?,
        _ beforeLogits: ((RolloutFrame) -> Void)?
    ) throws -> RolloutFrame {
        try checkSize(header)
        try checkShapes(header)
        var frame = RolloutFrame()
        frame.metadata = header.metadata
        frame.logits = try logits(header)
        frame.hiddenStates = header["hidden_states"].map {
            LogitsInfo(dtype: $0.dtype, rows: $0.shape[0], vocabulary: $0.shape[1])
        }
        func reading(_ info: LogitsInfo?, _ consume: LogitsRow.Consumer?) -> LogitsReading? {
            info.map { LogitsReading($0, from: stream, memory: memory, consume: consume) }
        }
        let rows = RowReadings(
            logits: reading(frame.logits, logitsRow), hiddenStates: reading(frame.hiddenStates, hiddenRow))
        var seesLogits = false
        for tensor in header.tensors {
            if !seesLogits, tensor.name.hasPrefix("logits") {
                beforeLogits?(frame)
                seesLogits = true
            }
            try take(tensor, into: &frame, rows)
        }
        try stream.expectEnd()
        return frame
    }

    private func header() throws -> SafetensorsHeader {
        var length: UInt64 = 0
        try withUnsafeMutableBytes(of: &length) { try stream.read(into: $0) }
        length = UInt64(littleEndian: length)
        guard length <= UInt64(SafetensorsHeader.maximumBytes) else {
            throw fail(.invalidSafetensors, "a header length of \(length)", "at most \(SafetensorsHeader.maximumBytes)")
        }
        let json = try bytes(Int(length), "the header of \(length) bytes")
        do { return try SafetensorsHeader(json: Data(json), file: file, place: place) } catch let error as FormatError {
            throw fail(.invalidSafetensors, error.found, error.expected)
        }
    }

    /// Grows as bytes arrive, so that a lying length costs no memory.
    private func bytes(_ count: Int, _ what: String) throws -> [UInt8] {
        var result: [UInt8] = []
        while result.count < count {
            let size = min(count - result.count, 1 << 20)
            do {
                let piece = try [UInt8](unsafeUninitializedCapacity: size) { buffer, filled in
                    try stream.read(into: UnsafeMutableRawBufferPointer(buffer))
                    filled = size
                }
                result += piece
            } catch let error as FrameError
                where error.reason == .blobShorterThanDeclared && what.hasPrefix("the header")
            {
                throw fail(.invalidSafetensors, "a blob that ends inside \(what)", "a header within the blob")
            }
        }
        return result
    }

    /// Before anything is decoded for it: what the header promises must be what the frame can hold.
    private func checkSize(_ header: SafetensorsHeader) throws {
        let promised = stream.produced + header.dataBytes
        guard promised <= stream.mostBytes else {
            throw fail(
                .oversized, "tensors of \(header.dataBytes) bytes",
                "at most the \(stream.mostBytes) that a frame of its length can hold")
        }
        guard let declared = stream.declaredBytes, declared != promised else { return }
        throw fail(
            declared > promised ? .blobLongerThanDeclared : .blobShorterThanDeclared, "a blob of \(declared) bytes",
            "\(promised) by its safetensors header")
    }

    private func checkShapes(_ header: SafetensorsHeader) throws {
        guard let tokenIDs = header["token_ids"] else {
            throw fail(.missingTensor, "no tensor 'token_ids'", "it in every rollout")
        }
        guard header["loss_mask"] != nil else {
            throw fail(.missingTensor, "no tensor 'loss_mask'", "it in every rollout")
        }
        for tensor in header.tensors { try checkDType(tensor) }
        let length = try vector(tokenIDs)
        guard length <= Self.maximumTokens else {
            throw fail(.oversized, "\(length) tokens", "at most \(Self.maximumTokens)")
        }
        for name in [
            "loss_mask", "rollout_logprobs", "old_logprobs", "advantages", "values", "reference_logprobs",
            "teacher_logprobs", "token_roles",
        ] {
            guard let tensor = header[name] else { continue }
            let count = try vector(tensor)
            guard count == length else {
                throw fail(.lengthMismatch, "\(count) entries in '\(name)'", "\(length), one for each of token_ids")
            }
        }
        if let tensor = header[TeacherPrompt.key], try vector(tensor) > Self.maximumTokens {
            throw fail(.oversized, "\(tensor.shape[0]) entries in '\(tensor.name)'", "at most \(Self.maximumTokens)")
        }
        for name in ["logits", "logits_high", "logits_low", "hidden_states", "topk_token_ids", "topk_logprobs"] {
            guard let tensor = header[name] else { continue }
            guard tensor.shape.count == 2, tensor.shape[0] <= length, tensor.shape[1] > 0, tensor.shape[1] <= 1 << 24
            else {
                throw fail(
                    .wrongShape, "'\(name)' of shape \(tensor.shape)",
                    "[trainable tokens, width] with at most \(length) rows")
            }
        }
        try checkSupports(header, length: length)
        try checkExperts(header, length: length)
        let ids = header["topk_token_ids"]?.shape, logprobs = header["topk_logprobs"]?.shape
        guard (ids == nil) == (logprobs == nil) else {
            throw fail(
                .missingTensor, "no tensor '\(ids == nil ? "topk_token_ids" : "topk_logprobs")'",
                "both of the top-k tensors or none")
        }
        guard ids == logprobs, (ids?[1] ?? 0) <= Self.maximumTopK, (ids ?? []).reduce(1, *) <= Self.maximumTopKEntries
        else {
            throw fail(
                .wrongShape,
                "topk_token_ids \(ids.map { "\($0)" } ?? "absent") and topk_logprobs \(logprobs.map { "\($0)" } ?? "absent")",
                "both, of one shape")
        }
    }

    private func checkExperts(_ header: SafetensorsHeader, length: Int) throws {
        guard let tensor = header[RoutedExperts.key] else { return }
        let shape = tensor.shape
        guard shape.count == 3, shape[0] <= length, (1...RoutedExperts.most).contains(shape[1]),
            (1...RoutedExperts.most).contains(shape[2]), shape.reduce(1, *) <= Self.maximumSupportEntries
        else {
            throw fail(
                .wrongShape, "'\(tensor.name)' of shape \(shape)",
                "[tokens, layers, experts of a token] with at most \(length) rows")
        }
    }

    private func checkSupports(_ header: SafetensorsHeader, length: Int) throws {
        let ids = header["support_token_ids"], offsets = header["support_offsets"]
        guard (ids == nil) == (offsets == nil) else {
            throw fail(
                .missingTensor, "no tensor '\(ids == nil ? "support_token_ids" : "support_offsets")'",
                "both tensors of the tokens that could be drawn or none")
        }
        guard let ids, let offsets else { return }
        let entries = try vector(ids), bounds = try vector(offsets)
        guard entries <= Self.maximumSupportEntries, bounds <= length + 1 else {
            throw fail(
                .oversized, "support_token_ids [\(entries)] and support_offsets [\(bounds)]",
                "at most \(Self.maximumSupportEntries) ids and one offset more than trainable tokens")
        }
    }

    /// What the header says about the logits, whole or in planes.
    private func logits(_ header: SafetensorsHeader) throws -> LogitsInfo? {
        let whole = header["logits"], high = header["logits_high"], low = header["logits_low"]
        guard (high == nil) == (low == nil) else {
            throw fail(
                .missingTensor, "no tensor '\(high == nil ? "logits_high" : "logits_low")'",
                "both planes of split logits or none")
        }
        guard let high, let low else {
            return whole.map { LogitsInfo(dtype: $0.dtype, rows: $0.shape[0], vocabulary: $0.shape[1]) }
        }
        guard whole == nil else {
            throw fail(.wrongShape, "'logits' beside 'logits_high' and 'logits_low'", "logits in one form")
        }
        guard high.shape == low.shape else {
            throw fail(.wrongShape, "logits_high \(high.shape) and logits_low \(low.shape)", "both of one shape")
        }
        let name = header.metadata[LogitsInfo.typeKey] ?? "bf16"
        guard let dtype = LogitsInfo.splitTypes[name] else {
            throw fail(
                .wrongDType, "\(LogitsInfo.typeKey) '\(name)'",
                LogitsInfo.splitTypes.keys.sorted().joined(separator: " or ") + " for split logits")
        }
        return LogitsInfo(dtype: dtype, rows: high.shape[0], vocabulary: high.shape[1], isSplit: true)
    }

    private func checkDType(_ tensor: TensorInfo) throws {
        guard let allowed = Self.dtypes[tensor.name] else {
            // A producer's own extras are passed over, but not at any price.
            guard tensor.end - tensor.begin <= 1 << 30 else {
                throw fail(
                    .oversized, "\(tensor.end - tensor.begin) bytes in the unknown tensor '\(tensor.name)'",
                    "at most 1 GiB")
            }
            return
        }
        guard allowed.contains(tensor.dtype) else {
            throw fail(
                .wrongDType, "'\(tensor.name)' of dtype \(tensor.dtype.rawValue)",
                allowed.map(\.rawValue).joined(separator: " or "))
        }
    }

    private static let dtypes: [String: [DType]] = [
        "token_ids": [.i32], "loss_mask": [.u8, .bool], "rollout_logprobs": [.f32], "old_logprobs": [.f32],
        "advantages": [.f32], "logits": [.bf16, .f16, .f32],
        "logits_high": [.u8], "logits_low": [.u8], "hidden_states": [.bf16, .f16, .f32], "topk_token_ids": [.i32],
        "topk_logprobs": [.f32], "values": [.f32], "support_token_ids": [.i32], "support_offsets": [.i64],
        RoutedExperts.key: [.u8, .u16],
        "reference_logprobs": [.f32], "teacher_logprobs": [.f32], "teacher_prompt_ids": [.i32], "token_roles": [.u8],
    ]

    private func vector(_ tensor: TensorInfo) throws -> Int {
        guard tensor.shape.count == 1 else {
            throw fail(.wrongShape, "'\(tensor.name)' of shape \(tensor.shape)", "one dimension")
        }
        return tensor.shape[0]
    }

    private func take(_ tensor: TensorInfo, into frame: inout RolloutFrame, _ rows: RowReadings) throws {
        switch tensor.name {
        case "token_ids": frame.tokenIDs = try elements(tensor)
        case "loss_mask": frame.lossMask = try mask(tensor)
        case "rollout_logprobs": frame.rolloutLogprobs = try elements(tensor)
        case "old_logprobs": frame.oldLogprobs = try elements(tensor)
        case "advantages": frame.advantages = try elements(tensor)
        case "values": frame.values = try elements(tensor)
        case "reference_logprobs": frame.referenceLogprobs = try elements(tensor)
        case "teacher_prompt_ids": frame.teacherPromptIDs = try elements(tensor)
        case "teacher_logprobs": frame.teacherLogprobs = try elements(tensor)
        case "topk_token_ids":
            frame.topkTokenIDs = try elements(tensor)
            frame.topk = tensor.shape[1]
        case "topk_logprobs": frame.topkLogprobs = try elements(tensor)
        case "token_roles": frame.tokenRoles = try elements(tensor)
        case "support_token_ids": frame.supportTokenIDs = try elements(tensor)
        case "support_offsets": frame.supportOffsets = try elements(tensor)
        case RoutedExperts.key: frame.experts = try experts(tensor, frame.metadata)
        case "logits", "logits_high", "logits_low": try rows.logits?.take(tensor)
        case "hidden_states": try rows.hiddenStates?.take(tensor)
        default: try stream.skip(tensor.end - tensor.begin)
        }
    }

    private func elements<T>(_ tensor: TensorInfo) throws -> [T] {
        let raw = try bytes(tensor.end - tensor.begin, tensor.name)
        return raw.withUnsafeBytes { raw in
            [T](unsafeUninitializedCapacity: tensor.elementCount) { buffer, count in
                UnsafeMutableRawBufferPointer(buffer).copyMemory(from: raw)
                count = tensor.elementCount
            }
        }
    }

    private func experts(_ tensor: TensorInfo, _ metadata: [String: String]) throws -> RoutedExperts? {
        let values: [UInt16]
        if tensor.dtype == .u8 {
            let bytes: [UInt8] = try elements(tensor)
            values = bytes.map { UInt16($0) }
        } else {
            values = try elements(tensor)
        }
        let text = metadata[RoutedExperts.startKey] ?? "0"
        guard let start = Int(text), (0...Self.maximumTokens).contains(start) else {
            throw fail(.invalidValue, "\(RoutedExperts.startKey) '\(text)'", "a token's position")
        }
        return RoutedExperts(
            values: values, start: start, rows: tensor.shape[0], layers: tensor.shape[1], perToken: tensor.shape[2])
    }

    private func mask(_ tensor: TensorInfo) throws -> [Bool] {
        let raw = try bytes(tensor.elementCount, tensor.name)
        guard let odd = raw.first(where: { $0 > 1 }) else { return raw.map { $0 == 1 } }
        throw fail(.invalidValue, "a loss_mask entry of \(odd)", "0 or 1")
    }
}
