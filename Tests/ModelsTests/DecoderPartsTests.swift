import Foundation
import Models
import Tensors
import TestSupport
import Testing

/// A small decoder with random weights: a family's, or one that has parts of several which no registered family has.
struct SmallDecoder: CustomTestStringConvertible, Sendable {
    let name: String
    private let change: @Sendable (inout DecoderArchitecture) -> Void
    private let modelType: String
    var testDescription: String { name }

    private init(
        _ name: String, modelType: String = "qwen3", _ change: @escaping @Sendable (inout DecoderArchitecture) -> Void
    ) {
        (self.name, self.modelType, self.change) = (name, modelType, change)
    }

    /// With every expert chosen: which are is no smooth function, and a small step may change it.
    static let families = ModelRegistry.modelTypes.map { modelType in
        SmallDecoder(modelType, modelType: modelType) { a in
            if let experts = a.experts { a.experts?.chosen = experts.count }
        }
    }

    static let all =
        families + [
            // As Granite and Gemma 2 have them.
            SmallDecoder("scales and caps") { a in
                a.queryKeyNorm = .none
                (a.scales.embedding, a.scales.residual, a.scales.logits, a.scales.logitCap) = (3, 0.4, 2.5, 1.2)
                for layer in a.attention.indices { (a.attention[layer].scale, a.attention[layer].cap) = (0.9, 0.7) }
            },
            // As OLMo 2 and SmolLM3 have them.
            SmallDecoder("norms after, and layers without positions") { a in
                a.norms = NormPlacement(
                    afterAttention: "post_attention_layernorm", afterFeedForward: "post_feedforward_layernorm")
                a.queryKeyNorm = .wholeWidth
                a.attention[1].rotary = nil
                a.attention[2].window = 3
            },
            // As GLM-4 and Phi-3 have them, and a factor on what a norm gives.
            SmallDecoder("fused weights, a part of each head rotated") { a in
                a.norms = .around
                (a.normOffset, a.activation, a.scales.residual) = (1, .geluTanh, 0.7)
                a.projections = fused
                (a.biases.queryKeyValue, a.biases.output, a.biases.feedForward) = (true, true, true)
                a.rotaries[0] = RotaryEmbedding(a.rotaries[0].scaling, width: 4, pairs: .neighbours)
                a.attention[3].window = 4
            },
        ]

    static let fused = ProjectionNames(fused: [
        .query: "self_attn.qkv_proj", .key: "self_attn.qkv_proj", .value: "self_attn.qkv_proj",
        .gate: "mlp.gate_up_proj", .up: "mlp.gate_up_proj",
    ])

    var architecture: DecoderArchitecture {
        get throws {
            var architecture = try ModelRegistry.architecture(
                try ModelConfiguration(json: Data(tinyConfiguration(modelType).utf8), path: name))
            change(&architecture)
            return architecture
        }
    }

    func parameters(_ a: DecoderArchitecture) -> Buffer {
        let parameters = Buffer(ParameterLayout(a).count)
        fill(parameters, seed: 9, size: 0.8)
        return parameters
    }

    func model() throws -> LanguageModel {
        let a = try architecture
        return LanguageModel(a, parameters: parameters(a), threads: 2)
    }
}

@Suite struct DecoderPartsTests {
    private let loss = LinearLoss()

    /// Of each parameter alone, along its own gradient, where the derivative is its length.
    @Test(arguments: SmallDecoder.all) func everyParametersGradientEqualsCentralDifferences(_ small: SmallDecoder)
        throws
    {
        let model = try small.model(), gradient = Buffer(model.layout.count)
        try model.accumulateGradients(loss.sequences, into: gradient) { _ in loss.coefficients }
        for parameter in model.layout.parameters {
            let gradients = parameter.range.map { Double(gradient.pointer[$0]) }
            let length = gradients.reduce(0) { $0 + $1 * $1 }.squareRoot(), step = min(2e-2, 0.05 / length)
            func along(_ step: Double) throws -> Double {
                let moved = small.parameters(model.architecture)
                for (offset, index) in parameter.range.enumerated() {
                    moved.pointer[index] += Float(step * gradients[offset] / max(length, 1e-30))
                }
                return loss(
                    try LanguageModel(model.architecture, parameters: moved, threads: 2).score(loss.sequences))
            }
            func slope(_ step: Double) throws -> Double { (try along(step) - along(-step)) / (2 * step) }
            // Vectors made of unit length bend so much that the step's square shows: with half of it that cancels.
            let isBent = model.architecture.deltaNet != nil, whole = try slope(step)
            let found = isBent ? (4 * (try slope(step / 2)) - whole) / 3 : whole
            // Float32's noise of a sum of twenty log-probabilities, over twice the step.
            #expect(
                isClose(found, length, absolute: 1e-3, relative: 5e-3), "\(parameter.name): \(found), not \(length)")
        }
        #expect(gradient.array.contains { $0 != 0 })
    }

    @Test(arguments: SmallDecoder.all) func greedyTokensAndLogprobsAreThoseOfAFullForward(_ small: SmallDecoder) throws
    {
        let model = try small.model(), prompt: [Int32] = [3, 9, 4, 11, 6, 2, 30]
        for temperature in [0, 0.8] as [Float] {
            let request = GenerationRequest(
                prompt: prompt, maxTokens: 12, seed: 3, sampling: SamplingParameters(temperature: temperature))
            var made: Continuation?
            try Generator(model, stopTokens: [], slots: 2).run([request]) { made = $1 }
            let continuation = try #require(made), tokens = prompt + continuation.tokens
            let scored = try model.score([
                SequenceQuery(
                    tokenIDs: tokens, wanted: tokens.indices.map { $0 >= prompt.count },
                    temperature: temperature == 0 ? 1 : temperature)
            ])[0]
            let start = prompt.count
            #expect(firstDifference(continuation.logprobs, Array(scored.logprobs[start...]), absolute: 2e-5) == nil)
            #expect(firstDifference(continuation.entropies, Array(scored.entropy[start...]), absolute: 2e-5) == nil)
            guard temperature == 0 else { continue }
            for place in start..<tokens.count {
                let rows = (0..<Int32(37)).map { token in
                    SequenceQuery(
                        tokenIDs: tokens[..<place] + [token], wanted: (0...place).map { $0 == place }, temperature: 1)
                }
                let logprobs = try model.score(rows).map { $0.logprobs[place] }
                #expect(logprobs.allSatisfy { $0 <= logprobs[Int(tokens[place])] + 1e-5 }, "token \(place)")
            }
        }
    }

    @Test(arguments: SmallDecoder.all) func whatIsComputedAgainHasTheSameBytesInTheMemoryThatWasForeseen(
        _ small: SmallDecoder
    ) throws {
        let model = try small.model(), a = model.architecture, kept = Buffer(model.layout.count)
        try model.accumulateGradients(loss.sequences, into: kept) { _ in loss.coefficients }
        // Two of the fifteen tokens stand in both sequences.
        let forest = TokenForest(loss.sequences), wanted = 13
        let memory = TrainingMemory(a, head: .logprob, headRows: headChunkRows(vocabulary: a.vocabulary))
        for layers in 1...a.layers {
            let foreseen =
                memory.bytes(
                    tokens: forest.tokenIDs.count, outputPositions: forest.outputPositions.count, wanted: wanted,
                    keptLayers: layers)
                / 4
            let space = Arena(capacity: foreseen), again = Buffer(model.layout.count)
            let garbage = space.scoped { space.take(foreseen) }
            for i in 0..<foreseen { garbage.pointer[i] = .nan }
            try model.accumulateGradients(
                loss.sequences, into: again, memory: PassMemory(keptLayers: layers, space: space)
            ) { _ in loss.coefficients }
            #expect(again.array == kept.array && space.peak == foreseen, "\(layers) layers kept")
            // Put aside and brought back in place of that, in the same memory.
            let store = StoreInMemory(), broughtBack = Buffer(model.layout.count)
            for i in 0..<foreseen { garbage.pointer[i] = .nan }
            try model.accumulateGradients(
                loss.sequences, into: broughtBack, memory: PassMemory(keptLayers: layers, store: store, space: space)
            ) { _ in loss.coefficients }
            #expect(broughtBack.array == kept.array && space.peak == foreseen, "\(layers) layers kept")
            #expect(store.written == Array(0..<a.layers - layers) && store.read == store.written.reversed())
        }
    }

    private final class StoreInMemory: ActivationStore {
        private var values: [Int: [[Float]]] = [:]
        /// Layers, in order.
        private(set) var written: [Int] = []
        private(set) var read: [Int] = []

        func write(_ arrays: [Buffer], layer: Int) {
            values[layer] = arrays.map(\.array)
            written.append(layer)
        }

        func read(into arrays: [Buffer], layer: Int) {
            for (array, values) in zip(arrays, values[layer] ?? []) {
                for (i, value) in values.enumerated() { array.pointer[i] = value }
            }
            read.append(layer)
        }
    }

    // MARK: fused weights

    /// The same numbers under the names of the fused layers.
    private func fusedParameters(
        _ a: DecoderArchitecture, from plain: ParameterLayout, _ values: Buffer
    ) throws -> Buffer {
        let layout = ParameterLayout(a), parameters = Buffer(layout.count)
        for parameter in layout.parameters {
            let names: [String] =
                parameter.name.contains("qkv_proj")
                ? ["q_proj", "k_proj", "v_proj"].map { parameter.name.replacingOccurrences(of: "qkv_proj", with: $0) }
                : parameter.name.contains("gate_up_proj")
                    ? ["gate_proj", "up_proj"].map {
                        parameter.name.replacingOccurrences(of: "gate_up_proj", with: $0)
                    } : [parameter.name]
            var place = parameter.range.lowerBound
            for name in names {
                for index in try #require(plain[name]).range {
                    parameters.pointer[place] = values.pointer[index]
                    place += 1
                }
            }
            #expect(place == parameter.range.upperBound, "\(parameter.name)")
        }
        return parameters
    }

    @Test func fusedWeightsGiveWhatTheirPartsGive() throws {
        let small = try #require(SmallDecoder.all.first { $0.name == "qwen2" }), plain = try small.model()
        var a = plain.architecture
        a.projections = SmallDecoder.fused
        #expect(ParameterLayout(a).parameters.count < plain.layout.parameters.count)
        let parts = small.parameters(plain.architecture)
        let fused = LanguageModel(a, parameters: try fusedParameters(a, from: plain.layout, parts), threads: 2)
        let one = try plain.score(loss.sequences), other = try fused.score(loss.sequences)
        for (one, other) in zip(one, other) {
            #expect(firstDifference(one.logprobs, other.logprobs, absolute: 1e-5) == nil)
        }
        // Adapters of the fused weight: dB = s dW Aᵀ, over all its rows.
        let training = LowRankTraining(fused, rank: 2, alpha: 4, targets: ["qkv_proj"], seed: 3)
        let own = Buffer(training.layout.count), full = Buffer(fused.layout.count)
        fill(training.parameters, seed: 5, size: 0.1)
        try training.model.accumulateGradients(loss.sequences, units: [2], into: training.gradients(into: own)) {
            _, _ in
            loss.coefficients
        }
        try training.model.accumulateGradients(loss.sequences, into: full) { _ in loss.coefficients }
        let b = training.layout.parameters[1],
            weight = try #require(fused.layout["model.layers.0.self_attn.qkv_proj.weight"])
        #expect(b.shape == [weight.shape[0], 2])
        for row in 0..<weight.shape[0] {
            let expected = (0..<weight.shape[1]).reduce(0.0) {
                $0 + 2 * Double(training.parameters.pointer[$1])
                    * Double(full.pointer[weight.range.lowerBound + row * weight.shape[1] + $1])
            }
            #expect(
                isClose(Double(own.pointer[b.range.lowerBound + 2 * row]), expected, absolute: 1e-4, relative: 1e-4))
        }
    }

    // MARK: parts by hand

    @Test func aPartOfAHeadIsRotatedAndTheRestIsNot() {
        let compute = Compute(threads: 1), x: [Float] = [1, 2, 3, 4, 5, 6]
        func rotated(_ pairs: RotaryPairs, back: Bool = false) -> [Float] {
            let table = RotaryTable(
                inverseFrequencies: [1, 0.25], attentionFactor: 1, positions: 3, headWidth: 6, pairs: pairs)
            let buffer = Buffer(x)
            table.forward(buffer.matrix(rows: 1), positions: [2], compute)
            if back { table.backward(buffer.matrix(rows: 1), positions: [2], compute) }
            return buffer.array
        }
        func turned(_ a: Double, _ b: Double, _ angle: Double) -> [Float] {
            [Float(a * cos(angle) - b * sin(angle)), Float(b * cos(angle) + a * sin(angle))]
        }
        let near = turned(1, 2, 2) + turned(3, 4, 0.5) + [5, 6]
        #expect(firstDifference(rotated(.neighbours), near, absolute: 1e-6) == nil)
        let (first, second) = (turned(1, 3, 2), turned(2, 4, 0.5))
        #expect(
            firstDifference(rotated(.halves), [first[0], second[0], first[1], second[1], 5, 6], absolute: 1e-6) == nil)
        for pairs in [RotaryPairs.halves, .neighbours] {
            #expect(firstDifference(rotated(pairs, back: true), x, absolute: 1e-6) == nil)
        }
    }

    @Test func logitsAreScaledThenCappedBeforeTheTemperature() {
        let compute = Compute(threads: 1), hidden = Buffer([1, 2]), weight = Buffer([1, 0, 0, 1, 3, -1])
        let head = LogitHead(weight: .float32(weight.matrix(rows: 3)), scale: 0.5, cap: 1.5)
        let answer = headForward(
            hidden.matrix(rows: 1), head, queries: [HeadRequest(row: 0, target: 2, inverseTemperature: 2)], compute)[0]
        let z = [1, 2, 1].map { 2 * 1.5 * tanh(0.5 * $0 / 1.5) }, total = z.reduce(0) { $0 + exp($1) }
        #expect(isClose(Double(answer.output), z[2] - log(total), absolute: 1e-6))
    }

    // MARK: shapes

    @Test func wrongShapesTrap() async {
        await #expect(processExitsWith: .failure) {
            let a = Buffer(6), b = Buffer(8), c = Buffer(4)
            multiplyTransposed(a.matrix(rows: 2), b.matrix(rows: 2), into: c.matrix(rows: 2))
        }
        await #expect(processExitsWith: .failure) {
            let x = Buffer(8), weight = Buffer(3), rstd = Buffer(2)
            rmsNormForward(
                x.matrix(rows: 2), RMSNorm(weight: weight.matrix(rows: 1), epsilon: 1e-6), into: x.matrix(rows: 2),
                rstd: rstd.pointer, Compute(threads: 1))
        }
        await #expect(processExitsWith: .failure) {
            let x = Buffer(12), y = Buffer(8), layer = LinearWeights(weight: .float32(Buffer(15).matrix(rows: 5)))
            linearForward(x.matrix(rows: 4), layer, into: y.matrix(rows: 4), Compute(threads: 1))
        }
    }
}
