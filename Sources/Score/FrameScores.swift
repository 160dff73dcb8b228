import Entropy
import Formats

/// What a rollout's frame says beyond the ingest row: entropies and log-probabilities from its logits (or bounds from
/// its top-k), values, reference log-probabilities. Arrays have length L.
struct FrameScores: Sendable {
    var entropy: [Float]?
    var entropyLow: [Float]?
    var entropyHigh: [Float]?
    var logprobs: [Float]?
    var values: [Float]?
    var referenceLogprobs: [Float]?
    var teacherLogprobs: [Float]?
    /// Where wanted; [L * k].
    var sumPSquared: [Float]?
    var topkTokenIDs: [Int32]?
    var topkLogprobs: [Float]?
    /// What rounding to the storage type has moved.
    var storage = StorageError()
    /// Why the row can't be used; nil where it can.
    var invalid: Verdict?
    /// How many best log-probabilities each token has, and those tokens whose are at fault.
    var topK = 0
    var topKFaults: [(position: Int, fault: TopKFault)] = []
    /// The upper bounds rest on a guess of the vocabulary's size.
    var assumesVocabulary = false
    /// There are best log-probabilities, but of another distribution than the policy's.
    var isOtherTemperature = false
}
