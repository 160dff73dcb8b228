import ArgumentParser
import Formats

/// `--reward-columns accuracy,format:0.5`: which columns of a trainer's log are rewards, and what each weighs in their
/// sum. Logs have a column for each reward function and no word on their weights.
struct RewardColumns: ExpressibleByArgument, Equatable, Sendable {
    struct Column: Equatable, Sendable {
        let name: String
        let weight: Double
    }

    let columns: [Column]

    /// nil where a part is no name, or no name and a weight behind a colon, or a name comes twice.
    init?(argument: String) {
        var columns: [Column] = []
        for part in argument.split(separator: ",", omittingEmptySubsequences: false) {
            // Names of functions may hold a colon; what weighs stands behind the last one.
            let pieces = part.split(separator: ":", omittingEmptySubsequences: false)
            let weight = pieces.count > 1 ? Double(pieces[pieces.count - 1]) : nil
            let name = weight == nil ? String(part) : pieces.dropLast().joined(separator: ":")
            guard !name.isEmpty, (weight ?? 1).isFinite, !columns.contains(where: { $0.name == name }) else {
                return nil
            }
            columns.append(Column(name: name, weight: weight ?? 1))
        }
        guard !columns.isEmpty else { return nil }
        self.columns = columns
    }

    var text: String { columns.map { $0.weight == 1 ? $0.name : "\($0.name):\($0.weight)" }.joined(separator: ",") }

    /// The rollout with its reward, and with the parts by name, which recipes may weigh themselves.
    func applied(to given: DumpedRollout, id: String) throws -> DumpedRollout {
        guard given.reward == nil, !given.numbers.isEmpty else { return given }
        var rollout = given, sum = 0.0, parts: [String: Double] = [:]
        for column in columns {
            guard let value = given.numbers[column.name], value.isFinite else {
                let names = given.numbers.keys.sorted().joined(separator: ", ")
                throw Rejection(
                    id, .invalidValue, found: "no finite number in column '\(column.name)'",
                    expected: "one, as --reward-columns says; columns with numbers: \(names)")
            }
            sum += column.weight * value
            parts[column.name] = value
            rollout.metadata[column.name] = nil
        }
        rollout.reward = Float(sum)
        if rollout.metadata["rewards"] == nil { rollout.metadata["rewards"] = NamedRewards.text(parts) }
        return rollout
    }
}
