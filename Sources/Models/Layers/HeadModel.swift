import Tensors

/// A language model's head alone: from final hidden states to log-probabilities and entropies, without a layer below.
package final class HeadModel: Sendable {
    package let width: Int
    package let vocabulary: Int
    private let weight: StandingWeight
    private let head: LogitHead
    private let compute: Compute

    package init(_ checkpoint: Checkpoint, masters: Masters? = nil, threads: Int, halves: HalfProducts? = nil) throws {
        (width, vocabulary) = (checkpoint.architecture.hidden, checkpoint.architecture.vocabulary)
        weight = try checkpoint.loadHead(masters)
        head = checkpoint.architecture.logitHead(weight.matrix)
        compute = Compute(threads: threads, halves: halves)
    }

    /// `hidden` [n, C]: what the final norm gives out, one row for each of `targets`. Logits exist for a chunk of rows
    /// at a time.
    /// `supports`: the tokens that the softmax goes over for each; nil is the whole vocabulary.
    package func answers(
        _ hidden: Matrix, targets: [Int32], temperature: Float, supports: [ArraySlice<Int32>?]? = nil
    ) -> [HeadAnswer] {
        let queries = targets.enumerated().map {
            HeadRequest(row: $0, target: $1, inverseTemperature: 1 / temperature, support: supports?[$0])
        }
        return headForward(hidden, head, queries: queries, compute)
    }
}
