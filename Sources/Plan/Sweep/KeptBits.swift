import Scratch

/// Which tokens of a dump a plan keeps: a bit for a token.
struct KeptBits: Sendable {
    /// Rows of the dump that have bits, ascending.
    private let rows: ScratchArray<Int32>
    /// Where the words of each begin; one more than there are rows.
    private let starts: ScratchArray<Int>
    private let words: ScratchTable<UInt64>
    private let space: ScratchSpace

    /// None kept.
    init(_ firstPass: FirstPass) throws {
        let facts = firstPass.facts, starts = try ScratchTable<Int>(facts.space, count: facts.rows.count + 1)
        facts.space.forEach(facts.rows.indices) {
            starts[$0 + 1] = starts[$0] + (Int(facts.rows[$0].length) + UInt64.bitWidth - 1) / UInt64.bitWidth
        }
        (rows, space, self.starts) = (firstPass.eligible, facts.space, starts.array)
        words = try ScratchTable(facts.space, count: starts[facts.rows.count])
    }

    /// Adds tokens of a row of the plan. A row that is in several pairs keeps what any of them keeps.
    func add(row: Int32, _ marks: [Bool]) {
        let start = starts[Int(row)]
        for (token, isKept) in marks.enumerated() where isKept {
            words[start + token / UInt64.bitWidth] |= 1 << UInt64(token % UInt64.bitWidth)
        }
    }

    var count: Int {
        var count = 0
        space.forEach(0..<words.count) { count += words[$0].nonzeroBitCount }
        return count
    }

    /// How many tokens both keep.
    private func shared(with other: KeptBits) -> Int {
        var count = 0, place = 0
        space.forEach(rows.indices) { row in
            while place < other.rows.count, other.rows[place] < rows[row] { place += 1 }
            guard place < other.rows.count, other.rows[place] == rows[row] else { return }
            for (word, otherWord) in zip(starts[row]..<starts[row + 1], other.starts[place]..<other.starts[place + 1]) {
                count += (words[word] & other.words[otherWord]).nonzeroBitCount
            }
        }
        return count
    }

    /// Jaccard's index: of the tokens that either keeps, the share that both do; nil where neither keeps any.
    func overlap(with other: KeptBits) -> Double? {
        let shared = shared(with: other), either = count + other.count - shared
        return either == 0 ? nil : Double(shared) / Double(either)
    }
}
