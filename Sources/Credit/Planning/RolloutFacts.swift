import Quantiles
import Scratch

/// What a plan must know of all its rollouts at once. No tokens: about thirty bytes for a rollout, and each group's
/// name once, kept where the space has lists that grow with a dump.
package struct RolloutFacts: Sendable {
    package struct Row: BitwiseCopyable, Sendable {
        /// Number of its group, by first appearance.
        package var group: Int32
        /// Tokens of the rollout, and those to train on.
        package var length: Int32
        package var trainable: Int32
        /// Tokens of an environment that the recipe learns from.
        package var environment: Int32 = 0
        package var isTruncated: Bool
        /// Whether the trainer that dumped it left it out of its loss.
        package var isExcluded = false
        /// Whether it was decoded greedily, where somebody wants to know.
        package var isGreedy: Bool
        package var correct: Bool?
        /// Whether its entropies are known, and whether only as intervals.
        package var entropy: EntropyKnowledge
        /// Shaped reward of the outcome, and with the rewards of single tokens added.
        package var reward: Double
        package var score: Double

        /// Trainable tokens whose entropies are known.
        var entropies: Int { entropy == .none ? 0 : Int(trainable) }

        /// By its verdict; by its reward where there is none.
        package var isRight: Bool { correct ?? (reward > 0) }

        /// Of a row whose tokens have no rewards of their own.
        package init(
            length: Int, trainable: Int, isTruncated: Bool, correct: Bool?, reward: Double, entropy: EntropyKnowledge
        ) {
            (self.length, self.trainable, self.isTruncated, self.correct, isGreedy) = (
                Int32(length), Int32(trainable), isTruncated, correct, false
            )
            (self.reward, score, self.entropy, group) = (reward, reward, entropy, -1)
        }

        /// `reward`: shaped. The group is numbered where the row is added.
        package init(_ input: CreditInput, reward: Double, entropy: EntropyKnowledge) {
            (length, trainable, isTruncated, correct, isGreedy) = (
                Int32(input.mask.count), Int32(input.trainable), input.isTruncated, input.correct, input.isGreedy
            )
            environment = Int32(input.environment)
            isExcluded = input.isExcluded
            (self.reward, self.entropy, group) = (reward, entropy, -1)
            score = reward + (input.tokenRewards?.reduce(0, +) ?? 0)
        }
    }

    package enum EntropyKnowledge: UInt8, BitwiseCopyable, Sendable {
        case none, exact, interval

        /// Of a row whose columns have been read.
        package init(_ input: CreditInput) {
            self = input.entropy.isEmpty ? .none : input.columns[.entropyLow] == nil ? .exact : .interval
        }
    }

    package let rows: ScratchArray<Row>
    package let groupNames: InternedStrings
    /// Members of each group, groups and members in dump order.
    package let groups: Groups
    package let hasIntervals: Bool
    /// Several rewards of each row, where a recipe names them.
    let components: ComponentTable
    /// Where lists are kept that are as long as these.
    package let space: ScratchSpace

    fileprivate init(
        _ rows: ScratchArray<Row>, _ groupNames: InternedStrings, _ groups: Groups, hasIntervals: Bool,
        _ components: ComponentTable, _ space: ScratchSpace
    ) {
        self.components = components
        (self.rows, self.groupNames, self.groups, self.hasIntervals, self.space) = (
            rows, groupNames, groups, hasIntervals, space
        )
    }

    /// Of rows that are in memory. `reward`: shaped.
    package init(_ inputs: [CreditInput], _ space: ScratchSpace = .memory, reward: (CreditInput) -> Double) throws {
        var builder = try RolloutFactsBuilder(space)
        for input in inputs { try builder.add(input, reward: reward(input)) }
        self = try builder.finish()
    }

    /// The same with some rows changed.
    func changing(_ change: (ScratchTable<Row>) -> Void) throws -> RolloutFacts {
        let changed = try ScratchTable<Row>(space, count: rows.count)
        space.forEach(rows.indices) { changed[$0] = rows[$0] }
        change(changed)
        return RolloutFacts(changed.array, groupNames, groups, hasIntervals: hasIntervals, components, space)
    }

    /// A row as an estimator sees it that reads no tokens.
    func outcome(_ row: Int) -> EpisodeOutcome {
        let fact = rows[row]
        return EpisodeOutcome(
            score: fact.score, correct: fact.correct, trainable: Int(fact.trainable), isGreedy: fact.isGreedy,
            components: components.rewards(row))
    }

    /// Whether rewards of a group don't differ: none of them, where there are several.
    func areEqual(_ members: [Int32]) -> Bool? { components.areEqual(members) }
}

/// Several rewards of each row.
struct ComponentTable: Sendable {
    let names: [String]
    let weights: [Double]
    /// Row by row, one for each name; NaN where the row has none.
    let values: ScratchArray<Double>

    func rewards(_ row: Int) -> [EpisodeOutcome.Reward] {
        weights.indices.map { index in
            let value = values[row * weights.count + index]
            return EpisodeOutcome.Reward(value: value.isNaN ? nil : value, weight: weights[index])
        }
    }

    /// nil where there are none to compare.
    func areEqual(_ members: [Int32]) -> Bool? {
        guard !weights.isEmpty else { return nil }
        return weights.indices.allSatisfy { index in
            GroupFilter.areEqual(
                members.map { values[Int($0) * weights.count + index] }.filter { !$0.isNaN })
        }
    }

    /// How many rows have none of each name.
    func missing(_ space: ScratchSpace) -> [Int] {
        var missing = weights.map { _ in 0 }
        guard !weights.isEmpty else { return [] }
        space.forEach(values.indices) { missing[$0 % weights.count] += values[$0].isNaN ? 1 : 0 }
        return missing
    }
}

/// Facts in the making, row behind row.
package struct RolloutFactsBuilder {
    private let space: ScratchSpace
    private var rows: ScratchWriter<RolloutFacts.Row>
    private var groups: StringInterner
    private var hasIntervals = false
    private let components: RewardComponents?
    private var values: ScratchWriter<Double>

    /// `components`: several rewards that a recipe names.
    package init(_ space: ScratchSpace, components: RewardComponents? = nil) throws {
        (self.space, rows, groups) = (space, ScratchWriter(space), try StringInterner(space))
        (self.components, values) = (components, ScratchWriter(space))
    }

    /// `reward`: shaped.
    package mutating func add(_ input: CreditInput, reward: Double, components: [Double] = []) throws {
        for value in components { try values.append(value) }
        try add(
            RolloutFacts.Row(input, reward: reward, entropy: RolloutFacts.EntropyKnowledge(input)),
            group: try groups.number(of: input.groupID))
    }

    /// Rows whose groups are numbers of these names.
    /// `components`: several rewards of each, one row behind the other.
    package mutating func add(
        _ rows: [RolloutFacts.Row], groupNames: some Sequence<String>, components: [Double] = []
    ) throws {
        for value in components { try values.append(value) }
        let numbers = try groupNames.map { try groups.number(of: $0) }
        for row in rows { try add(row, group: numbers[Int(row.group)]) }
    }

    private mutating func add(_ row: RolloutFacts.Row, group: Int32) throws {
        var row = row
        row.group = group
        hasIntervals = hasIntervals || row.entropy == .interval
        try rows.append(row)
    }

    /// All of them; no other can be added after it.
    package mutating func finish() throws -> RolloutFacts {
        let rows = try rows.finish(), count = groups.count
        let members = try Groups(space, of: rows.count, in: count) { rows[$0].group }
        let table = ComponentTable(
            names: components?.names ?? [], weights: components?.weightsInOrder ?? [], values: try values.finish())
        return RolloutFacts(rows, try groups.finish(), members, hasIntervals: hasIntervals, table, space)
    }
}

/// Indices by the number of what they belong to, each list in ascending order.
package struct Groups: Sendable {
    /// Where each list begins, and behind the last.
    private let starts: ScratchArray<Int32>
    /// nil: lists are one behind the other.
    private let indices: ScratchArray<Int32>?

    /// `number`: what each of `count` indices belongs to, below `groups`.
    package init(_ space: ScratchSpace, of count: Int, in groups: Int, _ number: (Int) -> Int32) throws {
        let starts = try ScratchTable<Int32>(space, count: groups + 1)
        var last: Int32 = 0, areTogether = true
        space.forEach(0..<count) { index in
            let next = number(index)
            areTogether = areTogether && next >= last
            last = next
            starts[Int(next) + 1] += 1
        }
        space.forEach(0..<groups) { starts[$0 + 1] += starts[$0] }
        self.starts = starts.array
        indices = areTogether ? nil : try Self.sorted(space, count, starts.array, number)
    }

    private static func sorted(
        _ space: ScratchSpace, _ count: Int, _ starts: ScratchArray<Int32>, _ number: (Int) -> Int32
    ) throws -> ScratchArray<Int32> {
        let indices = try ScratchTable<Int32>(space, count: count),
            filled = try ScratchTable<Int32>(space, count: starts.count)
        space.forEach(0..<count) { index in
            let group = Int(number(index))
            indices[Int(starts[group] + filled[group])] = Int32(index)
            filled[group] += 1
        }
        return indices.array
    }

    package var count: Int { starts.count - 1 }

    package subscript(group: Int) -> [Int32] {
        let range = Int(starts[group])..<Int(starts[group + 1])
        return indices.map { Array($0[range]) } ?? range.map { Int32($0) }
    }
}

/// Where the tokens of rollouts come from: an array, or files that no memory holds.
package protocol TokenSource: Sendable {
    /// These rows, with masks and the columns that are asked for; others may be missing.
    func inputs(of rows: ArraySlice<Int32>, reading columns: Set<TokenColumn>) throws -> [CreditInput]
    /// Numbers of these rows at their trainable tokens, for passes that look at every token and keep little: `body`
    /// gets, row by row, those of each column, which last for the call alone. A bound that a row doesn't have is its
    /// entropy; none where it has neither.
    func trainable(
        _ rows: ArraySlice<Int32>, _ columns: [TokenColumn],
        _ body: (_ place: Int, [UnsafeBufferPointer<Float>]) throws -> Void) throws
    /// One column of these rows for who looks at few of its numbers or says himself which are not finite: none is
    /// refused for that.
    func readUnchecked(
        _ rows: ArraySlice<Int32>, _ column: TokenColumn,
        _ body: (_ place: Int, UnsafeBufferPointer<Float>) throws -> Void) throws
    /// Copies a few numbers here and there of a column; rows, of the plan, ascend.
    func gather(_ ranges: [GatherRange], _ column: TokenColumn, into target: UnsafeMutablePointer<Float>) throws
    /// Rows that are had at the price of this one: work is best shared out between others.
    func together(with row: Int32) -> Range<Int32>
    /// `produce` runs on any thread, `consume` on the calling one in the order of the indices.
    func inOrder<Value: Sendable>(
        _ count: Int, _ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void) throws
}

/// Rows that are there already.
package struct InMemoryTokens: TokenSource {
    let inputs: [CreditInput]

    package init(inputs: [CreditInput]) { self.inputs = inputs }

    package func inputs(of rows: ArraySlice<Int32>, reading columns: Set<TokenColumn>) -> [CreditInput] {
        rows.map { inputs[Int($0)] }
    }

    package func trainable(
        _ rows: ArraySlice<Int32>, _ columns: [TokenColumn], _ body: (Int, [UnsafeBufferPointer<Float>]) throws -> Void
    ) rethrows {
        for (place, row) in rows.enumerated() { try inputs[Int(row)].withTrainable(columns) { try body(place, $0) } }
    }

    package func readUnchecked(
        _ rows: ArraySlice<Int32>, _ column: TokenColumn, _ body: (Int, UnsafeBufferPointer<Float>) throws -> Void
    ) rethrows {
        try trainable(rows, [column]) { try body($0, $1[0]) }
    }

    package func gather(_ ranges: [GatherRange], _ column: TokenColumn, into target: UnsafeMutablePointer<Float>) {
        for gather in ranges { trainable([Int32(gather.row)], [column]) { gather.copy($1[0], into: target) } }
    }

    package func together(with row: Int32) -> Range<Int32> { 0..<Int32(inputs.count) }

    package func inOrder<Value: Sendable>(
        _ count: Int, _ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void
    ) throws {
        for index in 0..<count { try consume(index, produce(index)) }
    }
}

extension CreditInput {
    /// Numbers of columns at the trainable tokens, as long as the call. A bound that the row doesn't have is its
    /// entropy; none where it has neither.
    package func withTrainable(_ names: [TokenColumn], _ body: ([UnsafeBufferPointer<Float>]) throws -> Void) rethrows {
        try withPointers(names.map { masked(columns[$0] ?? entropy) }, body)
    }

    private func masked(_ values: [Float]) -> [Float] {
        guard !values.isEmpty else { return [] }
        precondition(values.count == mask.count, "a row's columns have one length")
        return mask.indices.filter { mask[$0] }.map { values[$0] }
    }
}

private func withPointers(_ arrays: [[Float]], _ body: ([UnsafeBufferPointer<Float>]) throws -> Void) rethrows {
    try arrays.flatMap { $0 }.withUnsafeBufferPointer { all in
        var start = 0
        try body(
            arrays.map { array in
                defer { start += array.count }
                return UnsafeBufferPointer(rebasing: all[start..<start + array.count])
            })
    }
}
