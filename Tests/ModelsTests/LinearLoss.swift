import Foundation
import Models

/// A loss whose derivatives are known: Σ coefficient · output over the wanted tokens of two sequences.
struct LinearLoss: Sendable {
    /// Longer than any window of the small decoders, and with a stem in common.
    let sequences: [SequenceQuery] = [[3, 9, 4, 11, 6, 2, 30, 21, 7], [3, 9, 4, 7, 5, 0, 8, 12]].map {
        (tokens: [Int32]) in
        SequenceQuery(tokenIDs: tokens, wanted: tokens.indices.map { $0 > 0 }, temperature: 0.8)
    }

    var coefficients: [[Float]] {
        sequences.map { sequence in
            sequence.wanted.indices.map {
                sequence.wanted[$0] ? Float(sin(Double(3 * $0 + sequence.tokenIDs.count))) + 0.4 : 0
            }
        }
    }

    func callAsFunction(_ scores: [SequenceScores]) -> Double {
        zip(scores, coefficients).reduce(0) { sum, pair in
            sum + zip(pair.0.outputs, pair.1).reduce(0) { $0 + Double($1.0) * Double($1.1) }
        }
    }
}
