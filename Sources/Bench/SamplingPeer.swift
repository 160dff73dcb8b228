import Foundation

/// A model's shape, as every peer's own configuration has it.
struct SamplingShape {
    let name: String
    /// Keys of config.json.
    let configuration: String
    /// Of this shape alone, in place of the peers' own.
    var requirement: Requirement?

    static let all = [
        SamplingShape(
            name: "Qwen2.5-0.5B",
            configuration: """
                {"model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, \
                "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, \
                "tie_word_embeddings": true, "rope_theta": 1000000.0}
                """),
        SamplingShape(
            name: "SmolLM2-135M",
            configuration: """
                {"model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, \
                "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, \
                "tie_word_embeddings": true, "rope_theta": 100000.0}
                """),
    ]
}

/// Another program that samples from a model of the same shape on the same cores.
struct SamplingPeer {
    let name: String
    /// A Python that has it.
    let python: String
    let script: String
    /// Rollouts at a time that it is asked for.
    let batches: [Int]
    /// How many times as fast ours must be, by rollouts at a time and whether prompts are shared by groups.
    let requirement: (_ batch: Int, _ sharesPrompts: Bool) -> Requirement?

    static func transformers(_ python: String) -> SamplingPeer {
        SamplingPeer(name: "transformers", python: python, script: "bench/generate.py", batches: [8, 32]) {
            $1 ? Requirement(need: 6) : $0 == 32 ? Requirement(need: 4) : nil
        }
    }

    static func vLLM(_ python: String) -> SamplingPeer {
        SamplingPeer(name: "vLLM", python: python, script: "bench/generate_vllm.py", batches: [8, 32, 64]) {
            batch, _ in batch == 64 ? Requirement(need: 2.5, goal: 4) : nil
        }
    }

    static func llamaCpp(_ python: String) -> SamplingPeer {
        SamplingPeer(name: "llama.cpp", python: python, script: "bench/generate_llama_cpp.py", batches: [1, 8, 32, 64])
        { batch, _ in
            switch batch {
            case 1: Requirement(need: 1)
            case 8, 32: Requirement(need: 1.5, goal: 3)
            default: nil
            }
        }
    }
}
