import Formats
import Models
import Objectives
import Randomness
import Recipes

/// The tokens of a step that the model is asked about. Some are read by the loss and its derivatives. The other
/// trainable tokens of the rows that are computed anyway only count in metrics: of them as many are sampled as
/// metrics may cost, all where that is cheap.
struct EvaluatedTokens {
    /// Per row of the step, [L].
    private(set) var read: [[Bool]] = []
    /// Those of them that may be trained on; others are an environment's, of which only their likelihood is read.
    private(set) var trained: [[Bool]] = []
    private(set) var sampled: [[Bool]] = []
    /// How many trainable tokens each sampled one counts for, itself included.
    private(set) var inverseSamplingRate = 1.0

    /// The share of a step's arithmetic that goes to tokens which only metrics count.
    private static let metricsShare = 0.01

    /// `step`: the rows' inputs without outputs, weights as they will be evaluated.
    init(_ step: [SequenceInputs], _ recipe: Recipe, _ architecture: DecoderArchitecture, seed: UInt64) {
        read = step.map(recipe.loss.reads)
        trained = zip(step, read).map { zip($0.mask, $1).map { $0 && $1 } }
        let others = zip(step, read).map { sequence, read in Self.others(sequence.mask, read) },
            count = others.reduce(0) { $0 + $1.count { $0 } }
        let most = min(count, Self.affordable(read, recipe.objective.output, architecture))
        if most > 0 { inverseSamplingRate = Double(count) / Double(most) }
        sampled = Self.draw(most, of: count, others, seed: seed)
    }

    /// Trainable tokens that nothing reads; none in rows of which nothing is read, because they are not computed.
    private static func others(_ mask: [Bool], _ read: [Bool]) -> [Bool] {
        read.contains(true) ? zip(mask, read).map { $0 && !$1 } : mask.map { _ in false }
    }

    /// As many tokens as cost the metrics' share of what the step costs without them, shared prefixes counted as often
    /// as they stand there.
    private static func affordable(_ read: [[Bool]], _ output: ModelOutput, _ architecture: DecoderArchitecture) -> Int
    {
        let head = output.needsVocabulary ? architecture.headMultiplications : architecture.hidden
        let tokens = read.reduce(0) { $0 + ($1.lastIndex(of: true) ?? 0) },
            asked = read.reduce(0) { $0 + $1.count { $0 } }
        // Forward and backward are three times the forward pass, which is all that a metric needs.
        return Int(
            metricsShare * 3
                * (Double(tokens) * Double(architecture.layerMultiplications) / Double(head) + Double(asked)))
    }

    /// Each set of that size with equal chance, in one walk.
    private static func draw(_ size: Int, of count: Int, _ candidates: [[Bool]], seed: UInt64) -> [[Bool]] {
        var random = SplitMix64(seed: seed), wanted = size, left = count
        return candidates.map { row in
            row.map { isCandidate in
                guard isCandidate else { return false }
                let isDrawn = random.uniform() * Double(left) < Double(wanted)
                left -= 1
                if isDrawn { wanted -= 1 }
                return isDrawn
            }
        }
    }

    /// [L]
    func wanted(_ row: Int) -> [Bool] { zip(read[row], sampled[row]).map { $0 || $1 } }
}

/// One draw per step of the plan, the same in every epoch and known before the first.
func askedSeed(_ rows: [PlanRow], _ seed: UInt64) -> UInt64 { seed &+ UInt64(rows.first?.step ?? 0) }

extension ModelOutput {
    /// Whether an answer takes the logits of the whole vocabulary.
    var needsVocabulary: Bool { self == .logprob || self == .divergence }
}
