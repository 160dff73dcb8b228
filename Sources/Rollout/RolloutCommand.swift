import ArgumentParser
import ChatPrompts
import ChatTemplates
import Files
import Formats
import Foundation
import Models
import StageSupport
import Tensors
import Tokenizer

@main
enum RolloutMain {
    static func main() { RolloutCommand.runMain() }
}

extension SpecialTokenRule: ExpressibleByArgument {}
extension GenerationPrecision: ExpressibleByArgument {}

enum LogitsType: String, ExpressibleByArgument, CaseIterable {
    case bf16, f16, f32
    var dtype: DType { self == .bf16 ? .bf16 : self == .f16 ? .f16 : .f32 }
}

/// A checkpoint and prompts, or jobs → rollout shards, sampled on the CPU.
struct RolloutCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-rollout",
        abstract: "Samples rollouts from a Hugging Face checkpoint, for prompts or for re-expansion jobs.",
        version: cruxVersion)
    static let stage = "rollout"
    static let memoryHabit = MemoryHabit.kept

    @Option(help: "Hugging Face checkpoint to sample from, with its tokenizer.json.", transform: ModelFolder.path)
    var checkpoint: String

    @Option(
        help: "Prompts as JSON lines: group_id, prompt, messages or prompt_token_ids, reference_answer, data_source.")
    var prompts: String?

    @Option(help: "Jobs to run: the jobs folder of crux-plan, or a file of request lines such as missing.jsonl.")
    var jobs: String?

    @Option(help: "Directory to make.")
    var output: String

    @Option(help: "Rollouts per prompt.")
    var groupSize = 8

    @Option(help: "Most tokens to sample for a prompt (default: 1024); jobs bring their own.")
    var maxTokens = 1024

    @Option(help: "Sampling temperature; 0 is greedy.")
    var temperature: Float = 1

    @Option(help: "Sample from the most likely tokens that make up this probability.")
    var topP: Float = 1

    @Option(help: "Sample from this many most likely tokens; 0 is all.")
    var topK = 0

    @Option(help: "Text that ends a rollout, beside what its prompt or job says: not in its text. May be repeated.")
    var stop: [String] = []

    @Option(
        parsing: .upToNextOption,
        help: "Token ids that end a rollout, beside the checkpoint's eos_token_id and what its prompt or job says.")
    var stopTokenIds: [Int32] = []

    @Option(
        help:
            "Special tokens around prompts that are text: auto (none where one begins with them itself), always, never."
    )
    var addSpecialTokens = SpecialTokenRule.auto

    @OptionGroup var chats: ChatOptions

    @Flag(help: "Write the raw logits of every sampled token.")
    var logits = false

    @Option(help: "Type of the written logits: f16 (eight times finer than bf16 at the same size), bf16, f32.")
    var logitsType = LogitsType.f16

    @Option(help: "Rollouts computed at a time; what is sampled doesn't depend on it.")
    var batch = 32

    @Option(help: "Rollouts per shard file.")
    var rolloutsPerShard = 256

    @Option(help: "Text to record as policy_version (default: a digest of the checkpoint).")
    var policyVersion: String?

    @Option(
        help:
            "Factors of matrix products: f32; bf16 (both rounded; fast on AMD's processors); bf16-amx (both rounded, sums as Intel's AMX forms them); bf16-weights (f32's bytes for a bf16 checkpoint, half the memory to read)."
    )
    var precision = GenerationPrecision.f32

    @OptionGroup var options: StageOptions

    func validate() throws {
        guard (prompts == nil) != (jobs == nil) else { throw ValidationError("Give either --prompts or --jobs.") }
        for (name, value) in [
            ("--group-size", groupSize), ("--max-tokens", maxTokens), ("--batch", batch),
            ("--rollouts-per-shard", rolloutsPerShard),
        ]
        where value < 1 { throw ValidationError("\(name) is \(value); it must be at least 1.") }
        guard temperature >= 0, temperature.isFinite else {
            throw ValidationError("--temperature is \(temperature); it must be 0 or more.")
        }
        guard topP > 0, topP <= 1 else {
            throw ValidationError("--top-p is \(topP); it must be above 0 and at most 1.")
        }
        guard !stop.contains("") else { throw ValidationError("--stop is empty; it would end every rollout at once.") }
        if let bad = stopTokenIds.first(where: { $0 < 0 }) {
            throw ValidationError("--stop-token-ids has \(bad); ids are from 0.")
        }
        guard topK >= 0 else { throw ValidationError("--top-k is \(topK); it must be 0 (all) or more.") }
    }

    func runStage(_ context: StageContext) throws -> StageSummary {
        try Undertaking.requireApart(output, places, options)
        let model = try Checkpoint(directory: checkpoint)
        model.notes.forEach(context.warn)
        if let warning = precision.slownessWarning() { context.warn(warning) }
        let digests = try model.inputPaths.map { try Manifest.File.input("checkpoint", $0) }
        let settings = SampleSettings(
            sampling: SamplingParameters(temperature: temperature, topP: topP, topK: topK), groupSize: groupSize,
            maxTokens: maxTokens, seed: options.seed,
            version: policyVersion ?? Self.version(digests),
            stop: StopCondition(tokens: Set(stopTokenIds), texts: StopFields.union(stop, [])),
            specialTokens: addSpecialTokens)
        let endOfSequence = try requiredStopTokens()
        let tokenizer = try tokenizer(context), source = try RolloutSource(prompts: prompts, jobs: jobs)
        try source.verify(context)
        let chatSource = ChatSource(checkpoint, tokenizer, chats)
        let samples = try source.samples(
            settings, tokenizer: tokenizer, chats: chatSource, architecture: model.architecture,
            checkpoint: checkpoint)
        chatSource.note.map(context.warn)
        let broken = Set(
            samples.filter { $0.metadata[Sample.brokenTextKey] != nil }.compactMap { $0.metadata["group_id"] }
        ).count
        if broken > 0 { context.warn("\(broken) prompts \(RolloutRemark.brokenText.sentence)") }
        let plan = Manifest(
            stage: Self.stage, configuration: configuration(settings).merging(chatSource.settings) { $1 },
            inputs: digests + (try textFiles(hasChats: chatSource.used != nil)) + (try source.inputFiles()))
        let undertaking = Undertaking(plan, output: output, reads: places, options: options)
        return try undertaking.run(context, would: ["rollouts": samples.count]) { directory in
            try RolloutRun(
                directory: directory, checkpoint: model, tokenizer: tokenizer, endOfSequence: endOfSequence,
                samples: samples, settings: settings,
                logits: logits ? logitsType.dtype : nil, slots: batch, perShard: rolloutsPerShard,
                precision: precision, context: context
            ).run()
        }
    }

    private func readableTokenizer(_ context: StageContext) throws -> Tokenizer? {
        let consequence = "rollouts carry token ids alone, no completion for a reward to read"
        guard try fileExists(checkpoint + "/tokenizer.json") else {
            context.warn("\(checkpoint) has no tokenizer.json: \(consequence)")
            return nil
        }
        do { return try Tokenizer(path: checkpoint) } catch let error as UnsupportedTokenizer {
            context.warn("\(error.description) \(consequence)")
            return nil
        }
    }

    /// nil where the checkpoint has none, which prompts given as token ids can do without.
    private func tokenizer(_ context: StageContext) throws -> Tokenizer? {
        guard let tokenizer = try readableTokenizer(context) else {
            guard stop.isEmpty else {
                throw StageError(
                    .invalidInput,
                    "\(checkpoint): no tokenizer that Crux reads, which --stop needs; give --stop-token-ids")
            }
            return nil
        }
        tokenizer.notes.forEach(context.warn)
        for text in stop {
            if let id = tokenizer.id(of: text), tokenizer.decodedBytes([id]).isEmpty {
                context.warn(
                    "--stop '\(text)' is a special token's, which a rollout's text never shows: it ends nothing; --stop-token-ids \(id) would"
                )
            }
        }
        return tokenizer
    }

    private var places: [InputPlace] {
        [InputPlace(checkpoint)] + [prompts].compactMap { $0 }.map { InputPlace($0) }
            + [jobs].compactMap { $0 }.map(InputPlace.dump)
    }

    private func requiredStopTokens() throws -> Set<Int32> {
        if let tokens = try StopTokens.read(checkpoint) { return tokens }
        throw FormatError(
            file: checkpoint + "/config.json", place: "key eos_token_id",
            found: "nothing, here or in generation_config.json",
            expected: "the id of the token that ends a rollout, or a list of ids")
    }

    /// What tokens, and the end of a rollout, depend on beside the weights.
    private func textFiles(hasChats: Bool) throws -> [Manifest.File] {
        let own = try StopTokens.inputPaths(checkpoint).filter { !$0.hasSuffix("/config.json") }
        let tokenizer = try Tokenizer.inputPaths(checkpoint)
        let templates = hasChats ? try CheckpointTemplate.inputPaths(checkpoint).filter { !tokenizer.contains($0) } : []
        return try own.map { try .input("checkpoint", $0) }
            + (tokenizer + templates).map { try .input("tokenizer", $0) }
    }

    /// The weights' digest in short.
    private static func version(_ files: [Manifest.File]) -> String {
        String(SHA256Digest.of(files.compactMap(\.sha256).joined(separator: " ")).prefix(16))
    }

    private func configuration(_ settings: SampleSettings) -> [String: String] {
        var own = settings.stop.metadata
        if precision != .f32 { own["precision"] = precision.rawValue }
        return [
            "group_size": "\(groupSize)", "max_tokens": "\(maxTokens)", "temperature": "\(temperature)",
            "top_p": "\(topP)", "top_k": "\(topK)",
            "seed": "\(options.seed)", "logits": logits ? logitsType.rawValue : "none",
            "rollouts_per_shard": "\(rolloutsPerShard)",
            "policy_version": settings.version, "add_special_tokens": addSpecialTokens.rawValue,
        ].merging(own) { $1 }
    }
}
