import Credit
import Formats
import Quantiles
import Scratch
import StageSupport

/// Rows of an expansion's second plan, by number: the jobs' results in the dump's order, then the bases in theirs. They
/// are read where they lie, a few at a time.
struct ExpandedRows: Sendable {
    /// A rollout of the dump that is a job's result.
    struct Result: BitwiseCopyable, Sendable {
        let row: Int32
        let job: Int32
    }

    let rollouts: ScoredRollouts
    let index: JobIndex
    let expansion: any Expansion
    let needs: RowRequirements
    let results: ScratchArray<Result>
    private let reader: RowReader

    init(
        _ rollouts: ScoredRollouts, _ index: JobIndex, _ expansion: any Expansion, _ needs: RowRequirements,
        results: ScratchArray<Result>
    ) {
        (self.rollouts, self.index, self.expansion, self.needs) = (rollouts, index, expansion, needs)
        (self.results, reader) = (results, RowReader(rollouts, columns: nil))
    }

    var count: Int { results.count + index.baseCount }

    /// Number of a base's own row.
    func number(ofBase base: Int) -> Int { results.count + base }

    func row(_ number: Int) throws -> ScoredRollout {
        guard number < results.count else { return ScoredRollout(try index.base(number - results.count)) }
        let job = index.jobs[Int(results[number].job)], base = try index.base(Int(job.base))
        return try overlay(try reader.read([Int(results[number].row)]) { $0 }[0], base, end: Int(job.anchorPosition))
    }

    /// A result with what its base knows of the tokens before the cut, so that a method may train on them too. What
    /// only one of the two knows is not known then.
    private func overlay(_ result: ScoredRollout, _ base: BaseRow, end: Int) throws -> ScoredRollout {
        var merged = result
        func merge(_ own: [Float]?, _ known: [Float]?) -> [Float]? {
            guard let own, let known, end <= min(own.count, known.count) else {
                return expansion.trainsPrefixes ? nil : own
            }
            return Array(known[..<end]) + own[end...]
        }
        merged.rollout.rolloutLogprobs = merge(result.rollout.rolloutLogprobs, base.rollout.rolloutLogprobs)
        merged.score.oldLogprobs = merge(result.score.oldLogprobs, base.oldLogprobs)
        merged.score.entropy = merge(result.score.entropy, base.entropy)
        merged.score.referenceLogprobs = merge(result.score.referenceLogprobs, base.referenceLogprobs)
        return merged
    }

    /// A row as a base of the next round: with the tokens of the whole response in its mask, and with what ends it.
    func branch(_ number: Int) throws -> ScoredRollout {
        var row = try self.row(number)
        guard number < results.count else { return row }
        let job = index.jobs[Int(results[number].job)], base = try index.base(Int(job.base))
        let cut = Int(job.anchorPosition)
        for t in 0..<min(cut, row.rollout.lossMask.count) { row.rollout.lossMask[t] = base.rollout.lossMask[t] }
        row.branch = BaseRollout.Branch(parent: base.rollout.rolloutID, position: cut)
        if let known = base.extras, row.rollout.saysNoStops { row.rollout.extras = known }
        return row
    }

    /// A row as credit sees it, its own tokens still those that the policy sampled.
    func input(_ row: ScoredRollout, _ number: Int) throws -> CreditInput {
        // A length penalty counts the whole response, also what a continuation took over from its base.
        let length =
            number < results.count
            ? row.rollout.tokenIDs.count - Int(index.jobs[Int(results[number].job)].responseStart) : nil
        var input = try needs.creditInput(row, length: length)
        if expansion.judgesTruncatedWrong, input.isTruncated { (input.reward, input.correct) = (0, false) }
        return input
    }

    /// How many best log-probabilities the intervals of a row rest on.
    func evidenceWidth(_ number: Int32) throws -> Int32? { try row(Int(number)).score.evidenceTopK }
}

extension RolloutRow {
    /// Whether nothing tells what a continuation of it must stop at. Metadata that can't be read are told of where they
    /// are.
    fileprivate var saysNoStops: Bool {
        guard let asked = try? StopFields.asked(inExtras: extras) else { return false }
        return asked.texts.isEmpty && asked.tokens.isEmpty
    }
}

extension ScoredRollout {
    /// A base as a row of its own.
    init(_ base: BaseRow) {
        var score = ScoreRow()
        score.rolloutID = base.rollout.rolloutID
        (score.reward, score.correct) = (base.reward, base.correct)
        (score.entropy, score.oldLogprobs, score.referenceLogprobs) = (
            base.entropy, base.oldLogprobs, base.referenceLogprobs
        )
        self.init(rollout: base.rollout, score: score)
        rollout.extras = base.extras ?? ""
        if let parent = base.parentRolloutID, let position = base.branchPosition {
            branch = BaseRollout.Branch(parent: parent, position: Int(position))
        }
    }
}

/// The same rows for the plan: a credited row's mask in place of its own.
struct ExpandedTokens: TokenSource, PlanRowSource {
    let rows: ExpandedRows
    let credited: CreditedRows
    let threads: Int

    private func read(_ number: Int) throws -> (ScoredRollout, CreditInput) {
        let row = try rows.row(number)
        var input = try rows.input(row, number)
        if let mask = credited.mask(of: number) { input.mask = mask }
        return (row, input)
    }

    func planned(_ rows: ArraySlice<Int32>) throws -> [(ScoredRollout, CreditInput)] {
        try rows.map { try read(Int($0)) }
    }

    func inputs(of rows: ArraySlice<Int32>, reading columns: Set<TokenColumn>) throws -> [CreditInput] {
        try rows.map { try read(Int($0)).1 }
    }

    func trainable(
        _ rows: ArraySlice<Int32>, _ columns: [TokenColumn],
        _ body: (_ place: Int, [UnsafeBufferPointer<Float>]) throws -> Void
    ) throws {
        for (place, row) in rows.enumerated() {
            try read(Int(row)).1.withTrainable(columns) { try body(place, $0) }
        }
    }

    func readUnchecked(
        _ rows: ArraySlice<Int32>, _ column: TokenColumn,
        _ body: (_ place: Int, UnsafeBufferPointer<Float>) throws -> Void
    ) throws {
        try trainable(rows, [column]) { try body($0, $1[0]) }
    }

    func gather(_ ranges: [GatherRange], _ column: TokenColumn, into target: UnsafeMutablePointer<Float>) throws {
        for gather in ranges { try trainable([Int32(gather.row)], [column]) { gather.copy($1[0], into: target) } }
    }

    /// Each row is read by itself.
    func together(with row: Int32) -> Range<Int32> { row..<row + 1 }

    func inOrder<Value: Sendable>(
        _ count: Int, _ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void
    ) throws {
        try parallelInOrder(count, threads: threads, produce: produce, consume: consume)
    }
}
