import Models
import Tensors

/// An update and sampling of a model whose layers are of another kind, beside PyTorch and transformers.
struct FamilyBench {
    let name: String
    private let update: UpdateShape
    private let sampling: SamplingShape

    static let all = [experts]

    /// Qwen3-30B-A3B's layers: one is what an update of both sides fits into 24 GiB with AdamW.
    private static let experts = FamilyBench(
        name: "experts",
        update: UpdateShape(
            title: "Qwen3-30B-A3B shape with 1 layer, 128 experts", vocabulary: expertVocabulary,
            configuration: expertConfiguration(layers: 1), cases: [beside(need: 2, goal: 4)]),
        sampling: SamplingShape(
            name: "Qwen3-30B-A3B with 2 layers", configuration: expertConfiguration(layers: 2),
            requirement: Requirement(need: 2, goal: 4)))

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

    /// Different prompts, every completion token weighted: no prefix is shared.
    private static func beside(need: Double, goal: Double) -> UpdateCase {
        let plain = UpdateCase.plain
        return UpdateCase(
            name: plain.name, title: plain.title, rows: plain.rows, forms: ["batched", "single"], need: need,
            goal: goal, halves: UpdateCase.HalfNeeds(need: need, goal: goal))
    }

    func run(
        machine: MachineLimits, threads: Int, python: String?, precisions: [Precision],
        sampling samplingPrecisions: [GenerationPrecision]
    ) throws {
        try UpdateBench(machine: machine, threads: threads, python: python, update, precisions: precisions).run()
        for precision in samplingPrecisions {
            var bench = GenerationBench(
                machine: machine, threads: threads, peers: python.map { [.transformers($0)] } ?? [],
                precision: precision, batches: [8, 32])
            bench.shapes = [sampling]
            try bench.run()
        }
    }
}
