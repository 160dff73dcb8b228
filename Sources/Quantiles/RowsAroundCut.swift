import Scratch

/// How rows lie about a cut: what a cut there keeps of each row follows without another look at its tokens.
package struct RowsAroundCut: Sendable {
    /// Of a row's values: how many lie in the bracket of the cut, and how many above it. What is neither lies below.
    struct Row: BitwiseCopyable, Sendable {
        let near: Int32
        let above: Int32
    }

    let rows: ScratchArray<Row>
    /// Those in the bracket, row after row.
    let values: ScratchArray<Float>

    /// `body` gets each row's values near the cut, and how many others lie above and below. `counts`: all values of
    /// each row.
    package func forEachRow(
        _ space: ScratchSpace, _ counts: (Int) -> Int,
        _ body: (_ row: Int, UnsafeBufferPointer<Float>, _ above: Int, _ below: Int) throws -> Void
    ) rethrows {
        var start = 0
        try space.forEach(rows.indices) { index in
            let row = rows[index], near = start..<start + Int(row.near)
            try values.withElements(near) {
                try body(index, $0, Int(row.above), counts(index) - Int(row.above) - Int(row.near))
            }
            start = near.upperBound
        }
    }
}
