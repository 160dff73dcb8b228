import ChatPrompts
import ChatTemplates
import Files
import Formats
import Foundation
import Models
import StageSupport
import Tokenizer

/// What all rollouts of a run share.
struct SampleSettings: Sendable {
    let sampling: SamplingParameters
    let groupSize: Int
    let maxTokens: Int
    let seed: UInt64
    let version: String
    /// What ends every rollout, beside the checkpoint's end-of-sequence tokens and what its prompt or job adds.
    let stop: StopCondition
    /// For prompts that are text.
    let specialTokens: SpecialTokenRule
}

extension StopCondition {
    /// Both: what all rollouts stop at, and what one prompt or job asks for.
    func adding(texts more: [String], tokens moreTokens: [Int32]) -> StopCondition {
        StopCondition(tokens: tokens.union(moreTokens), texts: StopFields.union(texts, more))
    }

    /// As a rollout's shard says it, so that whoever goes on from it stops at the same.
    var metadata: [String: String] { StopFields.metadata(texts: texts, tokens: tokens.sorted()) }
}

/// One rollout to be sampled: what the model continues, and what its shard will say about it.
struct Sample: Sendable {
    var request: GenerationRequest
    /// Everything that is known before sampling.
    var metadata: [String: String]
    /// Where the response's text begins: after the prompt, also where a job's prefix goes on into the response.
    var responseStart: Int

    /// Of metadata, where a prompt's text had lone surrogates or bytes that are no UTF-8.
    static let brokenTextKey = "broken_text"
}

/// Where rollouts come from: prompts of a file, or jobs of a plan.
enum RolloutSource {
    case prompts(String)
    /// Files of request lines; the folder where they came from one.
    case jobs([String], folder: String?)

    init(prompts: String?, jobs: String?) throws {
        if let prompts {
            self = .prompts(prompts)
            return
        }
        let path = jobs ?? ""
        guard try fileStatus(path) != nil else {
            throw StageError(
                .invalidInput,
                "\(path): no such jobs folder or file; crux-plan with an expansion recipe makes plan/jobs")
        }
        self =
            try Folder.isFolder(path)
            ? .jobs(try JobDirectory(path).lineFiles(), folder: path) : .jobs([path], folder: nil)
    }

    /// Jobs in their plan are held against its manifest.
    func verify(_ context: StageContext) throws {
        if case .jobs(_, let folder?) = self { try JobDirectory(folder).verify(context) }
    }

    func inputFiles() throws -> [Manifest.File] {
        switch self {
        case .prompts(let path): [try .input("prompts", path)]
        // The sidecar tells where responses begin.
        case .jobs(let files, let folder):
            try files.map { try .input("jobs", $0) } + (folder.map { try JobDirectory($0).inputFiles() } ?? [])
        }
    }

    func samples(
        _ settings: SampleSettings, tokenizer: Tokenizer?, chats: ChatSource, architecture: DecoderArchitecture,
        checkpoint: String
    ) throws -> [Sample] {
        let limit = SampleLimits(architecture: architecture, checkpoint: checkpoint)
        switch self {
        case .prompts(let path):
            return try PromptFile(
                path: path, tokenizer: tokenizer, chats: chats, settings: settings, limits: limit
            ).samples()
        case .jobs(let files, let folder):
            return try JobFiles(
                files: files, folder: folder, settings: settings, hasText: tokenizer != nil, limits: limit
            ).samples()
        }
    }
}

/// What a checkpoint can take.
struct SampleLimits {
    let architecture: DecoderArchitecture
    let checkpoint: String

    /// Tokens that may follow a prefix; throws where there is no room or an id is unknown.
    func room(after prefix: [Int32], wanted: Int, file: String, line: Int) throws -> Int {
        func fail(_ found: String, _ expected: String) -> FormatError {
            FormatError(file: file, place: "line \(line)", found: found, expected: expected)
        }
        guard !prefix.isEmpty else { throw fail("an empty prompt", "at least one token") }
        if let bad = prefix.first(where: { !(0..<Int32(architecture.vocabulary)).contains($0) }) {
            throw fail("token id \(bad)", "ids below the vocabulary of \(checkpoint), \(architecture.vocabulary)")
        }
        guard prefix.count < architecture.maxPositions else {
            throw fail("\(prefix.count) tokens", "fewer than the checkpoint's \(architecture.maxPositions) positions")
        }
        return min(wanted, architecture.maxPositions - prefix.count)
    }
}

/// A prompt file: JSON lines with group_id, prompt, messages or prompt_token_ids, reference_answer, data_source, stop,
/// stop_token_ids.
struct PromptFile {
    let path: String
    /// nil where the checkpoint has none: then prompts must be token ids.
    let tokenizer: Tokenizer?
    let chats: ChatSource
    let settings: SampleSettings
    let limits: SampleLimits

    private struct Line {
        var groupID: String
        var prompt: String?
        var chat: GivenChat?
        var tokens: [Int32]?
        var referenceAnswer: String
        var dataSource: String
        var stop: StopCondition
        /// Whether text of it is no whole Unicode: U+FFFD stands where it isn't.
        var isBroken: Bool
    }

    func samples() throws -> [Sample] {
        var samples: [Sample] = [], seen = Set<[UInt8]>()
        try forEachLine(of: path) { number, text in
            let line = try parse(text, number)
            guard seen.insert(Array(line.groupID.utf8)).inserted else {
                throw fail(number, "group_id '\(line.groupID)' again", "each group once")
            }
            samples += try group(line, number)
        }
        guard !samples.isEmpty else {
            throw FormatError(file: path, place: "", found: "no prompt", expected: "at least one JSON line")
        }
        return samples
    }

    private func fail(_ line: Int, _ found: String, _ expected: String) -> FormatError {
        FormatError(file: path, place: "line \(line)", found: found, expected: expected)
    }

    private func parse(_ text: Data, _ number: Int) throws -> Line {
        let json = JSONLine(text)
        guard let object = json.whole else {
            throw fail(
                number, "'\(String(decoding: text.prefix(60), as: UTF8.self))'",
                "JSON with group_id and prompt or prompt_token_ids (\(json.damage?.description ?? ""))")
        }
        /// Numbers and truth values are taken as they were written.
        func scalar(_ key: String) throws -> String? {
            guard let value = object.given(key) else { return nil }
            guard value.list == nil, value.object == nil else {
                throw fail(number, "\(key) \(value.excerpt)", "text or a number")
            }
            return key == "group_id" ? value.identifier : value.text
        }
        let tokens = try tokens(object["prompt_token_ids"]?.foundation, number)
        guard let groupID = try scalar("group_id"), !groupID.isEmpty else {
            throw fail(number, "no group_id", "group_id and prompt, messages or prompt_token_ids")
        }
        let chat = try chat(object, number), prompt = object["prompt"]?.string
        guard prompt != nil || chat != nil || tokens != nil else {
            throw fail(number, "no prompt", "group_id and prompt, messages or prompt_token_ids")
        }
        return Line(
            groupID: groupID, prompt: prompt, chat: chat, tokens: tokens,
            referenceAnswer: try scalar("reference_answer") ?? "",
            dataSource: try scalar("data_source") ?? "", stop: try stop(object, number), isBroken: json.brokenTexts > 0)
    }

    /// `messages`, or `prompt` as a list of messages.
    private func chat(_ object: JSONObject, _ number: Int) throws -> GivenChat? {
        let prompt = object.given("prompt")
        if let prompt, prompt.string == nil, !GivenChat.isChat(prompt) {
            throw fail(number, "prompt \(prompt.excerpt)", "text, or a list of messages")
        }
        guard let messages = object.given("messages") else {
            return prompt.flatMap { $0.string == nil ? GivenChat($0, in: object) : nil }
        }
        guard prompt == nil else { throw fail(number, "both a prompt and messages", "one of them") }
        return GivenChat(messages, in: object)
    }

    private func tokens(_ value: Any?, _ number: Int) throws -> [Int32]? {
        guard let value, !(value is NSNull) else { return nil }
        guard let ids = StopFields.tokenIDs(value) else {
            throw fail(
                number, "prompt_token_ids \(String(describing: value).prefix(60))",
                "a list of token ids, whole numbers from 0")
        }
        return ids
    }

    private func stop(_ object: JSONObject, _ number: Int) throws -> StopCondition {
        let wanted: StopCondition
        do {
            wanted = settings.stop.adding(
                texts: try StopFields.texts(object["stop"]?.foundation),
                tokens: try StopFields.tokens(object["stop_token_ids"]?.foundation))
        } catch { throw fail(number, "a prompt whose \(error)", "what ends its rollouts") }
        guard wanted.texts.isEmpty || tokenizer != nil else {
            throw fail(
                number, "stop strings",
                "none, because \(limits.checkpoint) has no tokenizer that Crux reads; give stop_token_ids")
        }
        return wanted
    }

    private func rendered(_ chat: GivenChat, _ number: Int) throws -> ChatTokens.Prompt {
        guard let tokens = try chats.tokens() else {
            throw fail(
                number, "a chat's messages",
                "a prompt as text or prompt_token_ids, because \(limits.checkpoint) has no chat template that Crux reads"
            )
        }
        do { return try tokens.prompt(chat) } catch let fault as ChatFault {
            throw fail(number, fault.found, fault.expected)
        } catch let error as TemplateError {
            throw FormatError(
                file: path, place: "line \(number)", found: "a chat of which the template makes no prompt",
                expected: "one that it takes", remedy: error.description)
        }
    }

    private func ids(_ line: inout Line, _ number: Int) throws -> [Int32] {
        if let tokens = line.tokens { return tokens }
        if let chat = line.chat {
            let prompt = try rendered(chat, number)
            line.prompt = prompt.text
            return prompt.ids
        }
        guard let tokenizer else {
            throw fail(
                number, "a prompt as text",
                "prompt_token_ids, because \(limits.checkpoint) has no tokenizer that Crux reads")
        }
        return tokenizer.encode(line.prompt ?? "", specialTokens: settings.specialTokens)
    }

    private func group(_ given: Line, _ number: Int) throws -> [Sample] {
        var line = given
        let ids = try ids(&line, number)
        let room = try limits.room(after: ids, wanted: settings.maxTokens, file: path, line: number)
        return (0..<settings.groupSize).map { index in
            let seed = SHA256Digest.of("\(settings.seed)/\(line.groupID)/\(index)").prefix(16)
            let metadata = [
                "rollout_id": line.groupID + "-" + (index < 10 ? "0" : "") + "\(index)", "group_id": line.groupID,
                "sample_index": "\(index)",
                "prompt": line.prompt ?? tokenizer?.decode(ids, skippingSpecialTokens: false) ?? "",
                "reference_answer": line.referenceAnswer, "data_source": line.dataSource,
            ].merging(line.stop.metadata) { $1 }.merging(line.isBroken ? [Sample.brokenTextKey: "true"] : [:]) { $1 }
            let request = GenerationRequest(
                prompt: ids, maxTokens: room, seed: UInt64(seed, radix: 16) ?? 0, sampling: settings.sampling,
                stop: line.stop)
            return Sample(request: request, metadata: metadata, responseStart: ids.count)
        }
    }
}

/// Request lines as crux-plan writes them for engines. The sidecar, where it lies beside them, tells where responses
/// begin.
struct JobFiles {
    let files: [String]
    let folder: String?
    let settings: SampleSettings
    /// Whether there is a tokenizer, without which stop strings can't be found.
    let hasText: Bool
    let limits: SampleLimits

    func samples() throws -> [Sample] {
        try folder.map { try JobDirectory($0).requireOneMaking() }
        let known = try folder.map { try JobIndex(JobDirectory($0)) }
        var samples: [Sample] = []
        for file in files {
            try forEachLine(of: file) { number, text in
                guard let request = EngineDialects.decodeRequest(text) else {
                    throw FormatError(
                        file: file, place: "line \(number)",
                        found: "'\(String(decoding: text.prefix(60), as: UTF8.self))'",
                        expected: "a request with token ids (dialect openai or sglang)")
                }
                samples.append(try sample(request, known, file, number))
            }
        }
        return samples
    }

    private func sample(_ wanted: EngineRequest, _ known: JobIndex?, _ file: String, _ line: Int) throws -> Sample {
        let room = try limits.room(after: wanted.prefix, wanted: wanted.maxTokens, file: file, line: line)
        func fail(_ found: String, _ expected: String) -> FormatError {
            FormatError(file: file, place: "line \(line)", found: found, expected: expected)
        }
        guard room > 0 else { throw fail("max_tokens \(room)", "at least 1") }
        if let problem = wanted.malformedField {
            throw fail("a job whose \(problem)", "a request as crux-plan writes it")
        }
        let stop = settings.stop.adding(texts: wanted.stop, tokens: wanted.stopTokenIDs)
        guard stop.texts.isEmpty || hasText else {
            throw fail(
                "stop strings",
                "none, because \(limits.checkpoint) has no tokenizer that Crux reads; give stop_token_ids")
        }
        let request = GenerationRequest(
            prompt: wanted.prefix, maxTokens: room, seed: UInt64(bitPattern: wanted.seed),
            sampling: SamplingParameters(temperature: wanted.temperature, topP: wanted.topP, topK: wanted.topK),
            stop: stop)
        let start = known.flatMap { known in
            known.number(of: wanted.customID).map { Int(known.jobs[$0].responseStart) }
        }
        guard known == nil || start != nil else {
            throw FormatError(
                file: file, place: "line \(line)",
                found: "job '\(wanted.customID)', which \(JobDirectory.jobsName) beside it doesn't have",
                expected: "lines and table as crux-plan wrote them together",
                remedy: "Plan the jobs again, or give the file of lines alone.")
        }
        var metadata = ["rollout_id": wanted.customID, "group_id": wanted.customID, "job_id": wanted.customID]
        metadata.merge(stop.metadata) { $1 }
        if start != nil { metadata["completion_scope"] = "response" }
        return Sample(request: request, metadata: metadata, responseStart: start ?? wanted.prefix.count)
    }
}
