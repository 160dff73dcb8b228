import Arrow
import Formats
import Quantiles
import Scratch
import StageSupport

/// Exact quantiles of the entropies of all trainable tokens, in passes over two columns of the run.
package struct EntropyQuantiles: Encodable, Equatable, Sendable {
    /// At 0, 5, … 100 %, in nats.
    package let values: [Double]
    /// Entropy above which the share of tokens lies, by that share.
    package let thresholds: [String: Double]

    private static let quantiles = stride(from: 0, through: 100, by: 5).map { Share(Double($0) / 100) }
    private static let shares: [Share] = [0.05, 0.1, 0.2, 0.5]

    /// `counts`: by row, how many trainable tokens have a known entropy. nil where none has.
    package init?(
        of rows: ScoredRows, counts: ScratchArray<Int32>, threads: Int, _ space: ScratchSpace = .temporary
    ) throws {
        var total = 0
        for row in 0..<counts.count { total += Int(counts[row]) }
        guard total > 0 else { return nil }
        let places = (Self.quantiles + Self.shares.map(\.complement)).map { QuantilePlace($0, of: total) }
        let ranks = Set(places.flatMap(\.ranks)).sorted()
        let statistics = try StreamingQuantiles(
            rows: StreamedRows(count: rows.count, population: { _ in 0 }, values: { Int(counts[$0]) }),
            populations: [Population(count: total, ranks: ranks)], space: space
        ).run(EntropyStream(rows: rows, counts: counts, threads: threads))[0]
        let byRank = Dictionary(uniqueKeysWithValues: zip(ranks, statistics))
        let found = places.map { place in place.value(place.ranks.compactMap { byRank[$0] }) }
        values = Array(found.prefix(Self.quantiles.count))
        thresholds = Dictionary(
            uniqueKeysWithValues: zip(Self.shares.map { "\($0)" }, found.dropFirst(Self.quantiles.count)))
    }
}

/// Entropies of trainable tokens, batch by batch.
private struct EntropyStream: ValueStream {
    let rows: ScoredRows
    let pieces: [Range<Int>]
    let counts: [Int]
    private let threads: Int

    init(rows: ScoredRows, counts: ScratchArray<Int32>, threads: Int) {
        self.rows = rows.reading(rollouts: ["rollout_id", "loss_mask"], scores: ["rollout_id", "entropy"])
        (pieces, self.threads) = (rows.batches, threads)
        self.counts = pieces.map { $0.reduce(0) { $0 + Int(counts[$1]) } }
    }

    func forEachRow(of piece: Int, _ body: (Int, UnsafeBufferPointer<Float>) throws -> Void) throws {
        for number in pieces[piece] {
            let row = try rows.row(number), mask = row.rollout.lossMask
            let values = row.score.entropy.map { entropy in mask.indices.filter { mask[$0] }.map { entropy[$0] } } ?? []
            try values.withUnsafeBufferPointer { try body(number, $0) }
        }
    }

    func inOrder<Value: Sendable>(_ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void)
        throws
    {
        try parallelInOrder(pieces.count, threads: threads, produce: produce, consume: consume)
    }
}
