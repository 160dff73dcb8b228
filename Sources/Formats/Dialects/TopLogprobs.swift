/// Per sampled token, the likeliest tokens that an engine gave with their log-probabilities, highest first, each id once.
package struct TopLogprobs: Equatable, Sendable {
    package struct Entry: Equatable, Sendable {
        package var token: Int32
        /// -inf: the engine knows that it is impossible.
        package var logprob: Float
    }

    /// A row is empty where nothing usable was given for the token.
    package var rows: [[Entry]]

    /// An entry as it is given: nil for a token that is known by its text alone.
    typealias Given = (token: Int32?, logprob: JSONValue?)

    /// nil where there is nothing, or where a token is known by its text alone: several ids may have the same, so
    /// entries may be lost.
    init?(_ given: [[Given]]?, remarks: inout Set<RolloutRemark>) {
        guard let given, given.contains(where: { !$0.isEmpty }) else { return nil }
        guard given.allSatisfy({ $0.allSatisfy { $0.token != nil } }) else {
            remarks.insert(.topLogprobsAsText)
            return nil
        }
        rows = given.map(Self.row)
        if rows.contains(where: \.isEmpty) { remarks.insert(.topLogprobsUnusable) }
        if rows.allSatisfy(\.isEmpty) { return nil }
    }

    /// One entry that is no log-probability leaves the order of the others open: any of them may be missing among the
    /// best. What it costs is this token.
    private static func row(_ given: [Given]) -> [Entry] {
        var seen = Set<Int32>(), entries: [Entry] = []
        for (token, value) in given {
            guard let token, let logprob = value?.float, logprob <= 1e-3 else { return [] }
            // Engines write -9999 for -inf.
            if seen.insert(token).inserted {
                entries.append(Entry(token: token, logprob: logprob > -9000 ? logprob : -.infinity))
            }
        }
        guard entries.contains(where: { $0.logprob > -.infinity }) else { return [] }
        return entries.sorted { $0.logprob != $1.logprob ? $0.logprob > $1.logprob : $0.token < $1.token }
    }

    /// How many entries of every row are surely its best. Engines append the sampled token where it is not among the k
    /// best, so a row has k or k + 1; where all are equally long and the sampled token is last in each, it may be the
    /// one too many.
    package func width(sampled: [Int32]) -> Int {
        guard rows.count == sampled.count else { return 0 }
        let known = zip(rows, sampled).filter { !$0.0.isEmpty }, lengths = known.map(\.0.count)
        let shortest = lengths.min() ?? 0, isSampledLast = known.allSatisfy { $0.last?.token == $1 }
        return lengths.max() == shortest && isSampledLast ? max(0, shortest - 1) : shortest
    }

    /// `width` entries of every row. Where nothing is known of a token, all that is said is that nothing is.
    package func padded(to width: Int) -> (tokens: [Int32], logprobs: [Float]) {
        let rows = rows.map {
            $0.isEmpty ? (0..<Int32(width)).map { Entry(token: $0, logprob: -.infinity) } : Array($0.prefix(width))
        }
        return (rows.flatMap { $0.map(\.token) }, rows.flatMap { $0.map { min(0, $0.logprob) } })
    }

    /// Without the rows of the first so many tokens.
    func dropping(_ count: Int) -> TopLogprobs {
        var rest = self
        rest.rows.removeFirst(min(count, rows.count))
        return rest
    }
}
