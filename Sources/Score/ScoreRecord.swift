import Entropy
import Formats
import Foundation
import Models

/// One ingest file's outcome, remembered until the manifest is written.
struct ScoreRecord: Codable, Sendable {
    private(set) var rows = 0
    private(set) var verdicts: [String: Int] = [:]
    private var rewardSum = 0.0
    private(set) var rewarded = 0
    private(set) var correct = 0
    private(set) var judged = 0
    /// Rewards of rollouts that nothing was said of as right or wrong.
    private(set) var rewardsWithoutVerdict = 0
    private(set) var entropyTokens = 0
    private var nearZeroEntropies = 0
    private(set) var storage = StorageError()
    private var disagreement: [LogprobPair: Disagreement] = [:]
    /// Rollouts by what their entropies came from, by where their log-probabilities come from, and those with intervals
    /// by how many best log-probabilities a token has.
    private(set) var evidence: [String: Int] = [:]
    private var logprobs: [String: Int] = [:]
    private var widths: [Int: Int] = [:]
    /// Of those known by their best log-probabilities: bounds that rest on a guessed vocabulary, and none because of
    /// the temperature.
    private(set) var assumedVocabulary = 0
    private(set) var otherTemperature = 0
    /// Rollouts at another temperature than 1 whose log-probabilities are the sampler's, of whichever temperature.
    private(set) var unclearTemperature = 0
    /// States in which the reference excludes a token that the policy reaches.
    var excludingStates = 0
    /// Rollouts by the prompt that a teacher read them behind.
    var teacherPrompts: [String: Int] = [:]
    var ownTeacherPrompts: Int {
        teacherPrompts.filter { $0.key != TeacherPromptKind.own.rawValue }.values.reduce(0, +)
    }
    /// Tokens for which the policy's routers took the sampler's experts, and those of the same dump for which they
    /// chose, because it doesn't say.
    private var replayedTokens = 0
    private var unrecordedTokens = 0
    /// Rollouts that no plan can use: the first of each verdict.
    private(set) var unusable: [String: String] = [:]
    /// Tokens whose best log-probabilities are at fault, by what it is, and the first of them.
    private(set) var topKFaults: [String: Int] = [:]
    private(set) var firstTopKFault: String?

    mutating func add(
        _ row: RolloutRow, _ scored: ScoreRow, _ frame: FrameScores, _ policy: SequenceScores?, _ source: LogprobSource?
    ) {
        rows += 1
        verdicts[scored.verdict, default: 0] += 1
        if scored.isUnusable, unusable[scored.verdict] == nil { unusable[scored.verdict] = row.rolloutID }
        if let reward = scored.reward { (rewardSum, rewarded) = (rewardSum + Double(reward), rewarded + 1) }
        if let isCorrect = scored.correct { (correct, judged) = (correct + (isCorrect ? 1 : 0), judged + 1) }
        rewardsWithoutVerdict += scored.reward != nil && scored.correct == nil ? 1 : 0
        storage += frame.storage
        if scored.oldLogprobs != nil, let source { logprobs[source.rawValue, default: 0] += 1 }
        addEvidence(row, scored, frame)
        let sampler = row.comparableLogprobs, ownRounding = ErrorVariance(rounded: sampler, row.lossMask),
            stored = frame.storage.logprobVariance
        add(.logitsSampler, frame.logprobs, sampler, row, rounding: stored + ownRounding)
        add(.logitsCheckpoint, frame.logprobs, policy?.logprobs, row, rounding: stored)
        add(.samplerCheckpoint, sampler, policy?.logprobs, row, rounding: ownRounding)
        unclearTemperature +=
            row.temperature != 1 && source == .sampler && frame.logprobs == nil && !row.saysProcessedLogprobs ? 1 : 0
    }

    /// A rollout that the policy has scored. The last token was no input: nothing was routed there.
    mutating func addRoutes(_ row: RolloutRow) {
        let inputs = max(0, row.tokenIDs.count - 1), recorded = (0..<inputs).count { row.routes?.row(of: $0) != nil }
        replayedTokens += recorded
        unrecordedTokens += inputs - recorded
    }

    /// nil where the dump says nothing of experts.
    var routes: (replayed: Int, unrecorded: Int)? {
        replayedTokens == 0 ? nil : (replayedTokens, unrecordedTokens)
    }

    private mutating func add(
        _ pair: LogprobPair, _ a: [Float]?, _ b: [Float]?, _ row: RolloutRow, rounding: ErrorVariance
    ) {
        disagreement[pair, default: Disagreement()].add(a, b, row, rounding: rounding)
    }

    private mutating func addEvidence(_ row: RolloutRow, _ scored: ScoreRow, _ frame: FrameScores) {
        evidence[scored.evidence ?? EntropySource.none.rawValue, default: 0] += 1
        if let width = scored.evidenceTopK { widths[Int(width), default: 0] += 1 }
        assumedVocabulary += frame.assumesVocabulary && scored.entropyLow != nil ? 1 : 0
        otherTemperature += frame.isOtherTemperature && scored.entropy == nil ? 1 : 0
        for (position, fault) in frame.topKFaults {
            topKFaults[fault.rawValue, default: 0] += 1
            firstTopKFault = firstTopKFault ?? "rollout '\(row.rolloutID)', position \(position): \(fault.description)"
        }
        for t in row.lossMask.indices where row.lossMask[t] {
            guard let entropy = scored.entropy?[t] else { break }
            entropyTokens += 1
            nearZeroEntropies += entropy < 0.01 ? 1 : 0
        }
    }

    mutating func merge(_ next: ScoreRecord) {
        rows += next.rows
        verdicts.merge(next.verdicts, uniquingKeysWith: +)
        rewardSum += next.rewardSum
        rewarded += next.rewarded
        correct += next.correct
        judged += next.judged
        rewardsWithoutVerdict += next.rewardsWithoutVerdict
        entropyTokens += next.entropyTokens
        nearZeroEntropies += next.nearZeroEntropies
        storage += next.storage
        evidence.merge(next.evidence, uniquingKeysWith: +)
        logprobs.merge(next.logprobs, uniquingKeysWith: +)
        widths.merge(next.widths, uniquingKeysWith: +)
        assumedVocabulary += next.assumedVocabulary
        otherTemperature += next.otherTemperature
        unclearTemperature += next.unclearTemperature
        excludingStates += next.excludingStates
        teacherPrompts.merge(next.teacherPrompts, uniquingKeysWith: +)
        replayedTokens += next.replayedTokens
        unrecordedTokens += next.unrecordedTokens
        unusable.merge(next.unusable) { first, _ in first }
        topKFaults.merge(next.topKFaults, uniquingKeysWith: +)
        firstTopKFault = firstTopKFault ?? next.firstTopKFault
        for (pair, difference) in next.disagreement { disagreement[pair, default: Disagreement()] += difference }
    }

    /// Pairs that both sources of are there.
    var pairs: [(pair: LogprobPair, difference: Disagreement)] {
        LogprobPair.allCases.compactMap { pair in disagreement[pair].flatMap { $0.tokens > 0 ? (pair, $0) : nil } }
    }

    /// nil where nothing was judged, rewarded, or known.
    var accuracy: Double? { judged == 0 ? nil : Double(correct) / Double(judged) }
    var rewardMean: Double? { rewarded == 0 ? nil : rewardSum / Double(rewarded) }
    var shareNearZero: Double? { entropyTokens == 0 ? nil : Double(nearZeroEntropies) / Double(entropyTokens) }
    var faultyTokens: Int { topKFaults.values.reduce(0, +) }

    var counts: [String: Int] {
        var counts = ["rollouts": rows, "entropy_tokens": entropyTokens, "correct": correct, "judged": judged]
        if rewardsWithoutVerdict > 0 { counts["rewards_without_verdict"] = rewardsWithoutVerdict }
        for (verdict, count) in verdicts { counts["verdict_\(verdict)"] = count }
        for (source, count) in evidence { counts["evidence_\(source)"] = count }
        for (width, count) in widths { counts["evidence_topk_\(width)"] = count }
        for (source, count) in logprobs { counts["old_logprobs_\(source)"] = count }
        if ownTeacherPrompts > 0 { counts["teacher_prompts"] = ownTeacherPrompts }
        for (kind, count) in teacherPrompts where ownTeacherPrompts > 0 { counts["teacher_prompts_\(kind)"] = count }
        if let routes {
            (counts["replayed_tokens"], counts["unrecorded_tokens"]) = (routes.replayed, routes.unrecorded)
        }
        if excludingStates > 0 { counts["reference_excludes"] = excludingStates }
        if faultyTokens > 0 { counts["topk_fault_tokens"] = faultyTokens }
        return counts
    }

    /// Figures for the manifest: what isn't known isn't there.
    var measures: [String: Double] {
        var measures: [String: Double] = [:]
        measures["reward_mean"] = rewardMean
        for (pair, difference) in pairs {
            measures["\(pair.rawValue)_difference"] = difference.rootMeanSquare
            measures["\(pair.rawValue)_difference_expected"] = difference.expected
        }
        guard storage.tokens > 0 else { return measures }
        measures["entropy_error_expected"] = storage.expectedEntropyError
        measures["entropy_error_bound"] = storage.entropyBoundMax
        measures["logprob_error_expected"] = storage.expectedLogprobError
        measures["logprob_error_bound"] = storage.logprobBoundMax
        return measures
    }
}

extension RolloutRow {
    /// Whether its producer says that `rollout_logprobs` are those of the temperature that was sampled at.
    fileprivate var saysProcessedLogprobs: Bool {
        switch logprobKind {
        case .processed, .full, .support: true
        case .raw, nil: false
        }
    }
}
