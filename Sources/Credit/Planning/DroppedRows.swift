import Scratch

/// Rows that are left out, in their order, with the reason.
package struct DroppedRows: Sendable {
    package struct Entry: BitwiseCopyable, Sendable {
        /// Index into the rows of the plan.
        package let row: Int32
        fileprivate let reason: Int32
    }

    private let list: ScratchArray<Entry>
    private let reasons: [String]

    fileprivate init(_ entries: ScratchArray<Entry>, _ reasons: [String]) { (list, self.reasons) = (entries, reasons) }

    package var count: Int { list.count }
    package subscript(place: Int) -> (row: Int32, reason: String) {
        (list[place].row, reasons[Int(list[place].reason) - 1])
    }
    /// One after the other: for few.
    package var entries: some Sequence<(row: Int32, reason: String)> { (0..<count).lazy.map { self[$0] } }

    /// How often each reason was given.
    package func counts(_ space: ScratchSpace) -> [String: Int] {
        var counts = [Int](repeating: 0, count: reasons.count)
        space.forEach(0..<count) { counts[Int(list[$0].reason) - 1] += 1 }
        return Dictionary(uniqueKeysWithValues: zip(reasons, counts).filter { $1 > 0 })
    }
}

/// Such rows in the making: the next row is behind the last.
package struct DroppedRowsWriter {
    private var entries: ScratchWriter<DroppedRows.Entry>
    private var reasons = DropReasons()

    package init(_ space: ScratchSpace) { entries = ScratchWriter(space) }

    /// `append` takes numbers of these reasons too.
    init(_ space: ScratchSpace, _ reasons: DropReasons) { (entries, self.reasons) = (ScratchWriter(space), reasons) }

    package mutating func append(_ row: Int32, _ reason: DropReason) throws {
        try append(row, reasons.number(of: reason))
    }

    mutating func append(_ row: Int32, _ reason: Int32) throws {
        try entries.append(DroppedRows.Entry(row: row, reason: reason))
    }

    package mutating func finish() throws -> DroppedRows { DroppedRows(try entries.finish(), reasons.all.map(\.name)) }
}

/// The few reasons there are, by number from 1; 0 is for a row that is not left out.
package struct DropReasons: Sendable {
    private(set) var all: [DropReason] = []

    package init() {}

    package mutating func number(of reason: DropReason) -> Int32 {
        if let known = all.firstIndex(of: reason) { return Int32(known + 1) }
        all.append(reason)
        return Int32(all.count)
    }

    /// nil for 0.
    package subscript(number: Int32) -> DropReason? { number > 0 ? all[Int(number) - 1] : nil }
}
