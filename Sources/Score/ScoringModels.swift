import Formats
import Foundation
import Models
import StageSupport
import Tensors

/// What score's models say of one rollout, [L] each; nil where no model was there to say it.
struct ModelScores: Sendable {
    var policy: SequenceScores?
    var referenceLogprobs: [Float]?
    var teacherLogprobs: [Float]?
    /// What the teacher read; nil without one.
    var teacherPrompt: TeacherPromptKind?
    var values: [Float]?
    var processLogprobs: [Float]?
    var processReferenceLogprobs: [Float]?
    var referenceKL: [Float]?
    var expectedQ: [Float]?
    /// States in which the reference excludes a token that the policy reaches: its log-probability counts as -30.
    var excludingStates = 0
}

/// The checkpoints that score may run.
struct ScoringModels: Sendable {
    /// The policy itself.
    let checkpoint: ScoringModel?
    /// Its frozen reference.
    let reference: ScoringModel?
    /// Who teaches the policy, maybe from behind another prompt.
    let teacher: ScoringModel?
    let critic: ScoringModel?
    /// An implicit reward model and what it is measured against (PRIME).
    let process: ScoringModel?
    let processReference: ScoringModel?
    /// The target Q network (ETPO).
    let q: ScoringModel?

    /// `halves`: nil where products are float32.
    init(_ paths: ModelPaths, threads: Int, halves: HalfProducts?) throws {
        func open(
            _ path: String?, _ flag: String, as role: Checkpoint.Role = .languageModel, target: Bool = false,
            replaysExperts: Bool = false
        ) throws -> ScoringModel? {
            try path.map {
                try ScoringModel(
                    $0, ModelSource($0, as: role, target: target, flag: flag), replaysExperts: replaysExperts,
                    threads: threads, halves: halves)
            }
        }
        checkpoint = try open(paths.checkpoint, "--checkpoint", replaysExperts: true)
        reference = try open(paths.reference, "--reference")
        teacher = try open(paths.teacher, "--teacher")
        critic = try open(paths.critic, "--critic", as: .critic)
        process = try open(paths.processReward, "--process-reward")
        processReference = try open(paths.processReference, "--process-reference")
        q = try open(paths.qNetwork, "--q-network", target: true)
        try requireOneVocabulary()
    }

    /// What a reader should know of the checkpoints' files.
    var fileNotes: [String] { all.flatMap(\.notes) }

    private var all: [ScoringModel] {
        [checkpoint, reference, teacher, critic, process, processReference, q].compactMap { $0 }
    }

    private func requireOneVocabulary() throws {
        guard let checkpoint,
            let other = [reference, teacher, q].compactMap({ $0 }).first(where: {
                $0.vocabulary != checkpoint.vocabulary
            })
        else { return }
        throw StageError(
            .invalidInput,
            "\(other.directory): found a vocabulary of \(other.vocabulary), expected \(checkpoint.vocabulary), that of \(checkpoint.directory): they are compared token by token."
        )
    }

    func inputFiles() throws -> [Manifest.File] {
        let roles = [
            ("checkpoint", checkpoint), ("reference", reference), ("teacher", teacher), ("critic", critic),
            ("process-reward", process),
            ("process-reference", processReference), ("q-network", q),
        ]
        return try roles.flatMap { role, policy in try policy?.inputFiles(role) ?? [] }
    }

    /// Which weights were taken, where a folder has them twice.
    func notes() throws -> [String] {
        let named = [
            ("policy", checkpoint), ("reference", reference), ("teacher", teacher), ("critic", critic),
            ("reward model", process),
            ("its reference", processReference),
            ("Q network", q),
        ]
        return try named.compactMap { name, policy in try policy.flatMap { try $0.source.note($0.directory, name) } }
    }

    /// True where a critic has no value head of its own yet: its values are all 0.
    var hasFreshCritic: Bool { critic?.hasFreshValueHead == true }

    /// `prompts`: what a teacher reads.
    func score(_ rows: [RolloutRow], _ prompts: TeacherPrompts?) throws -> [ModelScores] {
        var scores = [ModelScores](repeating: ModelScores(), count: rows.count)
        func fill<T>(_ path: WritableKeyPath<ModelScores, T?>, _ values: [T]?) {
            for (index, value) in (values ?? []).enumerated() { scores[index][keyPath: path] = value }
        }
        if let checkpoint, let reference {
            let compared = try checkpoint.compare(rows, reference: reference, q: q)
            fill(\.policy, compared.map(\.policy))
            fill(\.referenceLogprobs, compared.map(\.reference.logprobs))
            for (index, score) in compared.enumerated() {
                scores[index].excludingStates = score.excludingStates
                // These two are of whole distributions, which nobody drew from there.
                guard rows[index].support == nil else { continue }
                scores[index].referenceKL = score.kl
                if q != nil { scores[index].expectedQ = score.expectedQ }
            }
        } else {
            // Where the dump has hidden states, the head has said it all.
            let open = rows.indices.filter { rows[$0].evidence != EntropySource.hidden.rawValue }
            for (index, score) in zip(open, try checkpoint?.score(open.map { rows[$0] }) ?? []) {
                scores[index].policy = score
            }
            fill(\.referenceLogprobs, try reference?.score(rows).map(\.logprobs))
        }
        if let teacher {
            let read = try rows.map { try prompts?.row($0) ?? TeacherRow($0) },
                scored = try teacher.score(read.map(\.row))
            fill(\.teacherLogprobs, zip(read, scored).map { $0.placed($1.logprobs) })
            for (index, row) in read.enumerated() { scores[index].teacherPrompt = row.kind }
        }
        fill(\.values, try critic?.score(rows, .value).map(\.outputs))
        fill(\.processLogprobs, try process?.score(rows).map(\.logprobs))
        fill(\.processReferenceLogprobs, try processReference?.score(rows).map(\.logprobs))
        return scores
    }
}

/// Folders of the checkpoints, or of updates, as given.
struct ModelPaths {
    var checkpoint: String?
    var reference: String?
    var teacher: String?
    var critic: String?
    var processReward: String?
    var processReference: String?
    var qNetwork: String?

    var all: [String] {
        [checkpoint, reference, teacher, critic, processReward, processReference, qNetwork].compactMap { $0 }
    }
}

/// A checkpoint, asked about the tokens of rollouts. Its weights are loaded when the first question comes: all of them,
/// or the head's alone.
final class ScoringModel: @unchecked Sendable {
    let directory: String
    let vocabulary: Int
    let hasFreshValueHead: Bool
    let source: ModelSource
    /// Whether its routers take the experts that the sampler's took: the policy's do, others go their own ways.
    private let replaysExperts: Bool
    var notes: [String] { source.checkpoint.notes }
    private let threads: Int
    private let halves: HalfProducts?
    private let lock = NSLock()
    private var loadedModel: LanguageModel?
    private var loadedHead: HeadModel?

    /// `directory`: as it was given.
    init(
        _ directory: String, _ source: ModelSource, replaysExperts: Bool = false, threads: Int, halves: HalfProducts?
    ) throws {
        self.directory = directory
        self.source = source
        self.replaysExperts = replaysExperts
        (self.threads, self.halves) = (threads, halves)
        hasFreshValueHead = source.checkpoint.hasFreshValueHead
        vocabulary = source.checkpoint.architecture.vocabulary
    }

    private func model() throws -> LanguageModel {
        try lock.withLock {
            let model = try loadedModel ?? source.model(threads: threads, halves: halves)
            loadedModel = model
            return model
        }
    }

    func head() throws -> HeadModel {
        try lock.withLock {
            let head = try loadedHead ?? source.head(threads: threads, halves: halves)
            loadedHead = head
            return head
        }
    }

    func inputFiles(_ role: String) throws -> [Manifest.File] { try source.inputPaths.map { try .input(role, $0) } }

    /// Tokens scored at once: neighbours share prompts, and more buys nothing.
    private static let batchTokens = 4096

    /// Answers for every trainable token of every row, in row order.
    func score(_ rows: [RolloutRow], _ question: ModelOutputKind = .logprob) throws -> [SequenceScores] {
        guard !rows.isEmpty else { return [] }
        let model = try model()
        return try batches(rows, isOfSupport: question.isOfSupport).flatMap { try model.score($0, question) }
    }

    func compare(_ rows: [RolloutRow], reference: ScoringModel, q: ScoringModel?) throws -> [ComparedScores] {
        let model = try model(), reference = try reference.model(), q = try q?.model()
        return try batches(rows, isOfSupport: true).flatMap { try model.compare($0, reference: reference, q: q) }
    }

    /// Cut by tokens alone.
    private func batches(_ rows: [RolloutRow], isOfSupport: Bool) throws -> [[SequenceQuery]] {
        var batches: [[SequenceQuery]] = [[]], tokens = 0
        for row in rows {
            try check(row)
            if tokens > 0, tokens + row.tokenIDs.count > Self.batchTokens {
                batches.append([])
                tokens = 0
            }
            batches[batches.count - 1].append(
                SequenceQuery(
                    tokenIDs: row.tokenIDs, wanted: row.lossMask, temperature: row.temperature,
                    supports: isOfSupport ? row.support?.byPosition(row.lossMask) : nil,
                    routes: replaysExperts ? row.routes : nil))
            tokens += row.tokenIDs.count
        }
        return batches.filter { !$0.isEmpty }
    }

    private func check(_ row: RolloutRow) throws {
        let all = [row.tokenIDs, row.supportTokenIDs ?? []].joined()
        if replaysExperts, let fault = row.routes.flatMap({ source.checkpoint.architecture.fault(of: $0) }) {
            throw StageError(
                .invalidInput,
                "\(directory): rollout '\(row.rolloutID)': found \(fault.found), expected \(fault.expected). Give the "
                    + "checkpoint that sampled the dump, or --ignore-routed-experts, and its routers choose anew.")
        }
        guard let token = all.first(where: { !(0..<Int32(vocabulary)).contains($0) }) else { return }
        throw StageError(
            .invalidInput,
            "\(directory): rollout '\(row.rolloutID)': found token id \(token), expected ids below the checkpoint's vocabulary, \(vocabulary). Give the checkpoint that sampled the dump."
        )
    }
}
