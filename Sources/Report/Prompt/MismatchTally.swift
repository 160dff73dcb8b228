import Foundation
import RunViews

/// How far a trainer's log-probabilities lie from the sampler's, over some tokens.
struct LogprobDifference: Sendable {
    private(set) var tokens = 0
    /// Of trainer - sampler: nats.
    private var sum = 0.0
    private var absolute = 0.0
    /// Σ exp(d) - 1 - d: the k3 estimate of KL(sampler || trainer).
    private var divergence = 0.0
    private(set) var largest = 0.0
    /// Where that is.
    private(set) var rolloutID = ""
    private(set) var position = 0

    var mean: Double? { tokens == 0 ? nil : sum / Double(tokens) }
    var meanAbsolute: Double? { tokens == 0 ? nil : absolute / Double(tokens) }
    var meanDivergence: Double? { tokens == 0 ? nil : divergence / Double(tokens) }

    mutating func add(_ difference: Double, _ rolloutID: String, _ position: Int) {
        tokens += 1
        sum += difference
        absolute += abs(difference)
        divergence += expm1(difference) - difference
        if abs(difference) > largest {
            (largest, self.rolloutID, self.position) = (abs(difference), rolloutID, position)
        }
    }

    /// What comes after in the dump.
    mutating func add(_ next: LogprobDifference) {
        (tokens, sum, absolute) = (tokens + next.tokens, sum + next.sum, absolute + next.absolute)
        divergence += next.divergence
        if next.largest > largest {
            (largest, rolloutID, position) = (next.largest, next.rolloutID, next.position)
        }
    }
}

/// Where trainer and sampler part: over a dump, and by what tokens have in common.
struct MismatchTally: RolloutTally {
    /// What tokens are told apart by.
    enum Group: Hashable, Sendable {
        case policyVersion(String)
        case temperature(Float)
        /// Tenth of the response, from 0.
        case place(Int)
        /// `EntropyLevel`.
        case entropy(Int)
        case token(Int32)
    }

    private(set) var all = LogprobDifference()
    private(set) var groups: [Group: LogprobDifference] = [:]
    private(set) var rollouts = 0
    /// Rollouts that lack one of the two.
    private(set) var unknown = 0

    private static let places = 10

    mutating func add(_ view: RolloutView) {
        rollouts += 1
        guard let trainer = view.score.oldLogprobs, let sampler = view.rollout.rolloutLogprobs else {
            return unknown += 1
        }
        let trainable = view.trainable, id = view.rollout.rolloutID
        for (number, t) in trainable.enumerated() where trainer[t].isFinite && sampler[t].isFinite {
            let difference = Double(trainer[t]) - Double(sampler[t])
            all.add(difference, id, t)
            for group in Self.groups(of: view, t, place: number * Self.places / trainable.count) {
                groups[group, default: LogprobDifference()].add(difference, id, t)
            }
        }
    }

    private static func groups(of view: RolloutView, _ t: Int, place: Int) -> [Group] {
        [
            .policyVersion(view.rollout.policyVersion), .temperature(view.rollout.temperature), .place(place),
            .token(view.rollout.tokenIDs[t]),
        ] + (view.score.entropy.map { [.entropy(EntropyLevel.level(of: $0[t]))] } ?? [])
    }

    /// What comes after in the dump.
    mutating func add(_ next: MismatchTally) {
        all.add(next.all)
        (rollouts, unknown) = (rollouts + next.rollouts, unknown + next.unknown)
        for (group, difference) in next.groups { groups[group, default: LogprobDifference()].add(difference) }
    }
}
