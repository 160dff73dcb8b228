import Gang
import Models

/// What a step's rows are given by the policy as it stands. Ranks compute a part each; all need all of them.
struct StepScores {
    /// Per row.
    private(set) var all: [SequenceScores]

    /// Zeros. `lengths`: tokens of each row.
    init(_ lengths: [Int]) {
        all = lengths.map { length in
            let zeros = [Float](repeating: 0, count: length)
            return SequenceScores(outputs: zeros, entropy: zeros)
        }
    }

    subscript(row: Int) -> SequenceScores {
        get { all[row] }
        set { all[row] = newValue }
    }

    /// `members`: of each rank, the rows that it has computed.
    mutating func share(_ members: [[Int]], _ gang: any Gang) throws {
        guard !gang.isAlone else { return }
        for (owner, rows) in members.enumerated() {
            var floats = rows.flatMap { all[$0].outputs + all[$0].entropy }
            try floats.withUnsafeMutableBytes { try gang.broadcast($0, from: owner) }
            var start = 0
            for row in rows {
                let length = all[row].outputs.count
                all[row].outputs = Array(floats[start..<start + length])
                all[row].entropy = Array(floats[start + length..<start + 2 * length])
                start += 2 * length
            }
        }
    }
}
