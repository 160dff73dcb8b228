import Scratch

/// The kept rows' trainable tokens, gone over in pieces on all threads: for whatever is to be known of many tokens and no single one.
struct KeptTokens: Sendable {
    private let kept: ScratchArray<KeptRow>
    fileprivate let source: any TokenSource
    private let space: ScratchSpace
    let pieces: [Range<Int>]

    init(_ kept: ScratchArray<KeptRow>, _ facts: PlanFacts, _ source: any TokenSource) {
        (self.kept, self.source, space) = (kept, source, facts.space)
        pieces = Self.pieces(kept, facts, source)
    }

    /// Tokens from which on a piece is worth a thread's while, and at which it ends wherever it is.
    private static let enough = 1 << 18, most = 1 << 21

    /// Pieces end where rows do that lie together, so that threads don't meet in one batch of a file.
    private static func pieces(_ kept: ScratchArray<KeptRow>, _ facts: PlanFacts, _ source: any TokenSource) -> [Range<Int>] {
        var pieces: [Range<Int>] = [], start = 0, tokens = 0
        facts.space.forEach(kept.indices) { position in
            let row = kept[position].row
            tokens += Int(facts.rows[Int(row)].length)
            let isLast = position == kept.count - 1
            guard isLast || tokens >= most || tokens >= enough && !source.areTogether(row, kept[position + 1].row) else { return }
            pieces.append(start..<position + 1)
            (start, tokens) = (position + 1, 0)
        }
        return pieces
    }

    fileprivate func row(_ position: Int) -> Int { Int(kept[position].row) }
    fileprivate func rows(of piece: Int) -> ArraySlice<Int32> { pieces[piece].map { kept[$0].row }[...] }

    /// All pieces: `produce` runs on any thread, `consume` on the calling one in their order. What has been looked at of long lists meanwhile
    /// leaves memory.
    fileprivate func inOrder<Value: Sendable>(_ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void) throws {
        try source.inOrder(pieces.count, produce) {
            try consume($0, $1)
            space.leave(after: pieces[$0].count)
        }
    }

    /// Those of a piece in order: each with its numbers in these columns, which last for the call alone.
    func forEachRow(of piece: Int, reading columns: [TokenColumn], _ body: (_ position: Int, [UnsafeBufferPointer<Float>]) throws -> Void) throws {
        let first = pieces[piece].lowerBound
        try source.trainable(rows(of: piece), columns) { try body(first + $0, $1) }
    }

    /// `read` runs on any thread, `see` on the calling one in the order of the rows.
    func forEachRow<Value: Sendable>(
        reading columns: [TokenColumn], _ read: @Sendable (_ position: Int, [UnsafeBufferPointer<Float>]) -> Value, _ see: (_ position: Int, Value) throws -> Void
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

    func forEachRow(of piece: Int, _ body: (Int, UnsafeBufferPointer<Float>) throws -> Void) throws {
        try tokens.forEachRow(of: piece, reading: [column]) { try body($0, $1[0]) }
    }

    func glance(at piece: Int, _ body: (Int, UnsafeBufferPointer<Float>) throws -> Void) throws {
        let first = tokens.pieces[piece].lowerBound
        try tokens.source.glance(tokens.rows(of: piece), column) { try body(first + $0, $1) }
    }

    func pick(_ picks: [ValuePick], of piece: Int, into target: UnsafeMutablePointer<Float>) throws {
        let picks = picks.map { ValuePick(row: tokens.row($0.row), values: $0.values, target: $0.target) }
        try tokens.source.pick(picks, column, into: target)
    }

    func inOrder<Value: Sendable>(_ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void) throws {
        try tokens.inOrder(produce, consume)
    }
}
