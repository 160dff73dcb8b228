/// A feed-forward half of many experts, of which each token takes a few: y = Σ w_e · expert_e(x) over the k likeliest of a
/// router's softmax, w their probabilities.
package struct ExpertMixture: Sendable {
    /// E
    package var count: Int
    /// k
    package var chosen: Int
    /// I, the width inside an expert.
    package var width: Int
    /// Whether the weights of the chosen are divided by their sum.
    package var sumsToOne: Bool
    package var storage: ExpertStorage
    /// Of the router's linear layer within a layer, without `.weight`.
    package var routerName: String
    package var routerHasBias = false
}

/// How experts lie in a checkpoint.
package enum ExpertStorage: Sendable {
    /// Each a feed-forward half of its own: mlp.experts.N.gate_proj.weight [I, C], up_proj, down_proj [C, I].
    case apart
    /// All in one tensor, inputs first: mlp.experts.gate_up_proj [E, C, 2I], gate and up in turns, down_proj [E, I, C], and
    /// their biases.
    case interleaved
}

extension DecoderArchitecture {
    /// The experts of a layer; nil where its feed-forward half is dense.
    func experts(ofLayer layer: Int) -> ExpertMixture? { denseLayers.contains(layer) ? nil : experts }

    var hasDenseLayers: Bool { experts == nil || !denseLayers.isEmpty }

    /// Widest of what a token's gate, and its up projection, take in any layer: F, or k experts' I.
    var gateColumns: Int {
        max(hasDenseLayers ? feedForward : 0, experts.map { $0.chosen * $0.width } ?? 0)
    }

    /// Floats for each token that the forward pass of any layer's half works in.
    var passingColumns: Int {
        max(mixingColumns, hasDenseLayers ? feedForward : 0, experts.map { 2 * hidden + 2 * $0.width } ?? 0)
    }

    /// The same of both passes.
    var trainingColumns: Int {
        max(
            mixingColumns, hasDenseLayers ? feedForward : 0,
            experts.map { max(3 * hidden + 2 * $0.width, $0.count) } ?? 0)
    }

    /// Multiplications of a token in one layer's feed-forward half.
    func feedForwardMultiplications(layer: Int) -> Int {
        guard let experts = experts(ofLayer: layer) else { return 3 * hidden * feedForward }
        return hidden * (experts.count + 3 * experts.chosen * experts.width)
    }

    /// Names of linear layers, without their place, that some layer has: what adapters may stand on. Experts take none.
    package var adaptable: [String] {
        let hasAttention = !attentionLayers.isEmpty
        let slots = LinearSlot.allCases.filter { slot in
            if slot.isFeedForward { return hasDenseLayers }
            return slot.isDelta ? !deltaLayers.isEmpty : hasAttention
        }
        var names: [String] = []
        for slot in slots {
            let name = String(projections[slot].split(separator: ".").last ?? "")
            if !names.contains(name) { names.append(name) }
        }
        return names
    }
}

extension ExpertMixture {
    /// `chosen`: where the file doesn't say num_experts_per_tok.
    init(
        _ configuration: ModelConfiguration, count: Int, chosen: Int, width: Int, sumsToOne: Bool,
        storage: ExpertStorage, routerName: String
    ) throws {
        let key = "num_experts_per_tok", chosen = try configuration.size(key, default: chosen)
        guard chosen <= count else {
            throw configuration.error(key, found: "\(chosen)", expected: "at most the number of experts, \(count)")
        }
        self.init(
            count: count, chosen: chosen, width: width, sumsToOne: sumsToOne, storage: storage, routerName: routerName)
    }
}

extension ModelConfiguration {
    /// transformers 4 wrote num_experts for Qwen, 5 writes num_local_experts.
    func expertCount(default fallback: Int) throws -> Int {
        let key = has("num_local_experts") ? "num_local_experts" : "num_experts"
        return try size(key, default: fallback, limit: 1 << 16)
    }
}
