import Tensors

/// A layer's first half as a gated delta rule in attention's place (gated DeltaNet, arXiv 2412.06464): a state of fixed
/// size that every token reads and writes, behind a short convolution.
package struct DeltaNet: Equatable, Sendable {
    package var shape: DeltaShape
    /// Tokens that the convolution sees, K.
    package var taps: Int

    /// Names of its parameters within a layer that are no linear layers.
    enum Name {
        static let convolution = "linear_attn.conv1d.weight"
        static let aLog = "linear_attn.A_log"
        static let bias = "linear_attn.dt_bias"
        /// Without `.weight`.
        static let norm = "linear_attn.norm"
    }
}

extension DecoderArchitecture {
    /// Of a layer; nil where it has attention.
    func deltaNet(ofLayer layer: Int) -> DeltaNet? { deltaLayers.contains(layer) ? deltaNet : nil }

    /// Layers with attention.
    var attentionLayers: [Int] { (0..<layers).filter { !deltaLayers.contains($0) } }

    /// Columns of what a layer's first half gives to its last linear layer.
    func mixedColumns(layer: Int) -> Int { deltaNet(ofLayer: layer)?.shape.valueColumns ?? queryColumns }

    /// Floats for each token that any layer's first half works in.
    var mixingColumns: Int {
        let gated = hasOutputGate && !attentionLayers.isEmpty ? 2 * queryColumns : 0
        return max(gated, deltaNet.map { max($0.shape.columns, 2 * $0.shape.valueColumns) } ?? 0)
    }

    /// Floats that delta rules work in beside a pass's arrays, of paths of at most `tokens` tokens; 0 without any. Paths
    /// that branch more often than a token in 32 take more.
    package func deltaScratchFloats(tokens: Int, threads: Int) -> Int {
        guard let shape = deltaNet?.shape, !deltaLayers.isEmpty else { return 0 }
        return Tensors.deltaScratchFloats(
            tokens: tokens, branches: 8 + tokens / 32, shape: shape, threads: threads)
    }

    /// Multiplications of a token in one layer's first half, in matrix products.
    func mixerMultiplications(layer: Int) -> Int {
        guard let shape = deltaNet(ofLayer: layer)?.shape else {
            return hidden * ((hasOutputGate ? 3 : 2) * queryColumns + 2 * keyValueColumns)
        }
        return hidden * (shape.columns + 2 * shape.valueColumns + 2 * shape.valueHeads)
    }
}

extension DeltaNet {
    /// Widths beyond these are no model's.
    private static let mostHeads = 1 << 12, widest = 1 << 12, mostTaps = 32

    /// As Qwen writes it.
    init(_ configuration: ModelConfiguration, keyHeads: Int, valueHeads: Int, width: Int, taps: Int) throws {
        func size(_ key: String, _ fallback: Int, _ limit: Int) throws -> Int {
            try configuration.size(key, default: fallback, limit: limit)
        }
        let keys = try size("linear_num_key_heads", keyHeads, Self.mostHeads),
            values = try size("linear_num_value_heads", valueHeads, Self.mostHeads)
        guard values % keys == 0 else {
            throw configuration.error(
                "linear_num_value_heads", found: "\(values)",
                expected: "a multiple of linear_num_key_heads, \(keys)")
        }
        shape = DeltaShape(
            keyHeads: keys, valueHeads: values, keyWidth: try size("linear_key_head_dim", width, Self.widest),
            valueWidth: try size("linear_value_head_dim", width, Self.widest))
        self.taps = try size("linear_conv_kernel_dim", taps, Self.mostTaps)
    }
}
