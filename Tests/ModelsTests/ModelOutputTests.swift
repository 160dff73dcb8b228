import Files
import Foundation
import Models
import Tensors
import TestSupport
import Testing

/// What a model can be asked beside log-probabilities, on the fixture policy.
@Suite struct ModelOutputTests {
    private let sequences: [SequenceQuery] = [
        SequenceQuery(tokenIDs: [3, 9, 4, 11, 6, 2], wanted: [false, false, true, true, true, true], temperature: 1),
        // Shares a prefix with the first, and one token that is asked twice with another bonus.
        SequenceQuery(
            tokenIDs: [3, 9, 4, 7, 5], wanted: [false, false, true, true, true], temperature: 1,
            bonuses: [0, 0, 1.5, -2, 0.5]),
    ]

    private func parameters(_ checkpoint: Checkpoint, shaken seed: UInt64? = nil, by size: Float = 0.02) throws
        -> Buffer
    {
        let buffer = try checkpoint.loadParameters()
        guard let seed else { return buffer }
        var generator = SplitMix(seed: seed)
        for i in 0..<buffer.count { buffer.pointer[i] += size * (Float(generator.next() >> 40) / Float(1 << 24) - 0.5) }
        return buffer
    }

    private func question(_ name: String, _ checkpoint: Checkpoint) throws -> ModelOutputKind {
        func model(_ seed: UInt64, by size: Float = 0.02) throws -> LanguageModel {
            LanguageModel(
                checkpoint.architecture, parameters: try parameters(checkpoint, shaken: seed, by: size), threads: 2)
        }
        switch name {
        case "logprob": return .logprob
        case "value": return .value
        case "tokenLogit": return .tokenLogit
        // Far enough away that the divergence is no parabola.
        case "a teacher":
            return .distillation(Teacher(try model(5, by: 0.2), TeacherDivergence(.jensenShannon(beta: 0.3))))
        case "a teacher's likeliest":
            return .distillation(
                Teacher(try model(5), TeacherDivergence(.directions(share: 0), support: .teacher, chosen: 4)))
        case "towards Q": return .divergence(BoltzmannTarget(reference: try model(5), q: try model(6), beta: 2))
        default: return .divergence(BoltzmannTarget(reference: try model(5), q: nil, beta: 1))
        }
    }

    /// Σ c · output with c that differ by token.
    private func loss(_ scores: [SequenceScores]) -> Double {
        zip(scores, coefficients).reduce(0) { sum, pair in
            sum + zip(pair.0.outputs, pair.1).reduce(0) { $0 + Double($1.0) * Double($1.1) }
        }
    }

    private var coefficients: [[Float]] {
        sequences.map { sequence in
            sequence.wanted.indices.map {
                sequence.wanted[$0] ? Float(sin(Double(3 * $0 + sequence.tokenIDs.count))) + 1.2 : 0
            }
        }
    }

    @Test(arguments: questions)
    func theGradientEqualsCentralDifferences(_ name: String) throws {
        let checkpoint = try Checkpoint(directory: fixture("policy"), as: name == "value" ? .critic : .languageModel)
        let question = try question(name, try Checkpoint(directory: fixture("policy")))
        let start = try parameters(checkpoint, shaken: 1), gradient = Buffer(start.count)
        let model = LanguageModel(checkpoint.architecture, parameters: start, threads: 2)
        let scores = try model.accumulateGradients(sequences, into: gradient, question) { _ in coefficients }
        let plain = try model.score(sequences, question)
        #expect(areSame(scores, plain))

        // Along the gradient itself, where the derivative is its length.
        let length = sqrt(
            (0..<gradient.count).reduce(0.0) { $0 + Double(gradient.pointer[$1]) * Double(gradient.pointer[$1]) })
        func along(_ step: Double) throws -> Double {
            let moved = Buffer(uninitialized: start.count)
            for i in 0..<start.count {
                moved.pointer[i] = Float(Double(start.pointer[i]) + step * Double(gradient.pointer[i]) / length)
            }
            return loss(
                try LanguageModel(checkpoint.architecture, parameters: moved, threads: 2).score(sequences, question))
        }
        // A change of the loss of .1 either way: far above float32's noise, and small against the curvature.
        let step = min(2e-3, 0.1 / length), slope = (try along(step) - along(-step)) / (2 * step)
        #expect(
            length > 0 && isClose(slope, length, absolute: 0, relative: 2e-3), "\(name): \(slope) against \(length)")
    }

    // MARK: entropies

    /// Σ c · entropy beside the outputs'.
    private func lossWithEntropies(_ scores: [SequenceScores]) -> Double {
        var sum = loss(scores)
        for (score, coefficients) in zip(scores, coefficients) {
            for (entropy, coefficient) in zip(score.entropy, coefficients) {
                sum -= 0.5 * Double(entropy) * Double(coefficient)
            }
        }
        return sum
    }

    private func derivatives(_ rows: Range<Int>) -> [ScoreDerivatives] {
        coefficients[rows].map { ScoreDerivatives(outputs: $0, entropy: $0.map { -0.5 * $0 }) }
    }

    /// Along the gradient, where the derivative is its length; the sequences share a stem.
    private func expectGradient(_ training: any Training, relative: Double) throws {
        let gradient = Buffer(training.layout.count), start = training.parameters.array
        try training.model.accumulateScoreGradients(
            sequences, units: [1, 1], into: training.gradients(into: gradient)
        ) { part, _ in derivatives(part) }
        let slope = gradient.array, length = slope.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
        func along(_ step: Double) throws -> Double {
            for i in start.indices {
                training.parameters.pointer[i] = Float(Double(start[i]) + step * Double(slope[i]) / length)
            }
            return lossWithEntropies(try training.model.score(sequences))
        }
        let step = min(2e-3, 0.1 / length), found = (try along(step) - along(-step)) / (2 * step)
        #expect(length > 0 && isClose(found, length, absolute: 0, relative: relative), "\(found) against \(length)")
    }

    @Test func theGradientOfEntropiesEqualsCentralDifferences() throws {
        let checkpoint = try Checkpoint(directory: fixture("policy"))
        try expectGradient(
            FullTraining(
                checkpoint.architecture, parameters: try parameters(checkpoint, shaken: 1), threads: 2, halves: nil),
            relative: 2e-3)
    }

    @Test func theGradientOfEntropiesByAdaptersEqualsCentralDifferences() throws {
        let checkpoint = try Checkpoint(directory: fixture("policy"))
        let model = LanguageModel(
            checkpoint.architecture, parameters: try parameters(checkpoint, shaken: 1), threads: 2)
        let training = LowRankTraining(model, rank: 3, alpha: 6, targets: ["q_proj", "down_proj"], seed: 4)
        var generator = SplitMix(seed: 8)
        for i in 0..<training.parameters.count {
            training.parameters.pointer[i] = 0.1 * (Float(generator.next() >> 40) / Float(1 << 24) - 0.5)
        }
        try expectGradient(training, relative: 2e-2)
    }

    /// A stem that two sequences share is computed once, and so are logits that fit in no chunk twice: the same gradient.
    @Test func entropiesOfATreeHaveTheGradientOfItsRows() throws {
        let checkpoint = try Checkpoint(directory: fixture("policy"))
        let training = FullTraining(
            checkpoint.architecture, parameters: try parameters(checkpoint, shaken: 1), threads: 2, halves: nil)
        func gradient(_ batches: [Range<Int>], headRows: Int? = nil) throws -> [Float] {
            let gradient = Buffer(training.layout.count)
            for batch in batches {
                try training.model.accumulateScoreGradients(
                    Array(sequences[batch]), units: batch.map { _ in 1 }, into: training.gradients(into: gradient),
                    memory: PassMemory(headRows: headRows)
                ) { part, _ in
                    derivatives(part.lowerBound + batch.lowerBound..<part.upperBound + batch.lowerBound)
                }
            }
            return gradient.array
        }
        let tree = try gradient([0..<2])
        #expect(relativeDistance(tree, try gradient([0..<1, 1..<2])) < 1e-5)
        #expect(relativeDistance(tree, try gradient([0..<2], headRows: 1)) < 1e-5)
    }

    /// But for last bits: tests run side by side and share OpenBLAS's thread count, on which these depend.
    private func areSame(_ some: [SequenceScores], _ others: [SequenceScores]) -> Bool {
        some.count == others.count
            && zip(some, others).allSatisfy { firstDifference($0.outputs, $1.outputs, absolute: 1e-5) == nil }
    }

    private static let questions = [
        "logprob", "value", "tokenLogit", "towards Q", "towards a bonus", "a teacher", "a teacher's likeliest",
    ]

    /// A pass in memory of the foreseen size beside one in memory of its own.
    private struct PassInMemory {
        var foreseen = 0
        /// Of the pass with its backward half, and of one that only scores, in floats.
        var peak = 0, scoringPeak = 0
        /// Between the gradients.
        var distance = Double.infinity
    }

    private func pass(_ name: String) throws -> PassInMemory {
        let checkpoint = try Checkpoint(directory: fixture("policy"), as: name == "value" ? .critic : .languageModel),
            a = checkpoint.architecture
        let foreseen: TrainingMemory.Head =
            [
                "logprob": .logprob, "towards Q": .divergence([a, a]), "towards a bonus": .divergence([a]),
                "a teacher": .divergence([a]),
                "a teacher's likeliest": .divergence([a]),
            ][name]
            ?? .scalar
        let model = LanguageModel(a, parameters: try parameters(checkpoint, shaken: 1), threads: 2)
        let question = try question(name, try Checkpoint(directory: fixture("policy")))
        let memory = TrainingMemory(a, head: foreseen, headRows: headChunkRows(vocabulary: a.vocabulary))
        let forest = TokenForest(sequences)
        let floats =
            memory.bytes(
                tokens: forest.tokenIDs.count, outputPositions: forest.outputPositions.count, wanted: 7, keptLayers: 2)
            / 4
        let space = Arena(capacity: floats), scoring = Arena(capacity: floats),
            gradient = Buffer(model.layout.count), plain = Buffer(model.layout.count)
        try model.accumulateGradients(sequences, into: plain, question) { _ in coefficients }
        try model.accumulateGradients(
            sequences, into: gradient, question, memory: PassMemory(keptLayers: 2, space: space)
        ) { _ in coefficients }
        _ = try model.score(sequences, question, in: scoring)
        return PassInMemory(
            foreseen: floats, peak: space.peak, scoringPeak: scoring.peak,
            distance: relativeDistance(gradient.array, plain.array))
    }

    @Test(arguments: questions) func theMemoryOfAPassIsWhatWasForeseen(_ name: String) throws {
        let pass = try pass(name)
        #expect(pass.peak == pass.foreseen)
        // A pass that only scores takes less.
        #expect(pass.scoringPeak < pass.foreseen)
    }

    /// In a process of its own: other tests of this one set OpenBLAS's threads and the kernels' instruction set meanwhile.
    @Test func aPassInForeseenMemoryHasTheSameGradient() async {
        await #expect(processExitsWith: .success) {
            for name in ModelOutputTests.questions {
                let distance = try ModelOutputTests().pass(name).distance
                #expect(distance < 1e-6, "\(name)")
                guard distance < 1e-6 else { exit(EXIT_FAILURE) }
            }
            exit(EXIT_SUCCESS)
        }
    }

    @Test func aFreshCriticSaysZeroAndIsSavedAsOne() throws {
        let folder = try TemporaryDirectory(), source = try Checkpoint(directory: fixture("policy"), as: .critic)
        #expect(source.hasFreshValueHead)
        let buffer = try source.loadParameters()
        let zeros = try LanguageModel(source.architecture, parameters: buffer, threads: 1).score(sequences, .value)
        #expect(zeros.allSatisfy { $0.outputs.allSatisfy { $0 == 0 } })
        buffer.pointer[source.layout.count - 1] = 0.5
        try source.save(buffer, to: folder.folder("critic"))
        let saved = try Checkpoint(directory: folder("critic"), as: .critic)
        #expect(!saved.hasFreshValueHead && saved.layout.parameters.map(\.name) == source.layout.parameters.map(\.name))
        let values = try LanguageModel(saved.architecture, parameters: try saved.loadParameters(), threads: 1).score(
            sequences, .value)
        #expect(values[0].outputs == [0, 0, 0.5, 0.5, 0.5, 0.5])
        #expect(throws: FormatError.self) { _ = try Checkpoint(directory: folder("critic")) }
    }

    /// transformers would make another model of a Qwen3.5 text model's folder that says …ForTokenClassification.
    @Test func aFreshCriticOfQwen35IsOfTheClassThatLoadsIt() throws {
        let folder = try TemporaryDirectory()
        let source = try Checkpoint(directory: fixture("families/qwen3.5-untied"), as: .critic)
        try source.save(try source.loadParameters(), to: folder.folder("critic"))
        let configuration = try ModelConfiguration(directory: folder("critic"))
        #expect(try configuration.strings("architectures") == ["Qwen3_5TextForSequenceClassification"])
        let saved = try Checkpoint(directory: folder("critic"), as: .critic)
        #expect(!saved.hasFreshValueHead && saved.layout["score.weight"] != nil && saved.layout["score.bias"] == nil)
        // Beside a model for images there is no critic.
        #expect(throws: FormatError.self) {
            _ = try Checkpoint(directory: fixture("families/qwen3.5-with-images"), as: .critic)
        }
    }

    @Test func comparingWithItselfGivesNoDivergence() throws {
        let checkpoint = try Checkpoint(directory: fixture("policy"))
        let model = LanguageModel(checkpoint.architecture, parameters: try checkpoint.loadParameters(), threads: 2)
        let other = LanguageModel(
            checkpoint.architecture, parameters: try parameters(checkpoint, shaken: 2), threads: 2)
        for row in try model.compare(sequences, reference: model, q: nil) {
            #expect(row.kl.allSatisfy { abs($0) < 1e-6 })
        }
        let compared = try model.compare(sequences, reference: other, q: other)
        #expect(areSame(compared.map(\.policy), try model.score(sequences)))
        #expect(areSame(compared.map(\.reference), try other.score(sequences)))
        #expect(compared[0].kl[2] > 0 && compared[0].kl[0] == 0 && compared[0].expectedQ[3] != 0)
        // The prefix is one: so are its answers, but for last bits, which on some processors depend on where a row stands
        // in a product of matrices, also with one thread.
        #expect(isClose(compared[0].kl[2], compared[1].kl[2], absolute: 1e-6))
    }

    @Test func adaptersHaveTheGradientOfTheirProduct() throws {
        let checkpoint = try Checkpoint(directory: fixture("policy"))
        let model = LanguageModel(
            checkpoint.architecture, parameters: try parameters(checkpoint, shaken: 1), threads: 2)
        let before = try model.score(sequences)
        let training = LowRankTraining(model, rank: 3, alpha: 6, targets: ["q_proj", "down_proj"], seed: 4)
        #expect(training.layout.parameters.count == 2 * 2 * checkpoint.architecture.layers)
        // B is 0 at first: the model is what it was, and only B has a gradient.
        let first = Buffer(training.layout.count)
        let during = try training.model.accumulateGradients(
            sequences, units: [1, 1], into: training.gradients(into: first)
        ) { part, _ in Array(coefficients[part]) }
        #expect(areSame(during, before))
        for parameter in training.layout.parameters {
            let isZero = parameter.range.allSatisfy { first.pointer[$0] == 0 }
            #expect(isZero == parameter.name.hasSuffix("lora_A.weight"), "\(parameter.name)")
        }

        var generator = SplitMix(seed: 8)
        for i in 0..<training.parameters.count {
            training.parameters.pointer[i] = 0.1 * (Float(generator.next() >> 40) / Float(1 << 24) - 0.5)
        }
        let own = Buffer(training.layout.count), full = Buffer(model.layout.count), adapted = training.model
        try adapted.accumulateGradients(sequences, units: [2], into: training.gradients(into: own)) { _, _ in
            coefficients
        }
        try adapted.accumulateGradients(sequences, into: full) { _ in coefficients }
        // dA = s Bᵀ dW, dB = s dW Aᵀ with s = alpha / rank.
        for (a, b) in zip(training.layout.parameters, training.layout.parameters.dropFirst())
        where a.name.hasSuffix("lora_A.weight") {
            let name = a.name.replacingOccurrences(of: "base_model.model.", with: "").replacingOccurrences(
                of: ".lora_A", with: "")
            let weight = try #require(model.layout[name]), (rows, columns) = (weight.shape[0], weight.shape[1])
            func value(_ buffer: Buffer, _ range: Range<Int>, _ index: Int) -> Double {
                Double(buffer.pointer[range.lowerBound + index])
            }
            for (r, i) in [(0, 0), (2, columns - 1)] {
                let expected = (0..<rows).reduce(0.0) {
                    $0 + 2 * value(training.parameters, b.range, $1 * 3 + r)
                        * value(full, weight.range, $1 * columns + i)
                }
                #expect(
                    isClose(value(own, a.range, r * columns + i), expected, absolute: 1e-4, relative: 1e-4), "\(a.name)"
                )
            }
            for (o, r) in [(0, 1), (rows - 1, 2)] {
                let expected = (0..<columns).reduce(0.0) {
                    $0 + 2 * value(full, weight.range, o * columns + $1)
                        * value(training.parameters, a.range, r * columns + $1)
                }
                #expect(isClose(value(own, b.range, o * 3 + r), expected, absolute: 1e-4, relative: 1e-4), "\(b.name)")
            }
        }
    }
}
