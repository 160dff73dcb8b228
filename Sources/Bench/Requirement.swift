import Foundation

/// What a figure must reach at least, and what it is hoped to.
struct Requirement {
    let need: Double
    var goal: Double?

    func verdict(_ figure: Double) -> String {
        let aim = goal.map { String(format: ", goal %g", $0) } ?? ""
        return String(format: "(needed %g\(aim)): ", need) + (figure >= need ? "reached" : "missed")
    }
}
