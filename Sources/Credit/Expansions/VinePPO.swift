/// VinePPO: values of the states between reasoning steps by Monte-Carlo continuations, and one-step advantages
/// A_i = r_i + V(S_{i+1}) - V(S_i) for the base rollouts themselves. The continuations are never trained on.
package struct VinePPO: Expansion {
    package static let name = "vineppo"
    package static let source = "VinePPO, arXiv 2410.01679; code McGill-NLP/VinePPO"

    /// K
    package var replicates = 9
    /// What a reasoning step is: `lines`, or `math` for solutions written in LaTeX.
    package var segmentation = MemberName<SegmentationRegistry>(LineSegmentation.name)
    /// With `lines`, a step ends behind any of these.
    package var stepSeparators = ["\n"]
    /// With `lines`, shorter pieces (in Unicode scalars) join the next one, the last piece the one before it.
    package var minimumStepCharacters = 20
    /// States beyond this many are not sampled; their values follow from the reward, their advantages are 0.
    package var maxStates: Int?
    /// Whitens advantages over the trainable tokens of the whole plan.
    package var whiten = true
    package var maxTokens: Int?

    package init() {}

    package var problems: [String] {
        commonProblems + steps.problems
            + Bounds.problems("expansion.max_states", maxStates, Bounds.tokens, orNull: true)
            + Bounds.problems("expansion.minimum_step_characters", minimumStepCharacters, 0...Bounds.tokens.upperBound)
    }

    package var unread: [String: String] {
        guard SegmentationRegistry.named(segmentation) != LineSegmentation.self else { return [:] }
        return ["step_separators", "minimum_step_characters"].reduce(into: [:]) {
            $0[$1] = "segmentation \(segmentation.word) has its own rules"
        }
    }

    /// The paper's penalty is the mean over rollouts of a rollout's sum.
    package var klAggregation: (any Aggregation)? { SequenceMeanTokenSum() }

    private var steps: any Segmentation {
        let settings = SegmentationSettings(separators: stepSeparators, minimumCharacters: minimumStepCharacters)
        return SegmentationRegistry.named(segmentation).init(settings)
    }

    package var readsText: Bool { true }
    package var judgesTruncatedWrong: Bool { true }
    package var sharesPrefixes: Bool { true }
    package var trainsBases: Bool { true }
    package var whitens: Bool { whiten }
    package var sampledStates: Int? { maxStates }

    package func states(of base: BaseRollout, seed: UInt64, encode: (String) -> [Int32]) -> [ExpansionState] {
        stepPositions(base).map { ExpansionState(position: $0) }
    }

    /// Where each step's first token stands, the response's start first. A token across a border belongs to the step
    /// before.
    private func stepPositions(_ base: BaseRollout) -> [Int] {
        guard let text = base.text else { return [base.responseStart] }
        var positions: [Int] = []
        for start in steps.starts(in: text.bytes) {
            let position = base.responseStart + text.token(startingAt: start)
            if position > positions.last ?? -1, positions.isEmpty || base.content.contains(position) {
                positions.append(position)
            }
        }
        return positions
    }

    package func credit(_ expanded: ExpandedBase) -> ExpansionCredit {
        var credit = ExpansionCredit()
        let base = expanded.base
        guard !expanded.isBaseRejected else { return credit }
        credit.values = expanded.outcomes.map { outcomes in
            outcomes.isEmpty ? nil : outcomes.reduce(0) { $0 + $1.reward } / Double(outcomes.count)
        }
        guard let advantages = Self.advantages(values: credit.values, reward: base.reward) else {
            credit.dropped.append((expanded.row, .missingValue))
            return credit
        }
        let borders = expanded.states.map(\.position) + [base.responseEnd]
        var perToken = [Double](repeating: 0, count: base.mask.count)
        for (step, advantage) in advantages.enumerated() {
            for t in borders[step]..<borders[step + 1] where base.mask[t] { perToken[t] = advantage }
        }
        credit.rows.append(
            CreditedRow(
                row: expanded.row, groupID: base.groupID, reward: base.reward, mask: base.mask, advantages: perToken))
        return credit
    }

    /// One advantage per state; with every value known their sum is R - V(S_0). Missing values at the end are filled
    /// backwards with V_i = r_i + V_{i+1} = R, which makes their advantages 0; nil where one is missing in the middle.
    package static func advantages(values: [Double?], reward: Double) -> [Double]? {
        let known = values.prefix { $0 != nil }.compactMap { $0 }
        guard values.dropFirst(known.count).allSatisfy({ $0 == nil }), !known.isEmpty else { return nil }
        let filled = known + [Double](repeating: reward, count: values.count - known.count + 1)
        return values.indices.map { filled[$0 + 1] - filled[$0] }
    }
}
