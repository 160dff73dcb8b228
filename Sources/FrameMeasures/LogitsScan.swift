import CKernels
import Entropy
import Files
import Formats
import Foundation

/// What is wanted of full-vocabulary distributions beyond entropy and log-probability.
package struct DistributionColumns: Equatable, Sendable {
    package var topK: Int
    package var sumPSquared: Bool

    package init(topK: Int = 0, sumPSquared: Bool = false) { (self.topK, self.sumPSquared) = (topK, sumPSquared) }
}

/// What a rollout's logits say, token by token: arrays of length L, 0 where a token isn't trained on.
package struct MeasuredLogits: Sendable {
    /// Nats.
    package var entropy: [Float]
    /// Nats, of the sampled tokens.
    package var logprobs: [Float]
    /// Where wanted.
    package var sumPSquared: [Float]?
    /// Where wanted, [L * k].
    package var topkTokenIDs: [Int32]?
    package var topkLogprobs: [Float]?
    /// What rounding to the storage type has moved.
    package var storage: StorageError
    /// Why the rollout can't be used; nil where it can.
    package var invalid: Verdict?

    package init(entropy: [Float], logprobs: [Float], storage: StorageError = StorageError(), invalid: Verdict? = nil) {
        (self.entropy, self.logprobs, self.storage, self.invalid) = (entropy, logprobs, storage, invalid)
    }
}

/// What must be known of a rollout before its logits go by.
package struct MeasuredRollout: Equatable, Sendable {
    package let rolloutID: String
    package let tokenIDs: [Int32]
    package let lossMask: [Bool]
    package let temperature: Float
    /// The logits have been divided by the temperature already.
    package let isProcessed: Bool
    /// Which tokens could have been drawn; nil is the whole vocabulary.
    package let support: SamplingSupport?

    package init(
        rolloutID: String, tokenIDs: [Int32], lossMask: [Bool], temperature: Float, isProcessed: Bool,
        support: SamplingSupport? = nil
    ) {
        (self.rolloutID, self.tokenIDs, self.lossMask) = (rolloutID, tokenIDs, lossMask)
        (self.temperature, self.isProcessed, self.support) = (temperature, isProcessed, support)
    }

    package init(_ row: RolloutRow) {
        let extras = try? JSONSerialization.jsonObject(with: Data(row.extras.utf8)) as? [String: Any]
        self.init(
            rolloutID: row.rolloutID, tokenIDs: row.tokenIDs, lossMask: row.lossMask, temperature: row.temperature,
            isProcessed: extras?["logits_kind"] as? String == "processed", support: row.support)
    }
}

/// Collects the numbers of a rollout's logits rows as they stream by, each row once and in order.
package struct LogitsScan {
    package let rollout: MeasuredRollout
    /// nil before the first row.
    package private(set) var measured: MeasuredLogits?
    /// Token positions of the trainable tokens: logits row k belongs to the k-th.
    private let positions: [Int]
    private let wanted: DistributionColumns
    private let meter: LogitsMeter
    private var draw: RowDraw
    /// Of the bounds, where logits were rounded to a narrower type before they were stored.
    private var precision = 1.0

    package init(_ rollout: MeasuredRollout, _ wanted: DistributionColumns) {
        (self.rollout, self.wanted) = (rollout, wanted)
        positions = rollout.lossMask.indices.filter { rollout.lossMask[$0] }
        meter = LogitsMeter(
            inverseTemperature: rollout.isProcessed ? 1 : 1 / rollout.temperature, sumPSquared: wanted.sumPSquared)
        draw = RowDraw(digest: SHA256Digest.of(rollout.rolloutID))
    }

    /// There must be a trainable token for the row, whose id is one of the row's. Returns whether a softmax can be taken
    /// of it.
    @discardableResult package mutating func see(_ logits: LogitsRow) -> Bool {
        if measured == nil { measured = empty }
        let position = positions[logits.index], row = ReachableLogits(logits, rollout, position),
            measure = measure(row, position)
        guard measure.isValid else {
            measured?.invalid = .invalidLogits
            return false
        }
        // Of probability 0, so nobody can have sampled it from this distribution.
        guard Float(measure.logprob).isFinite else {
            measured?.invalid = .invalidSampledToken
            return true
        }
        measured?.entropy[position] = Float(measure.entropy)
        measured?.logprobs[position] = Float(measure.logprob)
        measured?.sumPSquared?[position] = Float(measure.sumPSquared)
        addStorageError(row, logits.index, measure)
        return true
    }

    private mutating func addStorageError(_ row: ReachableLogits, _ index: Int, _ measure: LogitsMeasure) {
        if let weight = draw.weight(index, measure) {
            let error = row.withKernelRow { meter.storageError($0, sampled: row.sampled, measure) }
            if index == 0 {
                precision = error.precision
                measured?.storage.add(type: error.type)
            }
            measured?.storage.add(error, weight: weight)
        }
        measured?.storage.add(measure, precision: precision)
    }

    private var empty: MeasuredLogits {
        let count = rollout.tokenIDs.count, zeros = [Float](repeating: 0, count: count)
        var measured = MeasuredLogits(entropy: zeros, logprobs: zeros)
        if wanted.sumPSquared { measured.sumPSquared = zeros }
        guard wanted.topK > 0 else { return measured }
        measured.topkTokenIDs = [Int32](repeating: 0, count: count * wanted.topK)
        measured.topkLogprobs = [Float](repeating: 0, count: count * wanted.topK)
        return measured
    }

    private mutating func measure(_ row: ReachableLogits, _ position: Int) -> LogitsMeasure {
        guard wanted.topK > 0 else { return row.withKernelRow { meter.measure($0, sampled: row.sampled) } }
        let (measure, best) = row.withKernelRow { meter.measure($0, sampled: row.sampled, topK: wanted.topK) }
        let place = position * wanted.topK..<(position + 1) * wanted.topK
        measured?.topkTokenIDs?.replaceSubrange(place, with: best.ids.map(row.tokenID))
        measured?.topkLogprobs?.replaceSubrange(place, with: best.logprobs)
        return measure
    }
}
