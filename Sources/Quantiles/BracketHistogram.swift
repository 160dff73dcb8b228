import CKernels

/// Counts values by the brackets of a sample and keeps those of some, piece after piece. For one thread at a
/// time.
final class BracketHistogram: @unchecked Sendable {
    /// What a piece of a stream came to.
    struct Piece: Sendable {
        /// Values that reach each edge.
        var atLeast: [Int]
        /// Values of each cell that is kept, in their order.
        var kept: [[Float]]
        /// How each row lies about the watched cell.
        var rows: [RowsAroundCut.Row]
        var isFinite: Bool
    }

    private let layout: SampleBrackets
    private let watched: Int?
    private let cells: UnsafeMutablePointer<crux_cells>
    /// Of all cells that are kept, as they come.
    private let kept = FloatBuffer()
    private let scattered = FloatBuffer()
    private var keptCount = 0
    private var rows: [RowsAroundCut.Row] = []
    private var reached = 0

    init(_ layout: SampleBrackets, watched: Int?) {
        (self.layout, self.watched) = (layout, watched)
        cells = .allocate(capacity: 1)
    }

    deinit { cells.deallocate() }

    func begin(rows: Int) {
        let edges = layout.edges
        crux_begin_cells(cells, edges, edges.count, layout.turns)
        (keptCount, reached, self.rows) = (0, 0, [])
        if watched != nil { self.rows.reserveCapacity(rows) }
    }

    /// The next row's.
    func add(_ values: UnsafeBufferPointer<Float>) {
        // The kernel writes whole vectors.
        let start = kept.room(keptCount + values.count + Int(CRUX_CELL_LANES), keeping: keptCount) + keptCount
        let count = values.baseAddress.map { crux_count_cells($0, values.count, cells, start) } ?? 0
        keptCount += count
        if let watched { watch(watched, UnsafeBufferPointer(start: start, count: count)) }
    }

    private func watch(_ bracket: Int, _ own: UnsafeBufferPointer<Float>) {
        let lower = layout.brackets[bracket].lower, end = layout.brackets[bracket + 1].lower, before = reached
        reached = Int(crux_cells_at_least(cells, bracket))
        var inside: Int32 = 0
        for value in own { inside &+= (value >= lower ? 1 : 0) & (value < end ? 1 : 0) }
        rows.append(RowsAroundCut.Row(near: inside, above: Int32(reached - before)))
    }

    /// What was added since `begin`; nothing can be added after it.
    func finish() -> Piece {
        let atLeast = layout.edges.indices.map { Int(crux_cells_at_least(cells, $0)) },
            isFinite = cells.pointee.saw_odd == 0
        return Piece(atLeast: atLeast, kept: keptByBracket, rows: rows, isFinite: isFinite)
    }

    /// What was kept, by cell, in its order.
    private var keptByBracket: [[Float]] {
        layout.kept.map { bracket in
            let target = scattered.room(keptCount + Int(CRUX_CELL_LANES), keeping: 0)
            crux_begin_cells(cells, [layout.brackets[bracket].lower, layout.brackets[bracket + 1].lower], 2, 0b11)
            let count = crux_count_cells(kept.room(keptCount, keeping: keptCount), keptCount, cells, target)
            return Array(UnsafeBufferPointer(start: target, count: count))
        }
    }
}

/// Memory that grows by doubling.
private final class FloatBuffer {
    private var buffer = UnsafeMutableBufferPointer<Float>.allocate(capacity: 1 << 12)

    deinit { buffer.deallocate() }

    /// Room for so many, with the first few as they were.
    func room(_ count: Int, keeping kept: Int) -> UnsafeMutablePointer<Float> {
        guard count > buffer.count else { return buffer.baseAddress! }
        let larger = UnsafeMutableBufferPointer<Float>.allocate(capacity: max(count, 2 * buffer.count))
        larger.baseAddress!.update(from: buffer.baseAddress!, count: kept)
        buffer.deallocate()
        buffer = larger
        return buffer.baseAddress!
    }
}
