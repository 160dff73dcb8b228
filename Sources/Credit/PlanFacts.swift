/// What a plan must know of all its rollouts at once. No tokens, so that a dump of any size fits: about thirty bytes for a
/// rollout, and each group's name once.
package struct PlanFacts: Sendable {
    package struct Row: Sendable {
        /// Number of its group, by first appearance.
        package var group: Int32
        /// Tokens of the rollout, and those to train on.
        package var length: Int32
        package var trainable: Int32
        package var isTruncated: Bool
        package var correct: Bool?
        /// Whether its entropies are known, and whether only as intervals.
        package var entropy: EntropyKnowledge
        /// Shaped reward of the outcome, and with the rewards of single tokens added.
        package var reward: Double
        package var score: Double

        /// Of a row whose tokens have no rewards of their own.
        package init(length: Int, trainable: Int, isTruncated: Bool, correct: Bool?, reward: Double, entropy: EntropyKnowledge) {
            (self.length, self.trainable, self.isTruncated, self.correct) = (Int32(length), Int32(trainable), isTruncated, correct)
            (self.reward, score, self.entropy, group) = (reward, reward, entropy, -1)
        }

        /// `reward`: shaped. The group is numbered where the row is added.
        package init(_ input: CreditInput, reward: Double, entropy: EntropyKnowledge) {
            (length, trainable, isTruncated, correct) = (Int32(input.mask.count), Int32(input.trainable), input.isTruncated, input.correct)
            (self.reward, self.entropy, group) = (reward, entropy, -1)
            score = reward + (input.tokenRewards?.reduce(0, +) ?? 0)
        }
    }

    package enum EntropyKnowledge: UInt8, Sendable { case none, exact, interval }

    package private(set) var rows: [Row] = []
    private var groupTable = NameTable()

    package init() {}

    package var groupNames: [String] { groupTable.names }

    package var hasIntervals: Bool { rows.contains { $0.entropy == .interval } }

    /// `reward`: shaped.
    package mutating func add(_ input: CreditInput, reward: Double) {
        let entropy: EntropyKnowledge = input.entropy.isEmpty ? .none : input.columns[.entropyLow] == nil ? .exact : .interval
        add(Row(input, reward: reward, entropy: entropy), groupID: input.groupID)
    }

    package mutating func add(_ row: Row, groupID: String) {
        var row = row
        row.group = groupTable.number(of: groupID)
        rows.append(row)
    }

    /// Room for so many rows: growing as they come would take twice their memory.
    package mutating func reserve(_ rows: Int) { self.rows.reserveCapacity(rows) }

    /// Rows whose groups are numbers of these names.
    package mutating func add(_ rows: [Row], groupNames: [String]) {
        let numbers = groupNames.map { groupTable.number(of: $0) }
        for var row in rows {
            row.group = numbers[Int(row.group)]
            self.rows.append(row)
        }
    }

    /// Where an expansion says what a row is worth.
    mutating func setReward(_ reward: Double, of row: Int) { rows[row].reward = reward }

    /// Members of each group, groups and members in dump order.
    package var groups: Groups { Groups(rows.map(\.group), count: groupNames.count) }
}

/// Indices by the number of what they belong to, each list in ascending order.
package struct Groups: Sendable {
    private var starts: [Int]
    private var indices: [Int32]

    package init(_ numbers: [Int32], count: Int) {
        starts = [Int](repeating: 0, count: count + 1)
        for number in numbers { starts[Int(number) + 1] += 1 }
        for group in 0..<count { starts[group + 1] += starts[group] }
        indices = [Int32](repeating: 0, count: numbers.count)
        var next = starts
        for (index, number) in numbers.enumerated() {
            indices[next[Int(number)]] = Int32(index)
            next[Int(number)] += 1
        }
    }

    package var count: Int { starts.count - 1 }
    package subscript(group: Int) -> ArraySlice<Int32> { indices[starts[group]..<starts[group + 1]] }
}

/// Some of a row's numbers at trainable tokens, side by side, and where they are to go.
package struct ValuePick: Sendable {
    package var row: Int
    package var values: Range<Int>
    package var target: Int

    package init(row: Int, values: Range<Int>, target: Int) { (self.row, self.values, self.target) = (row, values, target) }

    /// From all numbers of the row.
    func copy(_ all: UnsafeBufferPointer<Float>, into target: UnsafeMutablePointer<Float>) {
        for (index, place) in values.clamped(to: 0..<all.count).enumerated() { target[self.target + index] = all[place] }
    }
}

/// Where the tokens of rollouts come from: an array, or files that no memory holds.
package protocol TokenSource: Sendable {
    /// These rows, with masks and the columns that are asked for; others may be missing.
    func inputs(of rows: ArraySlice<Int32>, reading columns: Set<TokenColumn>) throws -> [CreditInput]
    /// Numbers of these rows at their trainable tokens, for passes that look at every token and keep little: `body` gets, row by row, those
    /// of each column, which last for the call alone. A bound that a row doesn't have is its entropy; none where it has neither.
    func trainable(_ rows: ArraySlice<Int32>, _ columns: [TokenColumn], _ body: (_ place: Int, [UnsafeBufferPointer<Float>]) throws -> Void) throws
    /// One column of these rows for who looks at few of its numbers or says himself which are not finite: none is refused for that.
    func glance(_ rows: ArraySlice<Int32>, _ column: TokenColumn, _ body: (_ place: Int, UnsafeBufferPointer<Float>) throws -> Void) throws
    /// Copies a few numbers here and there of a column; rows, of the plan, ascend.
    func pick(_ picks: [ValuePick], _ column: TokenColumn, into target: UnsafeMutablePointer<Float>) throws
    /// Whether two rows, one after the other, are had at the price of one: work is best shared out where they are not.
    func areTogether(_ row: Int32, _ next: Int32) -> Bool
    /// `produce` runs on any thread, `consume` on the calling one in the order of the indices.
    func inOrder<Value: Sendable>(_ count: Int, _ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void) throws
}

/// Rows that are there already.
package struct InMemoryTokens: TokenSource {
    let inputs: [CreditInput]

    package init(inputs: [CreditInput]) { self.inputs = inputs }

    package func inputs(of rows: ArraySlice<Int32>, reading columns: Set<TokenColumn>) -> [CreditInput] { rows.map { inputs[Int($0)] } }

    package func trainable(_ rows: ArraySlice<Int32>, _ columns: [TokenColumn], _ body: (Int, [UnsafeBufferPointer<Float>]) throws -> Void) rethrows {
        for (place, row) in rows.enumerated() {
            let input = inputs[Int(row)], values = columns.map { maskedIn(input.columns[$0] ?? input.entropy, input.mask) }
            try withPointers(values) { try body(place, $0) }
        }
    }

    package func glance(_ rows: ArraySlice<Int32>, _ column: TokenColumn, _ body: (Int, UnsafeBufferPointer<Float>) throws -> Void) rethrows {
        try trainable(rows, [column]) { try body($0, $1[0]) }
    }

    package func pick(_ picks: [ValuePick], _ column: TokenColumn, into target: UnsafeMutablePointer<Float>) {
        for pick in picks { trainable([Int32(pick.row)], [column]) { pick.copy($1[0], into: target) } }
    }

    package func areTogether(_ row: Int32, _ next: Int32) -> Bool { true }

    package func inOrder<Value: Sendable>(_ count: Int, _ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void) throws {
        for index in 0..<count { try consume(index, produce(index)) }
    }
}

/// A row's numbers at its trainable tokens; empty where it has none.
private func maskedIn(_ values: [Float], _ mask: [Bool]) -> [Float] {
    guard !values.isEmpty else { return [] }
    precondition(values.count == mask.count, "a row's columns have one length")
    return mask.indices.filter { mask[$0] }.map { values[$0] }
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
