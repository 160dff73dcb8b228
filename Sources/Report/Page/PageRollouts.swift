import Formats
import RunViews

/// What a list says of one rollout that the page holds.
struct RolloutSummary: Encodable {
    let id: String
    let group: String
    let source: String
    let row: Int
    let judgement: Judgement
    let verdict: String
    let reward: Float?
    /// Trainable tokens.
    let length: Int
    let finish: String
    let entropy: Double?
    /// Largest |trainer - sampler| of a token, nats.
    let difference: Float?
    /// By plan: why it was left out; empty where it was kept, null where the plan doesn't know it.
    let dropped: [String?]
    /// Tokens that only one of two plans keeps.
    let parted: Int?
    /// How its prompt begins.
    let head: String
    let block: Int
    let place: Int

    private static let headCharacters = 80

    init(_ view: RolloutView, block: Int, place: Int) {
        (id, group, source) = (view.rollout.rolloutID, view.rollout.groupID, view.rollout.dataSource)
        (row, judgement, verdict) = (view.number, Judgement(view.score.correct), view.score.verdict)
        (reward, length, finish) = (view.score.reward, view.trainable.count, view.rollout.finishReason)
        (entropy, difference) = (view.meanEntropy, view.samplerDifferences.max())
        dropped = view.entries.map { entry in
            switch entry {
            case .kept: ""
            case .dropped(let reason): reason
            case .missing: nil
            }
        }
        parted =
            view.entries.count == 2
            ? PlanComparisonTally.differingTokens(view, view.entries[0], view.entries[1]) : nil
        head = TokenText.oneLine(TokenText.visible(String(view.rollout.prompt.prefix(Self.headCharacters))))
        (self.block, self.place) = (block, place)
    }
}

/// A rollout in full. Numbers per token stand at its trainable tokens alone, in their order.
struct RolloutDetail: Encodable {
    /// What a plan makes of its tokens.
    struct Planned: Encodable {
        let advantages: PackedNumbers
        let weights: PackedNumbers
        let kept: PackedNumbers
        let step: Int32
        let reward: Float
        /// Rows of the plan that it has; numbers are those of the first.
        let rows: Int

        init?(_ entry: PlanEntry, _ trainable: [Int]) {
            guard let row = entry.rows.first else { return nil }
            advantages = PackedNumbers(trainable.map { row.advantages[$0] })
            weights = PackedNumbers(trainable.map { row.tokenWeights[$0] })
            kept = PackedNumbers(trainable.map { row.keeps($0) })
            (step, reward, rows) = (row.step, row.reward, entry.rows.count)
        }
    }

    let tokens: PackedNumbers
    let mask: PackedNumbers
    let entropy: PackedNumbers?
    let entropyLow: PackedNumbers?
    let entropyHigh: PackedNumbers?
    let trainer: PackedNumbers?
    let sampler: PackedNumbers?
    /// `topWidth` of each trainable token, likeliest first; -1 where fewer are possible.
    let topTokens: PackedNumbers?
    let topLogprobs: PackedNumbers?
    let topWidth: Int
    let plans: [Planned?]
    let prompt: String
    let completion: String
    let reference: String
    let extracted: String
    let temperature: Float
    let topP: Float
    let policyVersion: String
    let evidence: String

    /// More alternatives of a token than a reader would look at.
    private static let mostAlternatives = 5

    init(_ view: RolloutView) {
        let trainable = view.trainable, score = view.score, rollout = view.rollout
        func packed(_ values: [Float]?) -> PackedNumbers? {
            values.map { values in PackedNumbers(trainable.map { values[$0] }) }
        }
        (tokens, mask) = (PackedNumbers(rollout.tokenIDs), PackedNumbers(rollout.lossMask))
        (entropy, entropyLow) = (packed(score.entropy), packed(score.entropyLow))
        entropyHigh = packed(score.entropyHigh)
        (trainer, sampler) = (packed(view.trainerLogprobs), packed(view.samplerLogprobs))
        let top = Self.alternatives(view, trainable)
        (topWidth, topTokens) = (top.width, top.ids.isEmpty ? nil : PackedNumbers(top.ids))
        topLogprobs = top.ids.isEmpty ? nil : PackedNumbers(top.logprobs)
        plans = view.entries.map { Planned($0, trainable) }
        (prompt, completion) = (TokenText.visible(rollout.prompt), TokenText.visible(rollout.completion))
        reference = TokenText.visible(rollout.referenceAnswer)
        extracted = TokenText.visible(score.extracted)
        (temperature, topP) = (rollout.temperature, rollout.topP)
        (policyVersion, evidence) = (rollout.policyVersion, view.evidence)
    }

    /// The likeliest tokens at each place, where the scores have them.
    static func alternatives(_ view: RolloutView, _ places: [Int]) -> (width: Int, ids: [Int32], logprobs: [Float]) {
        let length = view.rollout.tokenIDs.count
        guard let ids = view.score.topkTokenIDs, let logprobs = view.score.topkLogprobs, length > 0,
            ids.count >= length, ids.count % length == 0
        else { return (0, [], []) }
        let known = ids.count / length, width = min(known, mostAlternatives)
        let wanted = places.flatMap { place in (0..<width).map { place * known + $0 } }
        return (width, wanted.map { ids[$0] }, wanted.map { logprobs[$0] })
    }
}

/// The sample in full, cut into blocks that a browser decodes when one of their rollouts is looked at.
struct PageRollouts {
    private(set) var summaries: [RolloutSummary] = []
    private(set) var blocks: [[RolloutDetail]] = []
    /// Tokens that occur in them.
    private(set) var tokens: Set<Int32> = []
    private var blockTokens = 0

    /// Decoding a block shall take a browser some hundredths of a second.
    private static let tokensPerBlock = 8_000

    init(_ run: RunView, rows: [Int]) throws { for row in rows { add(try run.rollout(row)) } }

    private mutating func add(_ view: RolloutView) {
        if blocks.isEmpty || blockTokens >= Self.tokensPerBlock {
            blocks.append([])
            blockTokens = 0
        }
        let block = blocks.count - 1
        summaries.append(RolloutSummary(view, block: block, place: blocks[block].count))
        blocks[block].append(RolloutDetail(view))
        blockTokens += view.rollout.tokenIDs.count
        tokens.formUnion(view.rollout.tokenIDs)
        tokens.formUnion(RolloutDetail.alternatives(view, view.trainable).ids)
    }
}
