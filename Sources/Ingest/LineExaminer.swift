import Formats
import Foundation
import StageSupport

/// A file of JSON lines: where each begins and ends.
struct LineFile: Sendable {
    let file: MappedFile
    /// Lines with anything in them, without their ends; their numbers from 0.
    let lines: [(number: Int, bytes: Range<Int>)]
    /// Whether the last line has its end; one without may be cut off.
    let endsWhole: Bool

    init(path: String) throws {
        file = try MappedFile(path: path)
        (lines, endsWhole) = withExtendedLifetime(file) { [bytes = file.bytes] in
            var lines: [(Int, Range<Int>)] = [], start = 0, number = 0
            while start < bytes.count {
                let end = bytes[start...].firstIndex(of: 0x0a) ?? bytes.count
                if bytes[start..<end].contains(where: { $0 > 0x20 }) { lines.append((number, start..<end)) }
                (start, number) = (end + 1, number + 1)
            }
            return (lines, bytes.last == 0x0a)
        }
    }

    func data(_ index: Int) -> Data { withExtendedLifetime(file) { Data(UnsafeRawBufferPointer(rebasing: file.bytes[lines[index].bytes])) } }
}

/// Lines of another program's dump, one by one: the rollouts that each becomes, or why it becomes none.
struct LineExaminer: Sendable {
    let file: LineFile
    /// Dialects to try.
    let dialects: [any DumpDialect.Type]
    let tokenizer: TextTokens?
    /// Sampling settings of lines that don't tell theirs.
    let defaults: [String: String]
    let context: StageContext

    private var name: String { ((file.file.path as NSString).lastPathComponent as NSString).deletingPathExtension }

    func examine(_ index: Int) throws -> [Outcome] {
        try context.checkInterruption()
        let line = file.data(index)
        func reject(_ id: String?, _ reason: String, _ detail: String) -> Outcome {
            .rejected(.init(frameIndex: file.lines[index].number, frameOffset: file.lines[index].bytes.lowerBound, rolloutID: id, reason: reason, detail: detail))
        }
        let words = String(decoding: line.prefix(60), as: UTF8.self)
        guard let rollouts = DumpDialects.decode(line, as: dialects) else {
            let isCutOff = index == file.lines.count - 1 && !file.endsWhole
            return [reject(nil, isCutOff ? "cut_off_line" : "damaged_line", "found '\(words)', expected a whole JSON object")]
        }
        guard !rollouts.isEmpty else {
            return [reject(nil, "unknown_dialect", "found '\(words)', expected a line of \(dialects.map { $0.name }.joined(separator: ", "))")]
        }
        return rollouts.enumerated().map { choice, rollout in
            let id = rollout.id ?? "\(name)-\(file.lines[index].number)" + (rollouts.count > 1 ? "-\(choice)" : "")
            do { return try accept(rollout, id) } catch let error as Rejection {
                return reject(id, error.reason, error.detail)
            } catch { return reject(id, "damaged_line", "\(error)") }
        }
    }

    private func accept(_ rollout: DumpedRollout, _ id: String) throws -> Outcome {
        if let error = rollout.error { throw Rejection(id, "engine_error", found: "'\(error)'", expected: "a rollout") }
        let frame = try DumpedFrame(rollout, id: id, tokenizer: tokenizer, defaults: defaults).frame()
        var row = try RolloutValidation(frame, span: FrameSpan(offset: 0, length: 1), keepLogits: false).row()
        guard frame.topk > 0 else {
            row.logitsLength = 0
            return .accepted(row)
        }
        return .accepted(row, frame: FrameBytes(bytes: try RolloutShardWriter.frame(frame)))
    }
}

/// Lays a dumped rollout out as a shard's frame, so that the same rules hold for both.
struct DumpedFrame {
    private let rollout: DumpedRollout
    private let id: String
    private let tokenizer: TextTokens?
    private let defaults: [String: String]

    init(_ rollout: DumpedRollout, id: String, tokenizer: TextTokens?, defaults: [String: String]) {
        (self.rollout, self.id, self.tokenizer, self.defaults) = (rollout, id, tokenizer, defaults)
    }

    func frame() throws -> RolloutFrame {
        let prompt = try promptIDs(), completion = try completionIDs(), isRetokenised = rollout.completionIDs == nil
        let mask = rollout.completionMask ?? completion.map { _ in true }
        var frame = RolloutFrame()
        frame.tokenIDs = prompt + completion
        frame.lossMask = prompt.map { _ in false } + mask
        let logprobs = rollout.logprobs.map { $0.count == mask.count ? zip($0, mask).map { $1 ? $0 : 0 } : $0 }
        frame.rolloutLogprobs = try checked(logprobs, completion, id: id, isRetokenised: isRetokenised).map { prompt.map { _ in Float(0) } + $0 }
        if !isRetokenised { fillTopK(&frame, completion, mask) }
        frame.metadata = metadata(prompt, completion, isRetokenised: isRetokenised || rollout.promptIDs == nil)
        return frame
    }

    // MARK: tokens

    private func promptIDs() throws -> [Int32] {
        if let ids = rollout.promptIDs { return ids }
        guard let prompt = rollout.prompt else {
            throw Rejection(id, "no_prompt", found: "a completion alone", expected: "the prompt's token ids (return_token_ids), or a 'prompt' beside the response")
        }
        return try needTokenizer("a prompt as text alone").prompt(prompt)
    }

    private func completionIDs() throws -> [Int32] {
        if let ids = rollout.completionIDs { return ids }
        return try needTokenizer("text alone").continuation(
            rollout.completion ?? "", stopped: rollout.finishReason == "stop", count: rollout.tokenCount, of: id)
    }

    private func needTokenizer(_ found: String) throws -> TextTokens {
        guard let tokenizer else { throw Rejection(id, "no_token_ids", found: found, expected: "token ids, or --tokenizer DIR to tokenise it again") }
        return tokenizer
    }

    /// The k best of every sampled token, if the engine gave them by id.
    private func fillTopK(_ frame: inout RolloutFrame, _ completion: [Int32], _ mask: [Bool]) {
        guard let best = rollout.best, mask.allSatisfy({ $0 }) else { return }
        let width = best.width(sampled: completion)
        guard width > 0 else { return }
        frame.topk = width
        frame.topkTokenIDs = best.rows.flatMap { $0.prefix(width).map(\.token) }
        frame.topkLogprobs = best.rows.flatMap { $0.prefix(width).map { min(0, $0.logprob) } }
    }

    // MARK: metadata

    private func metadata(_ prompt: [Int32], _ completion: [Int32], isRetokenised: Bool) -> [String: String] {
        var metadata = defaults.merging(rollout.metadata) { $1 }
        metadata["rollout_id"] = id
        metadata["group_id"] = rollout.group ?? "prompt-" + prefixDigest(prompt).prefix(16)
        metadata["sample_index"] = "\(rollout.sampleIndex)"
        metadata["prompt"] = rollout.prompt ?? tokenizer?.tokenizer.decode(prompt, skippingSpecialTokens: false)
        metadata["completion"] = rollout.completion ?? tokenizer?.tokenizer.decode(completion)
        metadata["finish_reason"] = rollout.finishReason
        metadata["reward"] = rollout.reward.map { "\($0)" }
        if isRetokenised { metadata["retokenised"] = "true" }
        return metadata
    }
}
