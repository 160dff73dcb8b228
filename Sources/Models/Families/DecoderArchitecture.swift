import Formats
import Tensors

/// What tells one decoder-only transformer from another, as values that its family states: sizes, and the parts of
/// DecoderParts.swift. The layers read nothing else.
package struct DecoderArchitecture: Sendable {
    package var vocabulary: Int
    package var hidden: Int
    package var feedForward: Int
    package var layers: Int
    package var queryHeads: Int
    package var keyValueHeads: Int
    package var headWidth: Int
    package var maxPositions: Int
    /// The head reuses the embedding: one parameter, two gradients summed.
    package var tiedHead: Bool
    /// Its embedding gets no gradient as an input, as in transformers (`padding_idx`); a tied head still reaches it.
    package var paddingToken: Int32?
    /// A critic: one number per token in place of a distribution.
    package var valueHead: ValueHeadShape?
    /// What a critic is that is made of this language model.
    package var critic = CriticClass()

    package var normEpsilon: Float
    /// Added to every norm's stored weight.
    package var normOffset: Float = 0
    package var norms = NormPlacement.before
    package var queryKeyNorm = QueryKeyNorm.none
    package var activation = GatedActivation.silu
    /// In place of a dense feed-forward half, but for `denseLayers`.
    package var experts: ExpertMixture?
    package var denseLayers: Set<Int> = []
    /// In attention's place, in `deltaLayers`.
    package var deltaNet: DeltaNet?
    package var deltaLayers: Set<Int> = []
    /// Whether what each query head gives is multiplied by σ of a gate, whose rows in the queries' weight stand behind
    /// those of its head.
    package var hasOutputGate = false
    package var biases = Biases()
    /// Whether each query head has a score of its own in its softmax, `self_attn.sinks`.
    package var hasSinks = false
    package var projections = ProjectionNames()
    package var scales = Scales()
    /// One for each layer.
    package var attention: [LayerAttention]
    package var rotaries: [RotaryEmbedding]
    /// On queries, after their rotation; nil is none.
    package var queryScale: PositionScale?
    /// Of the names of all parameters but the head's.
    package var prefix = "model."
    /// Of a head of its own.
    package var headName = "lm_head.weight"
    /// Where the model lies in a checkpoint that holds others beside it: what of `prefix` and `headName` its files have
    /// is found out from them. Empty where there is one place.
    var places: [TextModelPlace] = []
    /// Whether config.json describes other models too.
    var isBesideOthers = false

    /// What a family's configuration class takes a missing key for.
    struct Defaults {
        /// nil: as many as query heads.
        var keyValueHeads: Int?
        /// nil: hidden size / heads.
        var headWidth: Int?
        var maxPositions = 2048
        var tiedHead = false
        var paddingToken: Int?
        var normEpsilon = 1e-6
        var rotaryBase = 10_000.0
    }

    /// What all families read alike; a family then sets what is its own. `rotaries`: nil is one for all layers.
    init(
        _ configuration: ModelConfiguration, _ defaults: Defaults = Defaults(),
        rotaries: ((_ maxPositions: Int) throws -> [RotaryScaling])? = nil
    ) throws {
        vocabulary = try configuration.size("vocab_size")
        hidden = try configuration.size("hidden_size", limit: SizeLimits.width)
        feedForward = try configuration.size("intermediate_size", limit: SizeLimits.width)
        layers = try configuration.size("num_hidden_layers", limit: SizeLimits.layers)
        queryHeads = try configuration.size("num_attention_heads", limit: SizeLimits.heads)
        let keyValueHeads = configuration.isMissing("num_key_value_heads") ? defaults.keyValueHeads : nil
        self.keyValueHeads = try configuration.size(
            "num_key_value_heads", default: keyValueHeads ?? queryHeads, limit: SizeLimits.heads)
        headWidth = try configuration.size(
            "head_dim", default: defaults.headWidth ?? hidden / queryHeads, limit: SizeLimits.width)
        normEpsilon = Float(try configuration.double("rms_norm_eps", default: defaults.normEpsilon))
        maxPositions = try configuration.size("max_position_embeddings", default: defaults.maxPositions)
        tiedHead = try configuration.bool("tie_word_embeddings", default: defaults.tiedHead)
        paddingToken = try Self.paddingToken(configuration, defaults, vocabulary: vocabulary)
        let scalings =
            try rotaries?(maxPositions)
            ?? [RotaryScaling(configuration, defaultBase: defaults.rotaryBase, maxPositions: maxPositions)]
        self.rotaries = scalings.map { RotaryEmbedding($0) }
        attention = [LayerAttention](repeating: LayerAttention(), count: layers)
        valueHead = try ValueHeadShape(configuration)
    }

    /// Negative ids count from the end of the vocabulary, as in torch.
    private static func paddingToken(_ configuration: ModelConfiguration, _ defaults: Defaults, vocabulary: Int) throws
        -> Int32?
    {
        if configuration.isMissing("pad_token_id") { return defaults.paddingToken.map { Int32(clamping: $0) } }
        guard configuration.has("pad_token_id") else { return nil }
        let id = try configuration.int("pad_token_id")
        return Int32(clamping: id < 0 ? id + vocabulary : id)
    }

    /// Sizes beyond these are no model's; with them no product of sizes leaves 64 bits, and lists by layer stay small.
    private enum SizeLimits {
        static let width = 1 << 24, layers = 1 << 16, heads = 1 << 16
        /// Of all parameters together.
        static let parameters = 1 << 48
    }

    /// `ownKeys`: those of `foreignKeys` that the family reads.
    func validate(_ configuration: ModelConfiguration, ownKeys: Set<String>) throws {
        try checkParameterCount(configuration)
        try Self.refuseUnknown(configuration, but: ownKeys)
        for rotary in rotaries where rotary.width == nil { try rotary.scaling.refusePartial(configuration) }
        guard queryHeads % keyValueHeads == 0 else {
            throw configuration.error(
                "num_key_value_heads", found: "\(keyValueHeads)",
                expected: "a divisor of num_attention_heads, \(queryHeads)")
        }
        guard headWidth > 0, headWidth % 2 == 0 else {
            throw configuration.error("head_dim", found: "\(headWidth)", expected: "an even number")
        }
    }

    private func checkParameterCount(_ configuration: ModelConfiguration) throws {
        func product(_ sizes: Int...) -> Int {
            sizes.reduce(1) { total, size in
                let (value, overflow) = total.multipliedReportingOverflow(by: size)
                return overflow ? Int.max : value
            }
        }
        let columns = [queryHeads, keyValueHeads].map { product($0, headWidth) }
        let parts =
            [product(vocabulary, hidden), product(layers, hidden, feedForward)]
            + columns.map { product(layers, hidden, $0) }
            + (experts.map { [product(layers, hidden, $0.count, $0.width)] } ?? [])
            + (deltaNet.map { [product(layers, hidden, $0.shape.columns + 2 * $0.shape.valueColumns)] } ?? [])
        guard parts.allSatisfy({ $0 < SizeLimits.parameters }) else {
            throw configuration.error(
                "hidden_size", found: "sizes that make a tensor or a stack of layers of \(parts.max() ?? 0) numbers",
                expected: "fewer than \(SizeLimits.parameters)", remedy: "Is config.json damaged?")
        }
    }

    /// Keys that change what is computed in some models. Where a family doesn't read them, a file that has them means
    /// something else.
    private static let foreignKeys = [
        "attention_chunk_size", "attention_multiplier", "attention_out_bias", "attn_logit_softcapping", "clip_qkv",
        "embedding_multiplier",
        "final_logit_softcapping", "logit_scale", "logits_scaling", "n_routed_experts", "no_rope_layers", "num_experts",
        "num_local_experts", "qk_layernorm", "query_pre_attn_scalar", "residual_multiplier", "sinks",
        "use_bidirectional_attention", "use_qk_norm",
    ]

    private static func refuseUnknown(_ configuration: ModelConfiguration, but ownKeys: Set<String>) throws {
        try configuration.refuseQuantised()
        if let key = foreignKeys.first(where: { !ownKeys.contains($0) && configuration.isActive($0) }) {
            throw configuration.error(
                key, found: configuration.spelled(key),
                expected: "none: model_type \(try configuration.string("model_type")) doesn't have it",
                remedy: "Another kind of model would be computed than the one that was trained.")
        }
        let classes = try configuration.strings("architectures") ?? []
        let known = ["ForCausalLM", "ForTokenClassification", "ForSequenceClassification"]
        if let name = classes.first, !known.contains(where: { name.hasSuffix($0) }) {
            throw configuration.error(
                "architectures", found: "'\(name)'", expected: "a class …\(known.joined(separator: ", …"))")
        }
    }

    package func attention(layer: Int) -> AttentionShape {
        let own = attention[layer]
        return AttentionShape(
            queryHeads: queryHeads, keyValueHeads: keyValueHeads, headWidth: headWidth, window: own.window,
            scale: own.scale, cap: own.cap)
    }

    /// Longer sequences are rotated by other tables than shorter ones, so that they share no prefix with them; nil: all
    /// by the same.
    package var longSequences: Int? { rotaries.compactMap(\.scaling.longSequences).first }

    /// For sequences of at most `positions` tokens, one for each of `rotaries`.
    func rotaryTables(positions: Int) throws -> [RotaryTable] {
        try rotaries.map { try $0.table(headWidth: headWidth, positions: positions) }
    }

    func norm(_ weight: Matrix) -> RMSNorm { RMSNorm(weight: weight, epsilon: normEpsilon, offset: normOffset) }

    /// The logits that a head's weight [V, C] gives.
    func logitHead(_ weight: WeightMatrix) -> LogitHead {
        LogitHead(weight: weight, scale: scales.logits, cap: scales.logitCap)
    }

    var embeddingName: String { prefix + "embed_tokens.weight" }
    func layerPrefix(_ layer: Int) -> String { layersPrefix + "\(layer)." }
    var layersPrefix: String { prefix + "layers." }

    /// [O, I] of a linear layer, as if it were stored alone.
    func shape(_ slot: LinearSlot) -> (outputs: Int, inputs: Int) {
        let delta = deltaNet?.shape
        return switch slot {
        case .query: (hasOutputGate ? 2 * queryColumns : queryColumns, hidden)
        case .key, .value: (keyValueColumns, hidden)
        case .output: (hidden, queryColumns)
        case .gate, .up: (feedForward, hidden)
        case .down: (hidden, feedForward)
        case .deltaInput: (delta?.columns ?? 0, hidden)
        case .deltaGate: (delta?.valueColumns ?? 0, hidden)
        case .deltaStrength, .deltaDecay: (delta?.valueHeads ?? 0, hidden)
        case .deltaOutput: (hidden, delta?.valueColumns ?? 0)
        }
    }

    /// The rows of its stored tensor that a linear layer has, and how many the tensor has.
    func rows(_ slot: LinearSlot) -> (own: Range<Int>, all: Int) {
        var own = 0..<0, end = 0
        for other in projections.slots(of: projections[slot]) {
            let outputs = shape(other).outputs
            if other == slot { own = end..<end + outputs }
            end += outputs
        }
        return (own, end)
    }

    /// Multiplications for one token in the layers' matrix products, and in a head of one number per vocabulary entry;
    /// a backward pass has twice as many. What attention adds grows with the length and is left out.
    package var layerMultiplications: Int {
        (0..<layers).reduce(0) {
            $0 + mixerMultiplications(layer: $1) + feedForwardMultiplications(layer: $1)
        }
    }
    package var headMultiplications: Int { vocabulary * hidden }

    package var queryColumns: Int { queryHeads * headWidth }
    package var keyValueColumns: Int { keyValueHeads * headWidth }
}

/// `score` of transformers' …ForTokenClassification (weight and bias, as verl's critics) and …ForSequenceClassification
/// (weight alone, as TRL's) with a single label.
package struct ValueHeadShape: Equatable, Sendable {
    package var hasBias: Bool

    package init(hasBias: Bool) { self.hasBias = hasBias }

    init?(_ configuration: ModelConfiguration) throws {
        guard let name = try configuration.strings("architectures")?.first else { return nil }
        guard name.hasSuffix("ForTokenClassification") || name.hasSuffix("ForSequenceClassification") else {
            return nil
        }
        hasBias = name.hasSuffix("ForTokenClassification")
    }
}

extension ModelConfiguration {
    func refuseQuantised() throws {
        guard has("quantization_config") else { return }
        throw error(
            "quantization_config", found: spelled("quantization_config"), expected: "none",
            remedy: "Quantised checkpoints can't be trained; use the original weights.")
    }

    /// A number above 0.
    func positive(_ key: String, default fallback: Double) throws -> Double {
        let value = try double(key, default: fallback)
        guard value > 0, value.isFinite else {
            throw error(key, found: "\(value)", expected: "a number above 0")
        }
        return value
    }

    /// A cap of scores or logits; nil where null switches it off. `fallback`: of a missing key.
    func cap(_ key: String, default fallback: Double? = nil) throws -> Float? {
        if isMissing(key) { return fallback.map { Float($0) } }
        guard has(key) else { return nil }
        let cap = try double(key)
        guard cap > 0, cap.isFinite else {
            throw error(key, found: "\(cap)", expected: "a number above 0, or null")
        }
        return Float(cap)
    }
}

/// The activation that a configuration names; others are refused.
func activation(
    _ configuration: ModelConfiguration, _ key: String = "hidden_act", default name: String = "silu"
) throws -> GatedActivation {
    let known: [String: GatedActivation] = name == "silu" ? ["silu": .silu] : [name: .geluTanh]
    let found = try configuration.string(key, default: name)
    guard let activation = known[found] else {
        throw configuration.error(key, found: "'\(found)'", expected: name)
    }
    return activation
}

/// `attention_bias`: on q, k, v and the output alike.
func attentionBiases(_ configuration: ModelConfiguration, default fallback: Bool) throws -> Biases {
    var biases = Biases()
    biases.queryKeyValue = try configuration.bool("attention_bias", default: fallback)
    biases.output = biases.queryKeyValue
    return biases
}

/// A switch that a family's layers don't have.
func refuseActive(_ key: String, _ configuration: ModelConfiguration) throws {
    guard try configuration.bool(key, default: false) else { return }
    throw configuration.error(
        key, found: "true", expected: "false: model_type \(try configuration.string("model_type")) has no such biases")
}

/// Qwen's per-layer windows: `layer_types` where given, else layers from `max_window_layers` on; only with
/// `use_sliding_window`.
func slidingWindows(_ configuration: ModelConfiguration, layers: Int) throws -> [LayerAttention] {
    let isOn = try configuration.bool("use_sliding_window", default: false) && configuration.has("sliding_window")
    let given = try layerTypes(configuration, layers: layers, hasWindow: isOn)
    guard isOn else { return [LayerAttention](repeating: LayerAttention(), count: layers) }
    let window = try configuration.size("sliding_window")
    let first = try configuration.int("max_window_layers", default: 28)
    let types = given ?? (0..<layers).map { $0 >= first ? "sliding_attention" : "full_attention" }
    return types.map { LayerAttention(window: $0 == "sliding_attention" ? window : nil) }
}

/// A window of `window` tokens in the layers that `layer_types` names, or in those for which `isSliding` holds; nil is no
/// window at all.
func windows(
    _ configuration: ModelConfiguration, layers: Int, window: Int?, isSliding: (_ layer: Int) -> Bool
) throws -> [LayerAttention] {
    let given = try layerTypes(configuration, layers: layers, hasWindow: window != nil)
    return (0..<layers).map { layer in
        let slides = given.map { $0[layer] == "sliding_attention" } ?? isSliding(layer)
        return LayerAttention(window: slides ? window : nil)
    }
}

/// `layer_types`, of known kinds and one for each layer; nil where it isn't given. Kinds that need a window are refused
/// where there is none.
func layerTypes(_ configuration: ModelConfiguration, layers: Int, hasWindow: Bool) throws -> [String]? {
    let known = hasWindow ? ["full_attention", "sliding_attention"] : ["full_attention"]
    return try layerTypes(configuration, layers: layers, known: known)
}

func layerTypes(_ configuration: ModelConfiguration, layers: Int, known: [String]) throws -> [String]? {
    guard let types = try configuration.strings("layer_types") else { return nil }
    guard types.count == layers else {
        throw configuration.error(
            "layer_types", found: "\(types.count) entries", expected: "\(layers), one for each layer")
    }
    if let place = types.firstIndex(where: { !known.contains($0) }) {
        let why =
            types[place] == "sliding_attention" ? ", because no window is on (use_sliding_window, sliding_window)" : ""
        throw configuration.error(
            "layer_types", found: "'\(types[place])' of layer \(place)",
            expected: "one of \(known.joined(separator: ", "))\(why)")
    }
    return types
}
