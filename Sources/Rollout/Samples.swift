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
}

/// One rollout to be sampled: what the model continues, and what its shard will say about it.
struct Sample: Sendable {
    var request: GenerationRequest
    /// Everything that is known before sampling.
    var metadata: [String: String]
    /// Where the response's text begins: after the prompt, also where a job's prefix goes on into the response.
    var responseStart: Int
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
            throw StageError(.invalidInput, "\(path): no such jobs folder or file; crux-plan with an expansion recipe makes plan/jobs")
        }
        self = try Folder.isFolder(path) ? .jobs(try JobDirectory(path).lineFiles(), folder: path) : .jobs([path], folder: nil)
    }

    func inputFiles() throws -> [Manifest.File] {
        let paths =
            switch self {
            case .prompts(let path): [path]
            case .jobs(let files, _): files
            }
        return try paths.map { Manifest.File(path: $0, sha256: try SHA256Digest.ofFile($0)) }
    }

    func samples(_ settings: SampleSettings, tokenizer: Tokenizer, architecture: DecoderArchitecture, checkpoint: String) throws -> [Sample] {
        let limit = SampleLimits(architecture: architecture, checkpoint: checkpoint)
        switch self {
        case .prompts(let path): return try PromptFile(path: path, tokenizer: tokenizer, settings: settings, limits: limit).samples()
        case .jobs(let files, let folder): return try JobFiles(files: files, folder: folder, settings: settings, limits: limit).samples()
        }
    }
}

/// What a checkpoint can take.
struct SampleLimits {
    let architecture: DecoderArchitecture
    let checkpoint: String

    /// Tokens that may follow a prefix; throws where there is no room or an id is unknown.
    func room(after prefix: [Int32], wanted: Int, file: String, line: Int) throws -> Int {
        func fail(_ found: String, _ expected: String) -> FormatError { FormatError(file: file, place: "line \(line)", found: found, expected: expected) }
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

/// A prompt file: JSON lines with group_id, prompt or prompt_token_ids, reference_answer, data_source.
struct PromptFile {
    let path: String
    let tokenizer: Tokenizer
    let settings: SampleSettings
    let limits: SampleLimits

    private struct Line: Decodable {
        var group_id: String
        var prompt: String?
        var prompt_token_ids: [Int32]?
        var reference_answer: String?
        var data_source: String?
    }

    func samples() throws -> [Sample] {
        var samples: [Sample] = [], seen = Set<String>()
        try forEachLine(of: path) { number, text in
            let line = try parse(text, number)
            guard seen.insert(line.group_id).inserted else { throw fail(number, "group_id '\(line.group_id)' again", "each group once") }
            samples += try group(line, number)
        }
        guard !samples.isEmpty else { throw FormatError(file: path, place: "", found: "no prompt", expected: "at least one JSON line") }
        return samples
    }

    private func fail(_ line: Int, _ found: String, _ expected: String) -> FormatError {
        FormatError(file: path, place: "line \(line)", found: found, expected: expected)
    }

    private func parse(_ text: Data, _ number: Int) throws -> Line {
        guard let line = try? JSONDecoder().decode(Line.self, from: text) else {
            throw fail(number, "'\(String(decoding: text.prefix(60), as: UTF8.self))'", "JSON with group_id and prompt or prompt_token_ids")
        }
        guard !line.group_id.isEmpty, line.prompt != nil || line.prompt_token_ids != nil else {
            throw fail(number, "no \(line.group_id.isEmpty ? "group_id" : "prompt")", "group_id and prompt or prompt_token_ids")
        }
        return line
    }

    private func group(_ line: Line, _ number: Int) throws -> [Sample] {
        let ids = line.prompt_token_ids ?? tokenizer.encode(line.prompt ?? "")
        let room = try limits.room(after: ids, wanted: settings.maxTokens, file: path, line: number)
        return (0..<settings.groupSize).map { index in
            let seed = SHA256Digest.of("\(settings.seed)/\(line.group_id)/\(index)").prefix(16)
            let metadata = [
                "rollout_id": line.group_id + "-" + (index < 10 ? "0" : "") + "\(index)", "group_id": line.group_id, "sample_index": "\(index)",
                "prompt": line.prompt ?? tokenizer.decode(ids, skippingSpecialTokens: false), "reference_answer": line.reference_answer ?? "",
                "data_source": line.data_source ?? "",
            ]
            let request = GenerationRequest(prompt: ids, maxTokens: room, seed: UInt64(seed, radix: 16) ?? 0, sampling: settings.sampling)
            return Sample(request: request, metadata: metadata, responseStart: ids.count)
        }
    }
}

/// Request lines as crux-plan writes them for engines. The sidecar, where it lies beside them, tells where responses begin.
struct JobFiles {
    let files: [String]
    let folder: String?
    let settings: SampleSettings
    let limits: SampleLimits

    func samples() throws -> [Sample] {
        let known = try folder.map { try Sidecar(JobDirectory($0)) }
        var samples: [Sample] = []
        for file in files {
            try forEachLine(of: file) { number, text in
                guard let request = EngineDialects.decodeRequest(text) else {
                    throw FormatError(
                        file: file, place: "line \(number)", found: "'\(String(decoding: text.prefix(60), as: UTF8.self))'",
                        expected: "a request with token ids (dialect openai or sglang)")
                }
                samples.append(try sample(request, known, file, number))
            }
        }
        return samples
    }

    private func sample(_ wanted: EngineRequest, _ known: Sidecar?, _ file: String, _ line: Int) throws -> Sample {
        let room = try limits.room(after: wanted.prefix, wanted: wanted.maxTokens, file: file, line: line)
        guard room > 0 else { throw FormatError(file: file, place: "line \(line)", found: "max_tokens \(room)", expected: "at least 1") }
        let request = GenerationRequest(
            prompt: wanted.prefix, maxTokens: room, seed: UInt64(bitPattern: wanted.seed),
            sampling: SamplingParameters(temperature: wanted.temperature, topP: wanted.topP, topK: wanted.topK))
        let start = known?.responseStart[wanted.customID]
        var metadata = ["rollout_id": wanted.customID, "group_id": wanted.customID, "job_id": wanted.customID]
        if start != nil { metadata["completion_scope"] = "response" }
        return Sample(request: request, metadata: metadata, responseStart: start ?? wanted.prefix.count)
    }

    private struct Sidecar {
        let responseStart: [String: Int]

        init(_ directory: JobDirectory) throws {
            let starts = Dictionary(uniqueKeysWithValues: try directory.bases().map { ($0.rollout.rolloutID, $0.rollout.lossMask.firstIndex(of: true) ?? 0) })
            responseStart = Dictionary(try directory.jobs().map { ($0.customID, starts[$0.baseRolloutID] ?? 0) }) { first, _ in first }
        }
    }
}
