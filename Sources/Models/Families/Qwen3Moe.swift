/// Qwen3's mixtures of experts (`qwen3_moe`): Qwen3's attention, and experts in every layer that `decoder_sparse_step` and
/// `mlp_only_layers` leave.
package enum Qwen3Moe: ModelFamily {
    package static let modelTypes = ["qwen3_moe"]
    package static let summary = "Qwen3 with experts"
    package static let ownKeys: Set<String> = ["num_experts", "num_local_experts"]

    package static func architecture(_ configuration: ModelConfiguration) throws -> DecoderArchitecture {
        var architecture = try DecoderArchitecture(
            configuration, DecoderArchitecture.Defaults(keyValueHeads: 4, maxPositions: 32_768))
        architecture.activation = try activation(configuration)
        architecture.queryKeyNorm = .perHead
        architecture.biases = try attentionBiases(configuration, default: false)
        try refuseActive("mlp_bias", configuration)
        let isOn = try configuration.bool("use_sliding_window", default: false) && configuration.has("sliding_window")
        let window = isOn ? try configuration.size("sliding_window") : nil
        architecture.attention = try windows(configuration, layers: architecture.layers, window: window) { _ in true }
        architecture.experts = try experts(configuration)
        architecture.denseLayers = try denseLayers(configuration, layers: architecture.layers)
        return architecture
    }

    private static func experts(_ configuration: ModelConfiguration) throws -> ExpertMixture {
        try ExpertMixture(
            configuration, count: try configuration.expertCount(default: 128), chosen: 8,
            width: try configuration.size("moe_intermediate_size", default: 768, limit: 1 << 24),
            sumsToOne: try configuration.bool("norm_topk_prob", default: false), storage: .apart,
            routerName: "mlp.gate")
    }

    private static func denseLayers(_ configuration: ModelConfiguration, layers: Int) throws -> Set<Int> {
        let step = try configuration.size("decoder_sparse_step", default: 1)
        let given = try configuration.ints("mlp_only_layers") ?? []
        return Set((0..<layers).filter { given.contains($0) || ($0 + 1) % step != 0 })
    }
}
