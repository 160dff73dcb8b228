import Quantiles
import Scratch

/// The kept rows' trainable tokens, gone over in pieces on all threads: for whatever is to be known of many tokens and
/// no single one.
struct KeptTokens: Sendable {
    private let kept: ScratchArray<PlannedRow>
    fileprivate let source: any TokenSource
    private let space: ScratchSpace
    private(set) var pieces: [Range<Int>] = []
    /// Tokens of each piece whose entropies are known.
    private(set) var entropies: [Int] = []

    init(_ kept: ScratchArray<PlannedRow>, _ facts: RolloutFacts, _ source: any TokenSource) {
        (self.kept, self.source, space) = (kept, source, facts.space)
        cut(facts)
    }

    /// Tokens from which on a piece is worth a thread's while, and at which it ends wherever it is.
    private static let enough = 1 << 18, most = 1 << 21

    /// Pieces end where rows do that lie together, so that threads don't meet in one batch of a file.
    private mutating func cut(_ facts: RolloutFacts) {
        let (kept, rows) = (kept, facts.rows)
        var start = 0, tokens = 0, entropies = 0, together: Range<Int32> = 0..<0
        facts.space.forEach(kept.indices) { position in
            let row = kept[position].row, fact = rows[Int(row)]
            (tokens, entropies) = (tokens + Int(fact.length), entropies + fact.entropies)
            if position + 1 < kept.count, tokens < Self.most {
                guard tokens >= Self.enough else { return }
                if !together.contains(row) { together = source.together(with: row) }
                if together.contains(kept[position + 1].row) { return }
            }
            pieces.append(start..<position + 1)
            self.entropies.append(entropies)
            (start, tokens, entropies) = (position + 1, 0, 0)
        }
    }

    fileprivate func row(_ position: Int) -> Int { Int(kept[position].row) }
    fileprivate func rows(of piece: Int) -> ArraySlice<Int32> { pieces[piece].map { kept[$0].row }[...] }

    /// All pieces: `produce` runs on any thread, `consume` on the calling one in their order. What has been looked at
    /// of long lists meanwhile leaves memory.
    fileprivate func inOrder<Value: Sendable>(
        _ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void
    ) throws {
        try source.inOrder(pieces.count, produce) {
            try consume($0, $1)
            space.releasePages(after: pieces[$0].count)
        }
    }

    /// Those of a piece in order: each with its numbers in these columns, which last for the call alone.
    func forEachRow(
        of piece: Int, reading columns: [TokenColumn],
        _ body: (_ position: Int, [UnsafeBufferPointer<Float>]) throws -> Void
    ) throws {
        let first = pieces[piece].lowerBound
        try source.trainable(rows(of: piece), columns) { try body(first + $0, $1) }
    }

    /// `read` runs on any thread, `see` on the calling one in the order of the rows.
    func forEachRow<Value: Sendable>(
        reading columns: [TokenColumn], _ read: @Sendable (_ position: Int, [UnsafeBufferPointer<Float>]) -> Value,
        _ see: (_ position: Int, Value) throws -> Void
    ) throws {
        try inOrder { piece in
            var values: [Value] = []
            values.reserveCapacity(pieces[piece].count)
            try forEachRow(of: piece, reading: columns) { values.append(read($0, $1)) }
            return values
        } _: { piece, values in
            for (position, value) in zip(pieces[piece], values) { try see(position, value) }
        }
    }

    /// One of the columns, for what asks for it time and again.
    func column(_ column: TokenColumn) -> KeptColumn { KeptColumn(tokens: self, column: column) }
}

struct KeptColumn: ValueStream {
    fileprivate let tokens: KeptTokens
    fileprivate let column: TokenColumn

    var pieces: [Range<Int>] { tokens.pieces }
    var counts: [Int] { tokens.entropies }

    func forEachRow(of piece: Int, _ body: (Int, UnsafeBufferPointer<Float>) throws -> Void) throws {
        try tokens.forEachRow(of: piece, reading: [column]) { try body($0, $1[0]) }
    }

    func readUnchecked(at piece: Int, _ body: (Int, UnsafeBufferPointer<Float>) throws -> Void) throws {
        let first = tokens.pieces[piece].lowerBound
        try tokens.source.readUnchecked(tokens.rows(of: piece), column) { try body(first + $0, $1) }
    }

    func gather(_ ranges: [GatherRange], of piece: Int, into target: UnsafeMutablePointer<Float>) throws {
        let ranges = ranges.map { GatherRange(row: tokens.row($0.row), values: $0.values, target: $0.target) }
        try tokens.source.gather(ranges, column, into: target)
    }

    func inOrder<Value: Sendable>(_ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void)
        throws
    {
        try tokens.inOrder(produce, consume)
    }
}
