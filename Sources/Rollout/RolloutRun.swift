import Files
import Formats
import Foundation
import Models
import StageSupport
import Tensors
import Tokenizer

/// One shard's outcome, remembered until the manifest is written.
struct SampledRecord: Codable, Sendable {
    var rollouts = 0
    var promptTokens = 0
    var tokens = 0
    var stopped = 0
    /// Of those, by a stop string or by a stop token of the request, not by the model's own end.
    var stoppedByText = 0
    var stoppedByToken = 0
    /// Sampled ids that stand for no token: rows by which a vocabulary was padded.
    var withoutToken = 0
    /// Rollouts whose logits float16 can't hold.
    var beyondHalf = 0
    var entropySum = 0.0
}

/// A rollout's logits as they go into its frame.
private struct StoredLogits {
    let dtype: DType
    let bytes: [UInt8]
}

/// Load → sample → save, shard by shard: a killed run keeps its finished shards, and several tasks share them.
struct RolloutRun {
    let directory: StageDirectory
    let checkpoint: Checkpoint
    /// nil where the checkpoint has none; then rollouts carry no text.
    let tokenizer: Tokenizer?
    /// The checkpoint's own.
    let endOfSequence: Set<Int32>
    let samples: [Sample]
    let settings: SampleSettings
    /// Type of the logits to write; nil writes none.
    let logits: DType?
    let slots: Int
    let perShard: Int
    let precision: GenerationPrecision
    let context: StageContext

    private var pieces: [Range<Int>] {
        stride(from: 0, to: samples.count, by: perShard).map { $0..<min(samples.count, $0 + perShard) }
    }
    private var names: [String] { pieces.indices.map { String(format: "rollouts-%05d.rollouts.zst", $0) } }

    func run() throws -> StageSummary {
        let model = LanguageModel(
            checkpoint.architecture, parameters: try checkpoint.loadParameters(), threads: context.threads)
        let generator = Generator(model, stopTokens: endOfSequence, slots: slots, precision: precision) { [tokenizer] in
            tokenizer?.decodedBytes([$0]) ?? []
        }
        let work = WorkList<SampledRecord>(directory, outputs: names), pieces = pieces
        let progress = ProgressLine(context, total: samples.count, unit: "rollouts")
        var tally = GenerationTally()
        let failures = try work.run(context) { index, output in
            try sample(Array(samples[pieces[index]]), generator, progress, &tally, output: output)
        }
        if let first = failures.first { throw first }
        say(tally)
        return try directory.exclusively(context) { try finish(work) }
    }

    private func sample(
        _ part: [Sample], _ generator: Generator, _ progress: ProgressLine, _ tally: inout GenerationTally,
        output: String
    ) throws -> (SampledRecord, WrittenFile) {
        var continuations = [Continuation?](repeating: nil, count: part.count)
        let spool = try logits.map {
            try LogitsSpool(
                $0, vocabulary: checkpoint.architecture.vocabulary, rollouts: part.count, folder: directory.path)
        }
        do {
            tally += try generator.run(
                part.map(\.request),
                onToken: { try spool?.append($1, to: $0) },
                step: { try context.checkInterruption() },
                onFinish: { index, continuation in
                    continuations[index] = continuation
                    progress.advance()
                })
        } catch let error as NoDistribution {
            throw noDistribution(part[error.request], after: error.after)
        }
        var record = SampledRecord()
        let writer = try RolloutShardWriter(path: output)
        for (index, continuation) in continuations.enumerated() {
            guard let continuation else { continue }
            let stored = try spool.map { StoredLogits(dtype: $0.types[index], bytes: try $0.read(index)) }
            if let stored, stored.dtype != logits { record.beyondHalf += 1 }
            try write(part[index], continuation, logits: stored, to: writer)
            record.add(part[index], continuation)
            if let tokenizer { record.withoutToken += continuation.tokens.count { !tokenizer.isKnown($0) } }
        }
        return (record, try writer.finish(rows: record.rollouts))
    }

    /// The policy's fault: no other shard would fare better.
    private func noDistribution(_ sample: Sample, after tokens: Int) -> StageError {
        StageError(
            .invalidInput,
            "\(checkpoint.directory): logits of rollout '\(sample.metadata["rollout_id"] ?? "")' after \(tokens) of its "
                + "tokens: found NaN or infinity, expected numbers that a distribution can be made of. "
                + "Look for NaN and extremes in the checkpoint's weights.")
    }

    private func write(
        _ sample: Sample, _ continuation: Continuation, logits stored: StoredLogits?, to writer: RolloutShardWriter
    ) throws {
        var frame = RolloutFrame()
        let prompt = sample.request.prompt, zeros = [Float](repeating: 0, count: prompt.count)
        frame.tokenIDs = prompt + continuation.tokens
        frame.lossMask = prompt.map { _ in false } + continuation.tokens.map { _ in true }
        frame.rolloutLogprobs = zeros + continuation.logprobs
        let sampling = sample.request.sampling
        frame.metadata = sample.metadata.merging([
            "finish_reason": FinishReason(isStopped: continuation.isStopped).ownWord,
            "temperature": "\(sampling.scoringTemperature)",
            "top_p": "\(sampling.topP)", "policy_version": settings.version,
        ]) { $1 }
        if let tokenizer { frame.metadata["completion"] = text(of: sample, continuation, tokenizer) }
        switch continuation.stopped {
        case .text(let text, _): frame.metadata["stop_reason"] = text
        case .token(let id): frame.metadata["stop_reason"] = "\(id)"
        case .endOfSequence, nil: break
        }
        if sampling.topK > 0 { frame.metadata["top_k"] = "\(sampling.topK)" }
        if sampling.isGreedy { frame.metadata[GreedyMark.key] = GreedyMark.value }
        // Engines that give log-probabilities at temperature 1 all the same make score ask; ours are of the
        // temperature.
        if sampling.scoringTemperature != 1 { frame.metadata[LogprobKind.key] = LogprobKind.processed.rawValue }
        if sampling.isTruncated {
            let support = SamplingSupport(continuation.supports)
            (frame.supportTokenIDs, frame.supportOffsets) = (support.tokenIDs, support.offsets.map { Int64($0) })
            frame.metadata[LogprobKind.key] = LogprobKind.support.rawValue
        }
        guard let stored else { return try writer.append(frame) }
        frame.metadata["logits_kind"] = "raw"
        frame.logits = LogitsInfo(
            dtype: stored.dtype, rows: continuation.tokens.count, vocabulary: checkpoint.architecture.vocabulary,
            isSplit: stored.dtype != .f32)
        try writer.append(frame, logits: stored.bytes)
    }

    /// The response without what ended it, as engines return it; the tokens stay whole.
    private func text(of sample: Sample, _ continuation: Continuation, _ tokenizer: Tokenizer) -> String {
        let begun = tokenizer.decodedBytes(sample.request.prompt[sample.responseStart...])
        let kept =
            switch continuation.stopped {
            case .text(_, let start): tokenizer.decodedBytes(continuation.tokens).prefix(start)
            case .token, .endOfSequence: tokenizer.decodedBytes(continuation.tokens.dropLast())[...]
            case nil: tokenizer.decodedBytes(continuation.tokens)[...]
            }
        return String(decoding: begun + kept, as: UTF8.self)
    }

    private func finish(_ work: WorkList<SampledRecord>) throws -> StageSummary {
        if let manifest = try Manifest.read(directory.path) {
            return StageSummary(["output": directory.path, "counts": manifest.counts])
        }
        guard let pieces = try work.all() else {
            return StageSummary(["output": directory.path, "waiting_for_other_tasks": true])
        }
        let total = pieces.reduce(into: SampledRecord()) { $0.merge($1.record) }
        let entropy = total.tokens == 0 ? 0 : total.entropySum / Double(total.tokens)
        let manifest = try directory.finish(
            outputs: pieces.map(\.file),
            counts: [
                "rollouts": total.rollouts, "prompt_tokens": total.promptTokens, "sampled_tokens": total.tokens,
                "stopped": total.stopped,
                "stopped_by_text": total.stoppedByText, "stopped_by_token": total.stoppedByToken,
                "sampled_without_token": total.withoutToken,
            ],
            measures: ["entropy_mean": entropy])
        report(total, entropy)
        return StageSummary(["output": directory.path, "counts": manifest.counts, "entropy_mean": entropy])
    }
}

extension RolloutRun {
    /// How many passes guesses have spared depends on what ran beside what: it is no part of the result.
    private func say(_ tally: GenerationTally) {
        guard tally.guessed > 0 else { return }
        context.say(
            "\(tally.right) of \(tally.guessed) guesses at next tokens were right and spared their passes; "
                + "\(tally.passes) passes in all")
    }

    private func report(_ total: SampledRecord, _ entropy: Double) {
        let asked = total.stoppedByText + total.stoppedByToken
        context.say(
            "\(total.rollouts) rollouts, \(total.tokens) sampled tokens, \(total.rollouts - total.stopped) cut off by length"
                + (asked > 0
                    ? ", \(total.stoppedByText) ended by a stop string, \(total.stoppedByToken) by a stop token" : "")
                + "; mean entropy " + String(format: "%.4f", entropy))
        if total.beyondHalf > 0 {
            context.warn(
                "\(total.beyondHalf) rollouts have logits beyond 65504, which float16 can't hold: theirs are stored in bfloat16"
            )
        }
        guard total.withoutToken > 0, let tokenizer else { return }
        context.warn(
            "\(total.withoutToken) of \(total.tokens) sampled ids stand for no token: the checkpoint's vocabulary has "
                + "\(checkpoint.architecture.vocabulary) rows, its tokenizer \(tokenizer.tokenCount) tokens. They are kept, because the "
                + "policy did choose them and their log-probabilities are its own; they add nothing to a rollout's text."
        )
    }
}

extension SampledRecord {
    mutating func add(_ sample: Sample, _ continuation: Continuation) {
        rollouts += 1
        promptTokens += sample.request.prompt.count
        tokens += continuation.tokens.count
        stopped += continuation.isStopped ? 1 : 0
        switch continuation.stopped {
        case .text: stoppedByText += 1
        case .token: stoppedByToken += 1
        case .endOfSequence, nil: break
        }
        entropySum += continuation.entropies.reduce(0) { $0 + Double($1) }
    }

    mutating func merge(_ other: SampledRecord) {
        rollouts += other.rollouts
        promptTokens += other.promptTokens
        tokens += other.tokens
        stopped += other.stopped
        stoppedByText += other.stoppedByText
        stoppedByToken += other.stoppedByToken
        withoutToken += other.withoutToken
        beyondHalf += other.beyondHalf
        entropySum += other.entropySum
    }
}
