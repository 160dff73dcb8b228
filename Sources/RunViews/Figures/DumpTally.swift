import Formats

/// Sums over all rollouts of a dump and their scores, in the dump's order.
package struct DumpTally: Encodable, Sendable {
    /// Of one data source.
    package struct Source: Encodable, Equatable, Sendable {
        package fileprivate(set) var rollouts = 0
        package fileprivate(set) var reward = Mean()
        package fileprivate(set) var judgements: [Judgement: Int] = [:]
        package fileprivate(set) var verdicts: [String: Int] = [:]

        fileprivate mutating func add(_ other: Source) {
            rollouts += other.rollouts
            reward.add(other.reward)
            judgements.merge(other.judgements, uniquingKeysWith: +)
            verdicts.merge(other.verdicts, uniquingKeysWith: +)
        }
    }

    /// Entropies are broken down by these parts of a response.
    package static let places = 20

    package private(set) var rollouts = 0
    package private(set) var tokens = 0
    package private(set) var sources: [String: Source] = [:]
    package private(set) var finishReasons: [String: Int] = [:]
    package private(set) var evidence: [String: Int] = [:]
    package private(set) var policyVersions: [String: Int] = [:]
    package private(set) var lengths: [Judgement: Mean] = [:]
    /// Trainable tokens whose entropy is known.
    package private(set) var entropy = Mean()
    package private(set) var entropyBins: [Judgement: Binned<Int>] = [:]
    package private(set) var entropySteps: [Judgement: Binned<Int>] = [:]
    package private(set) var entropyByPlace: [Judgement: [Mean]] = [:]
    /// Of tokens that both trainer and sampler have a log-probability of: |trainer - sampler|.
    package private(set) var samplerDifference = Mean()
    package private(set) var largestSamplerDifference: Float = 0

    package init() {}

    package mutating func add(_ view: RolloutView) {
        let (rollout, score) = (view.rollout, view.score), judgement = Judgement(score.correct)
        let trainable = view.trainable
        rollouts += 1
        tokens += trainable.count
        add(score, judgement, source: rollout.dataSource)
        finishReasons[rollout.finishReason, default: 0] += 1
        evidence[view.evidence, default: 0] += 1
        policyVersions[rollout.policyVersion, default: 0] += 1
        lengths[judgement, default: Mean()].add(Double(trainable.count))
        if let entropy = score.entropy { add(entropy, at: trainable, judgement) }
        for difference in view.samplerDifferences {
            samplerDifference.add(Double(difference))
            largestSamplerDifference = max(largestSamplerDifference, difference)
        }
    }

    private mutating func add(_ score: ScoreRow, _ judgement: Judgement, source: String) {
        var one = Source()
        one.rollouts = 1
        one.judgements[judgement] = 1
        one.verdicts[score.verdict] = 1
        if let reward = score.reward { one.reward.add(Double(reward)) }
        sources[source, default: Source()].add(one)
    }

    private mutating func add(_ values: [Float], at trainable: [Int], _ judgement: Judgement) {
        var bins = Binned<Int>(), steps = Binned<Int>(count: EntropySteps.count)
        var byPlace = [Mean](repeating: Mean(), count: Self.places)
        for (number, t) in trainable.enumerated() {
            entropy.add(Double(values[t]))
            bins.add(1, to: EntropyBins.bin(of: values[t]))
            steps.add(1, to: EntropySteps.bin(of: values[t]))
            byPlace[number * Self.places / trainable.count].add(Double(values[t]))
        }
        entropyBins[judgement, default: Binned()].add(bins)
        entropySteps[judgement, default: Binned(count: EntropySteps.count)].add(steps)
        merge(byPlace, judgement)
    }

    private mutating func merge(_ byPlace: [Mean], _ judgement: Judgement) {
        var own = entropyByPlace[judgement] ?? [Mean](repeating: Mean(), count: Self.places)
        for place in own.indices { own[place].add(byPlace[place]) }
        entropyByPlace[judgement] = own
    }

    /// What comes after in the dump.
    package mutating func add(_ next: DumpTally) {
        rollouts += next.rollouts
        tokens += next.tokens
        for (name, source) in next.sources { sources[name, default: Source()].add(source) }
        finishReasons.merge(next.finishReasons, uniquingKeysWith: +)
        evidence.merge(next.evidence, uniquingKeysWith: +)
        policyVersions.merge(next.policyVersions, uniquingKeysWith: +)
        for (judgement, length) in next.lengths { lengths[judgement, default: Mean()].add(length) }
        entropy.add(next.entropy)
        for (judgement, bins) in next.entropyBins { entropyBins[judgement, default: Binned()].add(bins) }
        for (judgement, steps) in next.entropySteps {
            entropySteps[judgement, default: Binned(count: EntropySteps.count)].add(steps)
        }
        for (judgement, byPlace) in next.entropyByPlace { merge(byPlace, judgement) }
        samplerDifference.add(next.samplerDifference)
        largestSamplerDifference = max(largestSamplerDifference, next.largestSamplerDifference)
    }
}

extension RolloutView {
    /// What its entropies came from. Scores of earlier versions don't say: the dump's own grade, then.
    package var evidence: String { score.evidence ?? rollout.evidence }

    /// Positions that the policy sampled.
    package var trainable: [Int] { rollout.lossMask.indices.filter { rollout.lossMask[$0] } }

    /// Nats, [L]: of the policy to be trained; nil where the scores have the sampler's alone.
    package var trainerLogprobs: [Float]? {
        switch trainer {
        case .known, .unsaid: score.oldLogprobs
        case .unknown: nil
        }
    }

    /// Nats, [L]: of who sampled, by its own word or by its logits.
    package var samplerLogprobs: [Float]? {
        rollout.rolloutLogprobs ?? (trainerLogprobs == nil ? score.oldLogprobs : nil)
    }

    /// |trainer - sampler| of each trainable token; empty where one of both is unknown.
    package var samplerDifferences: [Float] {
        guard let own = trainerLogprobs, let sampler = samplerLogprobs else { return [] }
        return trainable.map { abs(own[$0] - sampler[$0]) }
    }
}
