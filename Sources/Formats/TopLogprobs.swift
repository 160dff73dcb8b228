/// Per sampled token, what an engine gave beside it: tokens with their log-probabilities, highest first, each id once.
package struct TopLogprobs: Equatable, Sendable {
    package struct Entry: Equatable, Sendable {
        package var token: Int32
        package var logprob: Float
    }

    package var rows: [[Entry]]

    /// nil where there is nothing, or where a token is known by its text alone: several ids may have the same, so entries may
    /// be lost. Engines write -9999 for "none".
    init?(_ given: [[(token: Int32?, logprob: Float?)]]?) {
        guard let given, given.contains(where: { !$0.isEmpty }), given.allSatisfy({ $0.allSatisfy { $0.token != nil && $0.logprob != nil } }) else { return nil }
        rows = given.map { row in
            var seen = Set<Int32>()
            let entries = row.map { Entry(token: $0.token ?? 0, logprob: $0.logprob ?? 0) }.filter { $0.logprob > -9000 && seen.insert($0.token).inserted }
            return entries.sorted { $0.logprob != $1.logprob ? $0.logprob > $1.logprob : $0.token < $1.token }
        }
    }

    /// How many entries of every row are surely its best. Engines append the sampled token where it is not among the k best,
    /// so a row has k or k + 1; where all are equally long and the sampled token is last in each, it may be the one too many.
    package func width(sampled: [Int32]) -> Int {
        let lengths = rows.map(\.count), shortest = lengths.min() ?? 0
        guard rows.count == sampled.count else { return 0 }
        let isSampledLast = zip(rows, sampled).allSatisfy { $0.last?.token == $1 }
        return lengths.max() == shortest && isSampledLast ? max(0, shortest - 1) : shortest
    }
}
