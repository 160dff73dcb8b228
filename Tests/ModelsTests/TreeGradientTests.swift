import Foundation
import Models
import Objectives
import Tensors
import TestSupport
import Testing

/// A tree's gradients are those of its sequences one by one: for every family, every parameter or adapters alone,
/// objectives of tokens and of whole sequences, with activations kept and computed again.
@Suite struct TreeGradientTests {
    struct Case: CustomTestStringConvertible, Sendable {
        let model: TinyModel
        let adapters: Bool
        let objective: String
        var testDescription: String { "\(model.name), \(adapters ? "adapters" : "all parameters"), \(objective)" }
    }

    static let cases = TinyModel.all.flatMap { model in
        [false, true].flatMap { adapters in
            ["ppo_clip", "gspo"].map { Case(model: model, adapters: adapters, objective: $0) }
        }
    }

    @Test(arguments: cases) func aTreesGradientIsThatOfItsSequencesOneByOne(_ given: Case) throws {
        let training = try given.model.training(adapters: given.adapters)
        for seed in 1...4 as ClosedRange<UInt64> {
            let tree = RandomTree(
                seed: seed, vocabulary: training.model.architecture.vocabulary, objective: given.objective)
            let apart = try tree.sequences.indices.reduce(into: Buffer(training.layout.count)) {
                try tree.addGradients(of: [$1], training, into: $0)
            }
            let together = Buffer(training.layout.count)
            try tree.addGradients(of: Array(tree.sequences.indices), training, into: together)
            #expect(apart.array.contains { $0 != 0 })
            // Sums in another order, in float32.
            #expect(relativeDistance(together.array, apart.array) < 1e-5, "seed \(seed)")
        }
    }

    @Test(arguments: cases) func tokensThatNothingReadsChangeNoGradient(_ given: Case) throws {
        let training = try given.model.training(adapters: given.adapters)
        for seed in 6...8 as ClosedRange<UInt64> {
            let
                tree = RandomTree(
                    seed: seed, vocabulary: training.model.architecture.vocabulary, objective: given.objective),
                pruned = tree.pruned
            let whole = Buffer(training.layout.count), part = Buffer(training.layout.count)
            try tree.addGradients(of: Array(tree.sequences.indices), training, into: whole)
            try pruned.addGradients(of: Array(tree.sequences.indices), training, into: part)
            #expect(
                TokenForest(pruned.sequences.map(\.context)).tokenIDs.count
                    < TokenForest(tree.sequences.map(\.tokenIDs)).tokenIDs.count)
            #expect(whole.array.contains { $0 != 0 })
            // Products over fewer rows round differently, which short vectors made of unit length magnify.
            let bound = training.model.architecture.deltaNet == nil ? 1e-5 : 3e-5
            #expect(relativeDistance(part.array, whole.array) < bound, "seed \(seed)")
        }
    }

    @Test(arguments: cases) func whatIsComputedAgainHasTheSameBytes(_ given: Case) throws {
        let training = try given.model.training(adapters: given.adapters), a = training.model.architecture
        let tree = RandomTree(seed: 5, vocabulary: a.vocabulary, objective: given.objective),
            all = Array(tree.sequences.indices)
        let kept = Buffer(training.layout.count), forest = TokenForest(tree.sequences)
        try tree.addGradients(of: all, training, into: kept)
        for layers in 1..<a.layers {
            let again = Buffer(training.layout.count),
                memory = TrainingMemory(a, head: .logprob, headRows: headChunkRows(vocabulary: a.vocabulary))
            // Space for what is foreseen and no more; what is there from before must not matter.
            let bytes = memory.bytes(
                tokens: forest.tokenIDs.count, outputPositions: forest.outputPositions.count,
                wanted: tree.distinctQueries,
                keptLayers: layers)
            let foreseen = bytes / 4, space = Arena(capacity: foreseen)
            let garbage = space.scoped { space.take(foreseen) }
            for i in 0..<foreseen { garbage.pointer[i] = .nan }
            try tree.addGradients(of: all, training, into: again, PassMemory(keptLayers: layers, space: space))
            // Products so small that OpenBLAS computes them on one thread, whatever other tests have set.
            #expect(again.array == kept.array, "\(layers) layers kept")
            #expect(space.peak == foreseen, "\(layers) layers kept")
        }
    }
}

/// A small model to be trained: a fixture, or random weights for a family of the registry.
struct TinyModel: Sendable {
    let name: String
    private let fixtureFolder: String?

    static let all =
        families.map { TinyModel(name: $0, fixtureFolder: fixture("families/\($0)")) }
        + ModelRegistry.modelTypes.map { TinyModel(name: $0, fixtureFolder: nil) }

    func training(adapters: Bool) throws -> any Training {
        let (architecture, parameters) = try weights()
        guard adapters else { return FullTraining(architecture, parameters: parameters, threads: 2) }
        let targets = architecture.adaptable
        let base = LanguageModel(architecture, parameters: parameters, threads: 2)
        let training = LowRankTraining(base, rank: 3, alpha: 6, targets: targets, seed: 7)
        // Adapters begin with B = 0, where A has no gradient.
        fill(training.parameters, seed: 8, size: 0.1)
        return training
    }

    private func weights() throws -> (DecoderArchitecture, Buffer) {
        if let fixtureFolder {
            let checkpoint = try Checkpoint(directory: fixtureFolder)
            return (checkpoint.architecture, try checkpoint.loadParameters())
        }
        let architecture = try ModelRegistry.architecture(
            try ModelConfiguration(json: Data(tinyConfiguration(name).utf8), path: name))
        let parameters = Buffer(ParameterLayout(architecture).count)
        fill(parameters, seed: 9, size: 0.4)
        return (architecture, parameters)
    }
}

/// A configuration of any family that is small, with windows where the family has them.
func tinyConfiguration(_ modelType: String) -> String {
    let experts = #", "num_local_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 12"#
    let yarn = #", "rope_parameters": {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 4"#
    let own =
        switch modelType {
        case "ministral3": yarn + #", "llama_4_scaling_beta": 0.3}"#
        case "gpt_oss": experts + yarn + "}"
        // Two kinds of layers in turns, the last one and the first one kept of any kind.
        case "qwen3_5_text":
            #", "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 6, "#
                + #""linear_value_head_dim": 5, "full_attention_interval": 3"#
        case "qwen3_moe": experts + #", "mlp_only_layers": [2]"#
        default: ""
        }
    return """
        {"model_type": "\(modelType)", "vocab_size": 37, "hidden_size": 20, "intermediate_size": 28, "num_hidden_layers": 4,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": false,
         "use_sliding_window": true, "sliding_window": 5, "max_window_layers": 2, "sliding_window_pattern": 2\(own)}
        """
}

func fill(_ buffer: Buffer, seed: UInt64, size: Float) {
    var generator = SplitMix(seed: seed)
    for i in 0..<buffer.count { buffer.pointer[i] = size * (Float(generator.next() >> 40) / Float(1 << 24) - 0.5) }
}

/// Sequences that grow from each other at random places, so that prefixes of every length are shared, some sequences
/// end inside others and some stand twice; each with its own mask, temperature, advantages and weights, also on tokens
/// that it shares.
private struct RandomTree {
    let sequences: [SequenceQuery]
    private let inputs: [SequenceInputs]
    private let objective: any Objective

    private init(_ sequences: [SequenceQuery], like other: RandomTree) {
        (self.sequences, inputs, objective) = (sequences, other.inputs, other.objective)
    }

    /// Asking only for what the objective reads, with other tokens behind the last of it.
    var pruned: RandomTree {
        let queries = zip(sequences, inputs).map { sequence, input in
            let read = objective.reads(input), end = read.lastIndex(of: true) ?? -1
            let tokens = sequence.tokenIDs.indices.map { $0 > end ? 0 : sequence.tokenIDs[$0] }
            return SequenceQuery(tokenIDs: tokens, wanted: read, temperature: sequence.temperature)
        }
        return RandomTree(queries, like: self)
    }

    init(seed: UInt64, vocabulary: Int, objective name: String) {
        var generator = SplitMix(seed: seed)
        func uniform() -> Float { Float(generator.next() >> 40) / Float(1 << 24) }
        func number(_ limit: Int) -> Int { Int(generator.next() % UInt64(limit)) }
        var tokens: [[Int32]] = (0..<2).map { _ in (0..<3).map { _ in Int32(number(vocabulary)) } }
        while tokens.count < 14 {
            let parent = tokens[number(tokens.count)], kept = 1 + number(parent.count), longest = [2, 6, 12][number(3)]
            tokens.append(Array(parent.prefix(kept)) + (0..<1 + number(longest)).map { _ in Int32(number(vocabulary)) })
        }
        tokens.append(tokens[5])
        sequences = tokens.enumerated().map { index, tokens in
            SequenceQuery(
                tokenIDs: tokens, wanted: tokens.indices.map { $0 > 0 && uniform() < 0.7 },
                temperature: index % 3 == 0 ? 0.8 : 1)
        }
        inputs = sequences.map { sequence in
            let count = sequence.tokenIDs.count
            // Log-probabilities of a uniform policy give ratios on either side of the clip.
            return SequenceInputs(
                logprobs: [], oldLogprobs: (0..<count).map { _ in -log(Float(vocabulary)) + uniform() - 0.5 },
                advantages: (0..<count).map { _ in 2 * uniform() - 1 },
                weights: (0..<count).map { _ in uniform() < 0.2 ? 0 : uniform() }, mask: sequence.wanted)
        }
        objective = ObjectiveRegistry.all.first { $0.name == name }.map { $0.init() } ?? PPOClip()
    }

    /// Wanted (token, temperature) pairs, each once.
    var distinctQueries: Int {
        Set(
            sequences.flatMap { s in
                s.wanted.indices.filter { s.wanted[$0] }.map { "\(s.temperature) \(s.tokenIDs[...$0])" }
            }
        ).count
    }

    func addGradients(
        of members: [Int], _ training: any Training, into buffer: Buffer, _ memory: PassMemory = PassMemory()
    ) throws {
        try training.model.accumulateGradients(
            members.map { sequences[$0] }, units: members.map { _ in 1 }, into: training.gradients(into: buffer),
            memory: memory
        ) { part, scores in
            zip(part, scores).map { place, scores in
                var input = inputs[members[place]], gradient = [Float](repeating: 0, count: scores.outputs.count)
                input.outputs = scores.outputs
                _ = objective.evaluate(input, gradient: &gradient)
                return gradient
            }
        }
    }
}
