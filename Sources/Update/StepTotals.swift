import Formats
import Objectives
import Recipes

/// What a step has seen so far, for its metrics. Sums over tokens count a drawn token as often as it stands for others.
struct StepTotals {
    private var loss = 0.0
    private var clippedLow = 0.0
    private var clippedHigh = 0.0
    private var largestRatio = 0.0
    private var measure = 0.0
    private var measured = 0.0
    private var klK3 = 0.0
    private var entropy = 0.0
    private var counted = 0.0
    private var evaluated = 0
    private var trainable = 0
    private var reward = 0.0
    private var staleRows = 0
    /// Of an entropy bonus: Σ H over the tokens that it acts on, and how many those are.
    private var acted = 0.0
    private var actedTokens = 0
    private var rows = 0
    private(set) var ratios = FirstRatios()

    var lossSoFar: Double { loss }
    /// Mean entropy of the tokens that a bonus acts on; nil where there are none.
    var bonusEntropy: Double? { actedTokens == 0 ? nil : acted / Double(actedTokens) }

    /// What another rank has seen of the same step.
    mutating func add(_ other: StepTotals) {
        loss += other.loss
        clippedLow += other.clippedLow
        clippedHigh += other.clippedHigh
        largestRatio = max(largestRatio, other.largestRatio)
        measure += other.measure
        measured += other.measured
        klK3 += other.klK3
        entropy += other.entropy
        counted += other.counted
        evaluated += other.evaluated
        trainable += other.trainable
        reward += other.reward
        rows += other.rows
        staleRows += other.staleRows
        acted += other.acted
        actedTokens += other.actedTokens
        ratios.add(other.ratios)
    }

    /// What an objective says of tokens that stand for `times` each.
    mutating func add(_ part: SequenceLoss, times: Double) {
        loss += part.loss
        clippedLow += times * Double(part.clippedLow)
        clippedHigh += times * Double(part.clippedHigh)
        largestRatio = max(largestRatio, part.largestRatio)
        measure += times * part.measure
        measured += times * Double(part.measured)
        staleRows += part.staleRows
    }

    mutating func add(_ term: EntropyTerm) {
        loss += term.loss
        acted += term.entropy
        actedTokens += term.tokens
    }

    mutating func add(_ row: PlanRow) {
        trainable += row.lossMask.count { $0 }
        reward += Double(row.reward)
        rows += 1
    }

    /// A token that the loss reads, of an objective that compares it with the sampling policy's.
    mutating func addRatio(_ logprob: Float, old: Float) { ratios.add(logprob, old: old) }

    /// One token that the model was asked about; `klK3`: of its log-probability against the reference's.
    mutating func addToken(entropy: Float, klK3: Double, times: Double) {
        self.entropy += times * Double(entropy)
        self.klK3 += times * klK3
        counted += times
        evaluated += 1
    }

    func metrics(step: Int, norm: Double, seconds: Double, _ trained: TrainingLoss) -> MetricsRow {
        let tokens = max(1, counted)
        var row = MetricsRow()
        row.step = Int32(step)
        row.loss = loss
        row.gradNorm = norm
        row.clipFractionLow = clippedLow / tokens
        row.clipFractionHigh = clippedHigh / tokens
        row.importanceRatioMax = largestRatio
        row.klK3 = klK3 / tokens
        row.entropy = entropy / tokens
        row.rewardMean = reward / Double(max(1, rows))
        row.trainableTokens = Int64(trainable)
        row.evaluatedTokens = Int64(evaluated)
        row.seconds = seconds
        if trained.staleRows != nil { row.staleRows = Int64(staleRows) }
        if let measure = trained.objective.measure {
            row[keyPath: Self.column(measure)] = self.measure / max(1, measured)
        }
        return row
    }

    private static func column(_ measure: Measure) -> WritableKeyPath<MetricsRow, Double?> {
        switch measure {
        case .rewardMargin: \.rewardMargin
        case .rewardAccuracy: \.rewardAccuracy
        case .valueError: \.valueError
        case .targetDivergence: \.targetDivergence
        }
    }
}
