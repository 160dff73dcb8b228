import Files
import Tensors

/// The tokens of several sequences laid out so that every distinct prefix stands once: a forest of runs, parents before
/// children. Rollouts of a group share their prompt, rollouts from one anchor a long prefix; whatever is computed on a
/// shared token is computed once.
package struct TokenForest: Sendable {
    /// [T]
    package private(set) var tokenIDs: [Int32] = []
    /// [T], place in the sequence, from 0.
    package private(set) var positions: [Int32] = []
    package private(set) var runs: [AttentionRun] = []
    /// [T], the sequence that a token was laid out from: the first that has it.
    private(set) var origins: [Int32] = []
    /// Per sequence, the flat ranges that make it up, in order.
    package private(set) var paths: [[Range<Int>]]
    /// [T], the positions as rows of rotary tables: those of long sequences stand behind those of short ones.
    private var tablePositions: [Int32] = []
    private let longSequences: Int?
    /// Tokens of the longest sequence, those behind its last wanted one included.
    package let longestSequence: Int
    /// The tokens whose final states are read. Above the last layer's attention nothing is computed for others.
    package private(set) var outputPositions = RowSubset(allOf: 0)

    /// `longSequences`: those of more tokens share nothing with shorter ones; see `DecoderArchitecture.longSequences`.
    /// `keys`: what sequences must agree in to share a prefix, where that is more than tokens; as long as they are.
    /// `lengths`: tokens of the sequences that these are the beginnings of.
    package init(
        _ sequences: [[Int32]], sharingPrefixes: Bool = true, longSequences: Int? = nil, keys: [[Int32]]? = nil,
        lengths: [Int]? = nil
    ) {
        let keys = keys ?? sequences, lengths = lengths ?? sequences.map(\.count)
        longestSequence = lengths.max() ?? 0
        paths = [[Range<Int>]](repeating: [], count: sequences.count)
        self.longSequences = longSequences
        let limit = longSequences ?? .max
        let short = sequences.indices.filter { lengths[$0] <= limit },
            long = sequences.indices.filter { lengths[$0] > limit }
        for (members, offset) in [(short, 0), (long, limit)] {
            let roots = sharingPrefixes ? Self.partition(members, at: 0, keys) : members.map { [$0] }
            for root in roots { add(root, from: 0, prefix: [], offset: offset, keys) }
        }
        tokenIDs = zip(origins, positions).map { sequences[Int($0)][Int($1)] }
        outputPositions = RowSubset(allOf: tokenIDs.count)
    }

    /// The sequences as far as they must be computed, read where a wanted token follows. Which of them are long their whole
    /// lengths say: what is computed of a token doesn't depend on which others are wanted.
    package init(_ queries: [SequenceQuery], longSequences: Int? = nil) {
        self.init(
            queries.map(\.context), longSequences: longSequences, keys: PrefixKeys(queries).keys,
            lengths: queries.map(\.tokenIDs.count))
        var isRead = [Bool](repeating: false, count: tokenIDs.count)
        for (index, query) in queries.enumerated() {
            for (position, token) in tokens(of: index).enumerated() where query.wanted[position + 1] {
                isRead[token] = true
            }
        }
        outputPositions = RowSubset(isRead.indices.filter { isRead[$0] }, of: tokenIDs.count)
    }

    /// Flat token indices of a sequence, [L].
    package func tokens(of sequence: Int) -> [Int] { paths[sequence].flatMap { Array($0) } }

    /// Of a model, which may have long sequences from another length on than the one that the forest was made for.
    func tablePositions(_ architecture: DecoderArchitecture) throws -> [Int32] {
        guard architecture.longSequences != longSequences else { return tablePositions }
        guard let limit = architecture.longSequences, longestSequence > limit else { return positions }
        throw FormatError(
            file: "config.json", place: "key original_max_position_embeddings",
            found: "a sequence of \(longestSequence) tokens, scored beside another model",
            expected:
                "at most \(limit): longer ones share no prefix with shorter ones in this model, but do in the other",
            remedy: "Score the two models apart, or leave out longer sequences.")
    }

    /// Adds the run that all `members` share from `start` on, then what follows it.
    private mutating func add(
        _ members: [Int], from start: Int, prefix: [Range<Int>], offset: Int, _ keys: [[Int32]]
    ) {
        let end = Self.sharedEnd(members, from: start, keys)
        guard end > start, let first = members.first else { return }
        let run = positions.count..<positions.count + end - start
        origins += repeatElement(Int32(first), count: run.count)
        positions += (start..<end).map(Int32.init)
        tablePositions += (start..<end).map { Int32($0 + offset) }
        runs.append(AttentionRun(tokens: run, prefix: prefix))
        for member in members { paths[member].append(run) }
        for branch in Self.partition(members, at: end, keys) {
            add(branch, from: end, prefix: prefix + [run], offset: offset, keys)
        }
    }

    /// The first position from which the members differ or one of them ends.
    private static func sharedEnd(_ members: [Int], from start: Int, _ sequences: [[Int32]]) -> Int {
        guard let first = members.first else { return start }
        var end = sequences[first].count
        for member in members.dropFirst() {
            let other = sequences[member]
            end = min(end, other.count)
            var agree = start
            while agree < end, other[agree] == sequences[first][agree] { agree += 1 }
            end = agree
        }
        return end
    }

    /// Members that go on beyond `position`, grouped by their token there, groups in order of first appearance.
    private static func partition(_ members: [Int], at position: Int, _ sequences: [[Int32]]) -> [[Int]] {
        var order: [Int32] = [], groups: [Int32: [Int]] = [:]
        for member in members where sequences[member].count > position {
            let token = sequences[member][position]
            if groups[token] == nil { order.append(token) }
            groups[token, default: []].append(member)
        }
        return order.compactMap { groups[$0] }
    }
}
