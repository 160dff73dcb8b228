import Models
import Tensors

/// An update and sampling of a model whose layers are of another kind, beside PyTorch and transformers.
struct FamilyBench {
    let name: String
    private let update: UpdateShape
    private let sampling: SamplingShape

    static let all = [deltanet, experts]

    /// Qwen3-30B-A3B's layers: one is what an update of both sides fits into 24 GiB with AdamW.
    private static let experts = FamilyBench(
        name: "experts",
        update: UpdateShape(
            title: "Qwen3-30B-A3B shape with 1 layer, 128 experts", vocabulary: expertVocabulary,
            configuration: expertConfiguration(layers: 1), cases: cases(need: 2, goal: 4)),
        sampling: SamplingShape(
            name: "Qwen3-30B-A3B with 2 layers", configuration: expertConfiguration(layers: 2),
            requirement: Requirement(need: 2, goal: 4)))

    /// Qwen3.5-0.8B's layers: two of its six rounds of three delta rules and an attention for the update, all of them for
    /// sampling.
    private static let deltanet = FamilyBench(
        name: "deltanet",
        update: UpdateShape(
            title: "Qwen3.5-0.8B shape with 8 layers", vocabulary: 32_768,
            configuration: deltaConfiguration(layers: 8, vocabulary: 32_768), cases: cases(need: 1.5, goal: 3)),
        sampling: SamplingShape(
            name: "Qwen3.5-0.8B", configuration: deltaConfiguration(layers: 24, vocabulary: 248_320),
            requirement: Requirement(need: 1.5, goal: 3)))

    private static func deltaConfiguration(layers: Int, vocabulary: Int) -> String {
        """
        {"model_type": "qwen3_5_text", "architectures": ["Qwen3_5ForCausalLM"], "vocab_size": \(vocabulary), \
        "hidden_size": 1024, "intermediate_size": 3584, "num_hidden_layers": \(layers), "num_attention_heads": 8, \
        "num_key_value_heads": 2, "head_dim": 256, "linear_num_key_heads": 16, "linear_num_value_heads": 16, \
        "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "rms_norm_eps": 1e-6, \
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000000.0, "partial_rotary_factor": 0.25}, \
        "tie_word_embeddings": true, "torch_dtype": "float32"}
        """
    }

    private static let expertVocabulary = 32_768

    private static func expertConfiguration(layers: Int) -> String {
        """
        {"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], "vocab_size": \(expertVocabulary), \
        "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": \(layers), "num_attention_heads": 32, \
        "num_key_value_heads": 4, "head_dim": 128, "num_local_experts": 128, "num_experts_per_tok": 8, \
        "moe_intermediate_size": 768, "norm_topk_prob": true, "rope_theta": 1000000.0, "rms_norm_eps": 1e-6, \
        "tie_word_embeddings": false, "max_position_embeddings": 32768, "torch_dtype": "float32"}
        """
    }

    /// Different prompts, of which no prefix is shared, with every completion token weighted; and a group as GRPO's recipes
    /// have it, with a fifth of the tokens.
    private static func cases(need: Double, goal: Double) -> [UpdateCase] {
        [UpdateCase.plain, .group].map {
            UpdateCase(
                name: $0.name, title: $0.title, rows: $0.rows, forms: ["batched", "single"], need: need, goal: goal,
                halves: UpdateCase.HalfNeeds(need: need, goal: goal))
        }
    }

    /// Rollouts at a time that sampling is measured with.
    private static let batches = [8, 32]

    func run(
        machine: MachineLimits, threads: Int, python: String?, precisions: [Precision],
        sampling samplingPrecisions: [GenerationPrecision], rollouts: [Int]
    ) throws {
        try UpdateBench(machine: machine, threads: threads, python: python, update, precisions: precisions).run()
        let batches = Self.batches.filter(rollouts.contains)
        if batches.isEmpty {
            say(
                "  sampling of \(name): left out, it is measured with \(Self.batches.map(String.init).joined(separator: " and ")) --rollouts at a time"
            )
        }
        for precision in samplingPrecisions where !batches.isEmpty {
            var bench = GenerationBench(
                machine: machine, threads: threads, peers: python.map { [.transformers($0)] } ?? [],
                precision: precision, batches: batches)
            bench.shapes = [sampling]
            try bench.run()
        }
    }
}
