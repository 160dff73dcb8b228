import Foundation
import Models
import Tensors
import TestSupport
import Testing

/// Softmax over the tokens that could be drawn alone.
@Suite struct HeadSupportTests {
    private static let logits: [Float] = [2, 1, 0, -1, -3]

    private func identity(_ size: Int) -> Buffer {
        Buffer((0..<size * size).map { $0 % (size + 1) == 0 ? 1 : 0 })
    }

    /// What a head says of these logits, and the derivatives of the target's log-probability by them.
    private func learn(_ support: [Int32]?, cap: Float? = nil, logits: [Float] = logits) -> (HeadAnswer, [Float]) {
        let compute = Compute(threads: 1), hidden = Buffer(logits), weight = identity(logits.count),
            gradient = Buffer(logits.count)
        let head = LogitHead(weight: .float32(weight.matrix(rows: logits.count)), cap: cap)
        var answers: [HeadAnswer] = []
        let query = HeadRequest(row: 0, target: 1, inverseTemperature: 1, support: support?[...])
        headLearn(
            hidden.matrix(rows: 1), head, queries: [query], dhidden: gradient.matrix(rows: 1), dweight: nil, compute
        ) {
            answers = $0
            return [HeadDerivative(output: 1)]
        }
        return (answers[0], gradient.array)
    }

    /// The numbers of the specification.
    @Test func theSoftmaxGoesOverTheSupportAlone() {
        let (answer, gradient) = learn([0, 1])
        #expect(isClose(Double(answer.output), -1.313262, absolute: 1e-6))
        #expect(isClose(Double(answer.entropy), 0.582203, absolute: 1e-6))
        #expect(firstDifference(gradient, [-0.731059, 0.731059, 0, 0, 0], absolute: 1e-6) == nil)
        let whole = learn(nil).0
        #expect(isClose(Double(whole.output), -1.444519, absolute: 1e-6))
        #expect(isClose(Double(whole.entropy), 0.971274, absolute: 1e-6))
    }

    @Test func allTokensAreAsIfNobodyHadSaid() {
        let all = learn([0, 1, 2, 3, 4]), none = learn(nil)
        #expect(all.0.output == none.0.output && all.0.entropy == none.0.entropy && all.1 == none.1)
    }

    @Test func oneTokenHasNoChoice() {
        let (answer, gradient) = learn([1])
        #expect(answer.output == 0 && answer.entropy == 0)
        #expect(gradient.allSatisfy { $0 == 0 })
    }

    /// A soft cap's derivative is taken of logits, of which none is infinite.
    @Test(arguments: [nil, 1.5] as [Float?]) func theGradientEqualsCentralDifferences(_ cap: Float?) {
        let support: [Int32] = [3, 1, 0], gradient = learn(support, cap: cap).1
        for index in Self.logits.indices {
            func moved(_ step: Float) -> Double {
                var logits = Self.logits
                logits[index] += step
                return Double(learn(support, cap: cap, logits: logits).0.output)
            }
            // Steps of 1/64 are exact in float32; their cube is the error.
            let slope = (moved(1.0 / 64) - moved(-1.0 / 64)) * 32
            #expect(isClose(Double(gradient[index]), slope, absolute: 1e-4), "\(index)")
        }
    }

    /// Sequences that share a prefix and draw from it by other rules.
    private let sequences: [SequenceQuery] = [
        SequenceQuery(
            tokenIDs: [3, 9, 4, 11, 6, 2], wanted: [false, false, true, true, true, true], temperature: 1,
            supports: [nil, nil, [4, 7, 9], [11, 2], nil, [0, 1, 2, 3]]),
        SequenceQuery(
            tokenIDs: [3, 9, 4, 7, 5], wanted: [false, false, true, true, true], temperature: 0.8,
            supports: [nil, nil, [4, 7], nil, [5, 6, 31]]),
        SequenceQuery(tokenIDs: [3, 9, 4, 7], wanted: [false, false, true, true], temperature: 1),
    ]

    @Test func theModelsGradientEqualsCentralDifferences() throws {
        let checkpoint = try Checkpoint(directory: fixture("policy")), start = try checkpoint.loadParameters(),
            gradient = Buffer(start.count)
        func loss(_ scores: [SequenceScores]) -> Double { scores.flatMap(\.outputs).reduce(0) { $0 + Double($1) } }
        let model = LanguageModel(checkpoint.architecture, parameters: start, threads: 2)
        let scores = try model.accumulateGradients(sequences, into: gradient) { _ in
            sequences.map { $0.wanted.map { $0 ? 1 : 0 } }
        }
        #expect(scores[0].outputs[2] != scores[2].outputs[2])
        let length = sqrt(gradient.array.reduce(0.0) { $0 + Double($1) * Double($1) })
        func along(_ step: Double) throws -> Double {
            let moved = Buffer(uninitialized: start.count)
            for i in 0..<start.count {
                moved.pointer[i] = Float(Double(start.pointer[i]) + step * Double(gradient.pointer[i]) / length)
            }
            return loss(try LanguageModel(checkpoint.architecture, parameters: moved, threads: 2).score(sequences))
        }
        // A change of the loss of .1 either way: far above float32's noise, and small against the curvature.
        let step = min(2e-3, 0.1 / length), slope = (try along(step) - along(-step)) / (2 * step)
        #expect(length > 0 && isClose(slope, length, relative: 2e-3), "\(slope) against \(length)")
    }
}
