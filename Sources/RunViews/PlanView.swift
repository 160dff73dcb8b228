import Arrow
import Files
import Formats
import Foundation
import Scratch
import StageSupport

/// What a plan makes of one rollout.
package enum PlanEntry: Sendable {
    /// Its rows, of which there are several where it is a part of several pairs.
    case kept([PlanRow])
    case dropped(reason: String)
    /// The plan doesn't know it.
    case missing

    package var rows: [PlanRow] {
        guard case .kept(let rows) = self else { return [] }
        return rows
    }

    package var dropReason: String? {
        guard case .dropped(let reason) = self else { return nil }
        return reason
    }
}

/// A finished crux-plan directory, to look rollouts up in. Names and a few numbers of each row are kept where scratch
/// has lists that grow; rows are read where they lie, from any thread.
package struct PlanView: Sendable {
    package let directory: String
    package let manifest: Manifest
    /// recipe.resolved.json as it stands there.
    package let recipe: String

    private let rows: TableRows<PlanRow>
    private let dropped: TableRows<DroppedRow>
    private let names: StringIndex
    /// By number of a name: its first row + 1, 0 where it has none.
    private let firstRows: ScratchArray<Int32>
    /// By row: the next row of the same name + 1, 0 behind the last.
    private let nextRows: ScratchArray<Int32>
    /// By number of a name: its row among the dropped + 1, 0 where it has none.
    private let droppedRows: ScratchArray<Int32>

    package static let planName = "plan.arrow", droppedName = "dropped.arrow", recipeName = "recipe.resolved.json"

    /// - Throws: where the directory is no finished plan, or its files aren't those that crux-plan wrote.
    package init(_ directory: String, _ context: StageContext, _ space: ScratchSpace = .temporary) throws {
        (self.directory, manifest) = (directory, try Manifest.finished(directory, stage: "plan"))
        guard manifest.outputs.contains(where: { $0.path == Self.planName }) else {
            throw StageError(
                .invalidInput,
                "\(directory): found no \(Self.planName) among its files, expected the plan of a finished crux-plan. "
                    + "Plan again with --overwrite.")
        }
        try manifest.verify([Self.planName, Self.droppedName, Self.recipeName], in: directory, context)
        recipe = try String(contentsOfFile: directory + "/" + Self.recipeName, encoding: .utf8)
        let plan = try ArrowTableReader(path: directory + "/" + Self.planName, table: Tables.plan)
        let left = try ArrowTableReader(path: directory + "/" + Self.droppedName, table: Tables.dropped)
        var interner = try StringInterner(space)
        let next = try ScratchTable<Int32>(space, count: plan.rowCount)
        let first = try ScratchTable<Int32>(space, count: plan.rowCount + left.rowCount)
        let leftRows = try ScratchTable<Int32>(space, count: plan.rowCount + left.rowCount)
        // From the last on, so that the first row of a name is found first.
        let ids = plan.reading(["rollout_id"]).cursor()
        for row in (0..<plan.rowCount).reversed() {
            let name = Int(try interner.number(of: try ids.row(row).rolloutID))
            (next[row], first[name]) = (first[name], Int32(row + 1))
        }
        var row: Int32 = 0
        try left.forEachRow {
            row += 1
            leftRows[Int(try interner.number(of: $0.rolloutID))] = row
        }
        names = try interner.finishIndex()
        (firstRows, nextRows, droppedRows) = (first.array, next.array, leftRows.array)
        (rows, dropped) = (TableRows(plan), TableRows(left))
    }

    package var rowCount: Int { rows.reader.rowCount }
    package var droppedCount: Int { dropped.reader.rowCount }

    package func row(_ number: Int) throws -> PlanRow { try rows.row(number) }

    /// Numbers of a rollout's rows in plan.arrow, ascending.
    package func rowNumbers(of rolloutID: String) -> [Int] {
        guard let name = names.number(of: rolloutID) else { return [] }
        var numbers: [Int] = [], next = firstRows[name]
        while next > 0 {
            numbers.append(Int(next) - 1)
            next = nextRows[Int(next) - 1]
        }
        return numbers
    }

    package func entry(of rolloutID: String) throws -> PlanEntry {
        let numbers = rowNumbers(of: rolloutID)
        if !numbers.isEmpty { return .kept(try numbers.map { try rows.row($0) }) }
        guard let name = names.number(of: rolloutID), droppedRows[name] > 0 else { return .missing }
        return .dropped(reason: try dropped.row(Int(droppedRows[name]) - 1).reason)
    }
}
