import Formats
import Tensors

/// The numbers and choices that tell one decoder-only transformer from another: pre-norm blocks of grouped-query
/// attention and SwiGLU, rotary positions, RMS norms.
package struct DecoderArchitecture: Sendable {
    package var vocabulary: Int
    package var hidden: Int
    package var feedForward: Int
    package var layers: Int
    package var queryHeads: Int
    package var keyValueHeads: Int
    package var headWidth: Int
    package var normEpsilon: Float
    package var rotary: RotaryScaling
    package var maxPositions: Int
    /// The head reuses the embedding: one parameter, two gradients summed.
    package var tiedHead: Bool
    /// Its embedding gets no gradient as an input, as in transformers (`padding_idx`); a tied head still reaches it.
    package var paddingToken: Int32?
    package var queryKeyValueBias = false
    package var outputBias = false
    package var feedForwardBias = false
    package var queryKeyNorm = false
    /// A critic: one number per token in place of a distribution.
    package var valueHead: ValueHeadShape?
    /// Per layer, the number of keys a token sees; nil is all.
    package var windows: [Int?]

    /// What all families read alike; a family then sets what is its own.
    package init(_ configuration: ModelConfiguration) throws {
        vocabulary = try configuration.size("vocab_size")
        hidden = try configuration.size("hidden_size")
        feedForward = try configuration.size("intermediate_size")
        layers = try configuration.size("num_hidden_layers")
        queryHeads = try configuration.size("num_attention_heads")
        keyValueHeads = try configuration.size("num_key_value_heads", default: queryHeads)
        headWidth = try configuration.size("head_dim", default: hidden / queryHeads)
        normEpsilon = Float(try configuration.double("rms_norm_eps", default: 1e-6))
        maxPositions = try configuration.size("max_position_embeddings", default: 2048)
        tiedHead = try configuration.bool("tie_word_embeddings", default: false)
        paddingToken = try Self.paddingToken(configuration, vocabulary: vocabulary)
        rotary = try RotaryScaling(configuration, maxPositions: maxPositions)
        windows = [Int?](repeating: nil, count: layers)
        valueHead = try ValueHeadShape(configuration)
    }

    /// Negative ids count from the end of the vocabulary, as in torch.
    private static func paddingToken(_ configuration: ModelConfiguration, vocabulary: Int) throws -> Int32? {
        guard configuration.has("pad_token_id") else { return nil }
        let id = try configuration.int("pad_token_id")
        return Int32(clamping: id < 0 ? id + vocabulary : id)
    }

    func validate(_ configuration: ModelConfiguration) throws {
        let activation = try configuration.string("hidden_act", default: "silu")
        guard activation == "silu" else { throw configuration.error("hidden_act", found: "'\(activation)'", expected: "silu") }
        guard queryHeads % keyValueHeads == 0 else {
            throw configuration.error(
                "num_key_value_heads", found: "\(keyValueHeads)", expected: "a divisor of num_attention_heads, \(queryHeads)")
        }
        guard headWidth % 2 == 0 else { throw configuration.error("head_dim", found: "\(headWidth)", expected: "an even number") }
    }

    package func attention(layer: Int) -> AttentionShape {
        AttentionShape(queryHeads: queryHeads, keyValueHeads: keyValueHeads, headWidth: headWidth, window: windows[layer])
    }

    /// Multiplications for one token in the layers' matrix products, and in a head of one number per vocabulary entry; a backward pass has
    /// twice as many. What attention adds grows with the length and is left out.
    package var layerMultiplications: Int { layers * hidden * (2 * queryColumns + 2 * keyValueColumns + 3 * feedForward) }
    package var headMultiplications: Int { vocabulary * hidden }

    package var queryColumns: Int { queryHeads * headWidth }
    package var keyValueColumns: Int { keyValueHeads * headWidth }
}

/// `score` of transformers' …ForTokenClassification (weight and bias, as verl's critics) and …ForSequenceClassification (weight
/// alone, as TRL's) with a single label.
package struct ValueHeadShape: Equatable, Sendable {
    package var hasBias: Bool

    package init(hasBias: Bool) { self.hasBias = hasBias }

    init?(_ configuration: ModelConfiguration) throws {
        guard let name = try configuration.strings("architectures")?.first else { return nil }
        guard name.hasSuffix("ForTokenClassification") || name.hasSuffix("ForSequenceClassification") else { return nil }
        hasBias = name.hasSuffix("ForTokenClassification")
    }
}

/// Qwen's per-layer windows: `layer_types` where given, else layers from `max_window_layers` on; only with
/// `use_sliding_window`.
func slidingWindows(_ configuration: ModelConfiguration, layers: Int) throws -> [Int?] {
    guard try configuration.bool("use_sliding_window", default: false), configuration.has("sliding_window") else {
        return [Int?](repeating: nil, count: layers)
    }
    let window = try configuration.size("sliding_window")
    let first = try configuration.int("max_window_layers", default: 28)
    let types = try configuration.strings("layer_types") ?? (0..<layers).map { $0 >= first ? "sliding_attention" : "full_attention" }
    guard types.count == layers else {
        throw configuration.error("layer_types", found: "\(types.count) entries", expected: "\(layers), one for each layer")
    }
    return types.map { $0 == "sliding_attention" ? window : nil }
}
