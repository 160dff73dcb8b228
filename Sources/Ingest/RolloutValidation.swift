import Formats
import Foundation

/// The rules of the contract beyond shapes, and the row that a rollout which keeps them becomes.
struct RolloutValidation {
    private let frame: RolloutFrame
    private let span: FrameSpan
    private let keepLogits: Bool
    private let invalidLogprobs: InvalidLogprobs
    /// What `row()` had to leave out.
    private(set) var remarks: Set<RolloutRemark> = []
    private var metadata: [String: String] { frame.metadata }
    private var id: String? { metadata["rollout_id"] }

    init(_ frame: RolloutFrame, span: FrameSpan, keepLogits: Bool, invalidLogprobs: InvalidLogprobs = .reject) {
        self.frame = frame
        self.span = span
        self.keepLogits = keepLogits
        self.invalidLogprobs = invalidLogprobs
    }

    mutating func row() throws -> RolloutRow {
        var row = RolloutRow()
        try identify(&row)
        try Self.requireWhole(row.finishReason, id: id)
        try checkTokens()
        row.rolloutLogprobs = try sampledLogprobs()
        (row.oldLogprobs, row.advantages) = (try oldLogprobs(), try advantages())
        try checkReferenceAndValues()
        try checkDistributions()
        row.support = try support()
        row.routes = try experts()
        row.tokenRoles = try roles()
        row.tokenIDs = frame.tokenIDs
        row.lossMask = frame.lossMask
        locate(&row)
        return row
    }

    private func reject(_ reason: RejectReason, _ found: String, _ expected: String) -> Rejection {
        Rejection(id, reason, found: found, expected: expected)
    }

    // MARK: metadata

    private static let knownKeys: Set<String> = [
        "rollout_id", "group_id", "sample_index", "policy_version", "prompt", "completion", "reference_answer",
        "data_source", "finish_reason",
        "temperature", "top_p", "reward", "job_id", LogitsInfo.typeKey, RoutedExperts.startKey,
    ]

    private func identify(_ row: inout RolloutRow) throws {
        row.rolloutID = try required("rollout_id")
        row.groupID = try required("group_id")
        row.sampleIndex = try number("sample_index", default: 0, "a whole number") { Int32($0) }
        row.temperature = try number("temperature", default: 1, "a number above 0") {
            Float($0).flatMap { $0 > 0 && $0.isFinite ? $0 : nil }
        }
        row.topP = try number("top_p", default: 1, "a number above 0 and at most 1") {
            Float($0).flatMap { $0 > 0 && $0 <= 1 ? $0 : nil }
        }
        row.givenReward = try number("reward", default: nil, "a finite number") {
            Float($0).flatMap { $0.isFinite ? Optional($0) : nil }
        }
        row.policyVersion = metadata["policy_version"] ?? ""
        row.prompt = metadata["prompt"] ?? ""
        row.completion = metadata["completion"] ?? ""
        row.referenceAnswer = metadata["reference_answer"] ?? ""
        row.dataSource = metadata["data_source"] ?? ""
        row.finishReason = metadata["finish_reason"] ?? ""
        row.jobID = metadata["job_id"]
        row.extras = try extras()
        try checkSampling()
    }

    /// Words and numbers that later stages act upon: a misspelt one must not pass for its default.
    private func checkSampling() throws {
        let kinds = ["raw", "processed"]
        if let kind = metadata["logits_kind"], !kinds.contains(kind) {
            throw reject(.invalidValue, "logits_kind '\(kind)'", kinds.joined(separator: " or "))
        }
        let logprobKinds = LogprobKind.allCases.map(\.rawValue)
        if let kind = metadata[LogprobKind.key], !logprobKinds.contains(kind) {
            throw reject(.invalidValue, "\(LogprobKind.key) '\(kind)'", logprobKinds.joined(separator: " or "))
        }
        _ = try number("top_k", default: 0, "a whole number, 0 or -1 for all tokens") {
            Int($0).flatMap { $0 >= -1 ? $0 : nil }
        }
        if let text = metadata["rewards"], NamedRewards.parse(text) == nil {
            throw reject(.invalidValue, "rewards '\(text.prefix(60))'", "a JSON object of finite numbers, or null")
        }
        _ = try number("vocab_size", default: 1, "a whole number above 0") { Int($0).flatMap { $0 > 0 ? $0 : nil } }
    }

    private func required(_ key: String) throws -> String {
        guard let value = metadata[key], !value.isEmpty else {
            throw reject(.missingMetadata, "no '\(key)'", "it in every rollout")
        }
        return value
    }

    private func number<T>(_ key: String, default fallback: T, _ expected: String, _ parse: (String) -> T?) throws -> T
    {
        guard let text = metadata[key] else { return fallback }
        guard let value = parse(text) else { throw reject(.invalidValue, "\(key) '\(text)'", expected) }
        return value
    }

    /// Keys that the contract does not know are kept, and `logits_kind`, which tells score what the logits are.
    private func extras() throws -> String {
        var unknown = metadata.filter { !Self.knownKeys.contains($0.key) }
        if let ids = frame.teacherPromptIDs { unknown[TeacherPrompt.key] = TeacherPrompt.text(ids) }
        if let text = unknown[TeacherPrompt.key], TeacherPrompt.parse(text) == nil {
            throw reject(.invalidTokenID, "\(TeacherPrompt.key) '\(text.prefix(60))'", "a list of ids from 0")
        }
        let data = try JSONSerialization.data(withJSONObject: unknown, options: [.sortedKeys, .withoutEscapingSlashes])
        return String(decoding: data, as: UTF8.self)
    }

    // MARK: tensors

    private func checkTokens() throws {
        if let bad = frame.tokenIDs.firstIndex(where: { $0 < 0 }) {
            throw reject(.invalidTokenID, "token id \(frame.tokenIDs[bad]) at position \(bad)", "ids from 0")
        }
        guard frame.trainableTokens > 0 else {
            throw reject(.noTrainableToken, "a loss_mask of zeros", "at least one trainable token")
        }
        guard !frame.lossMask[0] else {
            throw reject(.firstTokenTrainable, "loss_mask 1 on the first token", "0: no distribution produced it")
        }
    }

    /// That the engine didn't give it up.
    static func requireWhole(_ finishReason: String, id: String?) throws {
        guard FinishReason(finishReason) == .failed else { return }
        throw Rejection(
            id, .engineError, found: "finish_reason '\(finishReason)'", expected: "a rollout that its engine finished"
        )
    }

    private mutating func sampledLogprobs() throws -> [Float]? {
        try logprobs(frame.rolloutLogprobs, "rollout_logprobs")
    }

    /// Under the trainer's policy before its step.
    private mutating func oldLogprobs() throws -> [Float]? { try logprobs(frame.oldLogprobs, "old_logprobs") }

    /// nil where there are none, or unusable ones that may be dropped.
    private mutating func logprobs(_ values: [Float]?, _ name: String) throws -> [Float]? {
        guard let values, let bad = SampledLogprobs.firstUnusable(values, frame.lossMask) else { return masked(values) }
        if invalidLogprobs == .reject { throw SampledLogprobs.rejection(id, name, "\(values[bad])", at: bad) }
        remarks.insert(.logprobsDropped)
        return nil
    }

    private func advantages() throws -> [Float]? {
        guard let values = frame.advantages,
            let bad = values.indices.first(where: { frame.lossMask[$0] && !values[$0].isFinite })
        else { return masked(frame.advantages) }
        throw reject(.invalidValue, "advantage \(values[bad]) at position \(bad)", "finite advantages")
    }

    private func checkReferenceAndValues() throws {
        if let values = frame.referenceLogprobs, let bad = SampledLogprobs.firstUnusable(values, frame.lossMask) {
            throw SampledLogprobs.rejection(id, "reference_logprobs", "\(values[bad])", at: bad)
        }
        // A teacher may exclude a token that the policy sampled.
        if let values = frame.teacherLogprobs,
            let bad = values.indices.first(where: { frame.lossMask[$0] && (values[$0].isNaN || values[$0] > 1e-3) })
        {
            throw SampledLogprobs.rejection(id, "teacher_logprobs", "\(values[bad])", at: bad)
        }
        if let values = frame.values,
            let bad = values.indices.first(where: { frame.lossMask[$0] && !values[$0].isFinite })
        {
            throw reject(.invalidValue, "value \(values[bad]) at position \(bad)", "finite values")
        }
    }

    private func checkDistributions() throws {
        let trainable = frame.trainableTokens
        if let logits = frame.logits {
            guard logits.rows == trainable else {
                throw reject(
                    .lengthMismatch, "\(logits.rows) logits rows", "\(trainable), one for each masked-in token")
            }
            if let bad = frame.tokenIDs.firstIndex(where: { Int($0) >= logits.vocabulary }) {
                throw reject(
                    .tokenOutOfVocabulary, "token id \(frame.tokenIDs[bad]) at position \(bad)",
                    "ids below \(logits.vocabulary), the width of the logits")
            }
        }
        if let hidden = frame.hiddenStates, hidden.rows != trainable {
            throw reject(
                .lengthMismatch, "\(hidden.rows) rows of hidden states", "\(trainable), one for each masked-in token")
        }
        guard let ids = frame.topkTokenIDs, let logprobs = frame.topkLogprobs else { return }
        guard ids.count == trainable * frame.topk else {
            throw reject(
                .lengthMismatch, "\(ids.count / max(1, frame.topk)) top-k rows",
                "\(trainable), one for each masked-in token")
        }
        if let bad = ids.firstIndex(where: { $0 < 0 }) {
            throw reject(.invalidTokenID, "top-k id \(ids[bad])", "ids from 0")
        }
        if let bad = logprobs.firstIndex(where: { $0.isNaN || $0 > 1e-3 }) {
            throw reject(.invalidLogprob, "top-k log-probability \(logprobs[bad])", "at most 0")
        }
    }

    /// Who wrote each token; what is trained on is the policy's.
    private func roles() throws -> [Int32]? {
        guard let roles = frame.tokenRoles else { return nil }
        for (position, number) in roles.enumerated() {
            guard let role = TokenRole(rawValue: Int32(number)) else {
                throw reject(
                    .invalidValue, "token_roles \(number) at position \(position)",
                    "0 to \(TokenRole.allCases.count - 1)")
            }
            guard !frame.lossMask[position] || role == .policy else {
                throw reject(
                    .invalidValue, "loss_mask 1 on a token of role \(role.name) at position \(position)",
                    "role 1, the policy's")
            }
        }
        return roles.map { Int32($0) }
    }

    /// To which experts tokens were routed.
    private func experts() throws -> RoutedExperts? {
        guard let experts = frame.experts else { return nil }
        if let fault = experts.fault(tokens: frame.tokenIDs.count) {
            let reason: RejectReason = if case .rows = fault { .lengthMismatch } else { .invalidValue }
            throw reject(reason, fault.found, fault.expected)
        }
        return experts
    }

    /// Which tokens could have been drawn, as the frame says it.
    private func support() throws -> SamplingSupport? {
        guard let ids = frame.supportTokenIDs, let offsets = frame.supportOffsets else { return nil }
        let support = SamplingSupport(tokenIDs: ids, offsets: offsets.map { Int32(clamping: $0) }),
            sampled = zip(frame.tokenIDs, frame.lossMask).filter(\.1).map(\.0)
        switch support.fault(sampled: sampled) {
        case .count(let count):
            throw reject(
                .lengthMismatch, "\(count) sets of tokens that could be drawn",
                "\(sampled.count), one for each masked-in token")
        case .offsets:
            throw reject(
                .invalidValue, "support_offsets that fall or don't end at \(ids.count)", "ascending ones from 0")
        case .tokenID(let id, let k):
            throw reject(.invalidTokenID, "token id \(id) in the support of trainable token \(k)", "ids from 0")
        case .missesToken(let k, let size):
            throw reject(
                .supportMissesToken, "\(size) tokens that could be drawn for trainable token \(k), without it",
                "the sampled token among them")
        case .twice(let k):
            throw reject(.invalidValue, "a token twice in the support of trainable token \(k)", "each once")
        case nil: break
        }
        if let logits = frame.logits, let bad = ids.first(where: { Int($0) >= logits.vocabulary }) {
            throw reject(
                .tokenOutOfVocabulary, "token id \(bad) among those that could be drawn",
                "ids below \(logits.vocabulary), the width of the logits")
        }
        return support
    }

    /// Whatever a producer left on tokens outside the mask is dropped.
    private func masked(_ values: [Float]?) -> [Float]? {
        values.map { zip($0, frame.lossMask).map { $1 ? $0 : 0 } }
    }

    /// Remembers where the frame lies if score will want anything of it.
    private func locate(_ row: inout RolloutRow) {
        let logits = frame.logits != nil && keepLogits, hidden = frame.hiddenStates != nil && keepLogits
        row.evidence = (logits ? EntropySource.logits : hidden ? .hidden : frame.topk > 0 ? .topk : .none).rawValue
        let beside = [frame.values, frame.referenceLogprobs, frame.teacherLogprobs]
        guard logits || hidden || frame.topk > 0 || beside.contains(where: { $0 != nil }) else { return }
        row.logitsOffset = Int64(span.offset)
        row.logitsLength = Int64(span.length)
    }
}
