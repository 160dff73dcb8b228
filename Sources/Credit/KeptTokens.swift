/// The kept rows' trainable tokens, gone over in pieces on all threads: for whatever is to be known of many tokens and no single one.
struct KeptTokens: Sendable {
    /// By position among the kept rows.
    fileprivate let rows: [Int32]
    private let source: any TokenSource
    let pieces: [Range<Int>]

    init(_ kept: [KeptRow], _ facts: PlanFacts, _ source: any TokenSource) {
        (rows, self.source) = (kept.map(\.row), source)
        pieces = Self.pieces(rows, facts, source)
    }

    /// Tokens from which on a piece is worth a thread's while, and at which it ends wherever it is.
    private static let enough = 1 << 18, most = 1 << 21

    /// Pieces end where rows do that lie together, so that threads don't meet in one batch of a file.
    private static func pieces(_ rows: [Int32], _ facts: PlanFacts, _ source: any TokenSource) -> [Range<Int>] {
        var pieces: [Range<Int>] = [], start = 0, tokens = 0
        for (position, row) in rows.enumerated() {
            tokens += Int(facts.rows[Int(row)].length)
            let isLast = position == rows.count - 1
            guard isLast || tokens >= most || tokens >= enough && !source.areTogether(row, rows[position + 1]) else { continue }
            pieces.append(start..<position + 1)
            (start, tokens) = (position + 1, 0)
        }
        return pieces
    }

    /// Those of a piece in order: each with its numbers in these columns, which last for the call alone.
    func forEachRow(of piece: Int, reading columns: [TokenColumn], _ body: (_ position: Int, [UnsafeBufferPointer<Float>]) throws -> Void) throws {
        let positions = pieces[piece]
        try source.trainable(rows[positions], columns) { try body(positions.lowerBound + $0, $1) }
    }

    /// `read` runs on any thread, `see` on the calling one in the order of the rows.
    func forEachRow<Value: Sendable>(
        reading columns: [TokenColumn], _ read: @Sendable (_ position: Int, [UnsafeBufferPointer<Float>]) -> Value, _ see: (_ position: Int, Value) -> Void
    ) throws {
        try source.inOrder(pieces.count) { piece in
            var values: [Value] = []
            values.reserveCapacity(pieces[piece].count)
            try forEachRow(of: piece, reading: columns) { values.append(read($0, $1)) }
            return values
        } _: { piece, values in
            for (position, value) in zip(pieces[piece], values) { see(position, value) }
        }
    }

    /// One of the columns, for what asks for it time and again.
    func column(_ column: TokenColumn) -> KeptColumn { KeptColumn(tokens: self, source: source, column: column) }
}

struct KeptColumn: ValueStream {
    fileprivate let tokens: KeptTokens
    fileprivate let source: any TokenSource
    fileprivate let column: TokenColumn

    var pieces: [Range<Int>] { tokens.pieces }

    func forEachRow(of piece: Int, _ body: (Int, UnsafeBufferPointer<Float>) throws -> Void) throws {
        try tokens.forEachRow(of: piece, reading: [column]) { try body($0, $1[0]) }
    }

    func glance(at piece: Int, _ body: (Int, UnsafeBufferPointer<Float>) throws -> Void) throws {
        let positions = tokens.pieces[piece]
        try source.glance(tokens.rows[positions], column) { try body(positions.lowerBound + $0, $1) }
    }

    func pick(_ picks: [ValuePick], of piece: Int, into target: UnsafeMutablePointer<Float>) throws {
        let picks = picks.map { ValuePick(row: Int(tokens.rows[$0.row]), values: $0.values, target: $0.target) }
        try source.pick(picks, column, into: target)
    }

    func inOrder<Value: Sendable>(_ count: Int, _ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void) throws {
        try source.inOrder(count, produce, consume)
    }
}
