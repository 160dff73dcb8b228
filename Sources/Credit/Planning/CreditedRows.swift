import Scratch

/// What an expansion makes of rows, over all bases: who is trained on, with which mask and advantages, and who is left
/// out. Kept where the space has lists that grow with a dump: a byte for a token, eight for a trainable one.
package struct CreditedRows: Sendable {
    struct Row: BitwiseCopyable, Sendable {
        let row: Int32
        /// Number of those that it was compared with, by first appearance.
        let group: Int32
        let reward: Double
        /// Where its mask begins, and its length.
        let mask: Int
        let length: Int32
        /// Where the advantages of its trainable tokens lie.
        let advantages: TokenAdvantages.Place
        /// All advantages are 0; all are numbers that float32 can hold.
        let isZero: Bool
        let isFinite: Bool
    }

    /// In the order of the bases.
    let rows: ScratchArray<Row>
    package let groupNames: InternedStrings
    let advantages: ScratchArray<Double>
    /// By row of the plan: number of the reason why it is left out; 0: it isn't.
    let dropped: ScratchTable<Int32>
    let reasons: DropReasons
    private let masks: ScratchArray<Bool>
    /// By row of the plan: its number in `rows` + 1; 0 where it has no credit.
    private let places: ScratchArray<Int32>

    fileprivate init(_ writer: inout CreditedRowsWriter) throws {
        (rows, groupNames) = (try writer.rows.finish(), try writer.groups.finish())
        (advantages, masks) = (try writer.advantages.finish(), try writer.masks.finish())
        (dropped, reasons, places) = (writer.dropped, writer.reasons, writer.places.array)
    }

    /// The credit of a row of the plan; nil where it has none.
    subscript(row: Int) -> Row? { places[row] > 0 ? rows[Int(places[row]) - 1] : nil }

    /// The tokens of a row that are trained on, [L]; nil for one that has no credit, whose mask is its own.
    package func mask(of row: Int) -> [Bool]? {
        guard let credited = self[row] else { return nil }
        return masks.withElements(credited.mask..<credited.mask + Int(credited.length)) { Array($0) }
    }
}

/// Such rows in the making, base behind base.
package struct CreditedRowsWriter {
    fileprivate var rows: ScratchWriter<CreditedRows.Row>
    fileprivate var groups: StringInterner
    fileprivate var masks: ScratchWriter<Bool>
    fileprivate var advantages: ScratchWriter<Double>
    fileprivate let dropped: ScratchTable<Int32>
    fileprivate let places: ScratchTable<Int32>
    fileprivate var reasons = DropReasons()

    /// `rows`: how many the plan has, results and bases.
    package init(_ space: ScratchSpace, rows count: Int) throws {
        (rows, groups, masks) = (ScratchWriter(space), try StringInterner(space), ScratchWriter(space))
        advantages = ScratchWriter(space)
        (dropped, places) = (try ScratchTable(space, count: count), try ScratchTable(space, count: count))
    }

    /// What one base and its continuations are worth.
    package mutating func add(_ credit: ExpansionCredit) throws {
        for row in credit.rows { try add(row) }
        for (row, reason) in credit.dropped { drop(row, reason) }
    }

    package mutating func drop(_ row: Int, _ reason: DropReason) { dropped[row] = reasons.number(of: reason) }

    /// Whether anything was said of a row.
    package func knows(_ row: Int) -> Bool { places[row] > 0 || dropped[row] > 0 }

    private mutating func add(_ row: CreditedRow) throws {
        precondition(places[row.row] == 0, "a row is credited once")
        let values = masked(row.advantages, row.mask)
        let place = TokenAdvantages.Place(start: advantages.count, count: Int32(values.count))
        try rows.append(
            CreditedRows.Row(
                row: Int32(row.row), group: try groups.number(of: row.groupID), reward: row.reward, mask: masks.count,
                length: Int32(row.mask.count), advantages: place, isZero: values.allSatisfy { $0 == 0 },
                isFinite: values.allSatisfy(isFiniteInFloat32)))
        try row.mask.withUnsafeBufferPointer { try masks.append(contentsOf: $0) }
        try values.withUnsafeBufferPointer { try advantages.append(contentsOf: $0) }
        places[row.row] = Int32(rows.count)
    }

    package mutating func finish() throws -> CreditedRows { try CreditedRows(&self) }
}
