import Foundation
import Tensors

// The parts of a decoder's description, as values. A layer is x += s · after(attention(before(x))), then x += s ·
// after(feedForward(before(x))), with `before` and `after` a norm or nothing.

/// Names of a layer's norms on the stream, without `.weight`; nil is no norm in that place.
package struct NormPlacement: Sendable {
    package var beforeAttention: String?
    /// On the result, before it is added to the stream.
    package var afterAttention: String?
    package var beforeFeedForward: String?
    package var afterFeedForward: String?

    package init(
        beforeAttention: String? = nil, afterAttention: String? = nil, beforeFeedForward: String? = nil,
        afterFeedForward: String? = nil
    ) {
        self.beforeAttention = beforeAttention
        self.afterAttention = afterAttention
        self.beforeFeedForward = beforeFeedForward
        self.afterFeedForward = afterFeedForward
    }

    /// Llama, Mistral, Qwen.
    package static let before = NormPlacement(
        beforeAttention: "input_layernorm", beforeFeedForward: "post_attention_layernorm")
    /// OLMo 2 and 3.
    package static let after = NormPlacement(
        afterAttention: "post_attention_layernorm", afterFeedForward: "post_feedforward_layernorm")
    /// Gemma 2 and 3.
    package static let around = NormPlacement(
        beforeAttention: "input_layernorm", afterAttention: "post_attention_layernorm",
        beforeFeedForward: "pre_feedforward_layernorm", afterFeedForward: "post_feedforward_layernorm")
}

/// Norms of queries and keys, after their projection and before their rotation.
package enum QueryKeyNorm: Sendable {
    case none
    /// Over each head's D elements.
    case perHead
    /// Over all heads' elements together.
    case wholeWidth
}

/// Which linear layers have a bias.
package struct Biases: Sendable {
    package var queryKeyValue = false
    package var output = false
    package var feedForward = false

    package init() {}

    /// Of one linear layer.
    func has(_ slot: LinearSlot) -> Bool {
        switch slot {
        case .query, .key, .value: queryKeyValue
        case .output: output
        case .gate, .up, .down: feedForward
        case .deltaInput, .deltaGate, .deltaStrength, .deltaDecay, .deltaOutput: false
        }
    }
}

/// A linear layer's place in a decoder layer.
package enum LinearSlot: Int, CaseIterable, Sendable {
    case query, key, value, output, gate, up, down
    /// Of a gated delta rule: queries, keys and values in one; the gate of its result; how strongly a token is learnt and
    /// how much is forgotten, a number for each head.
    case deltaInput, deltaGate, deltaStrength, deltaDecay, deltaOutput

    var isFeedForward: Bool { self == .gate || self == .up || self == .down }
    var isAttention: Bool { self == .query || self == .key || self == .value || self == .output }
    var isDelta: Bool { !isFeedForward && !isAttention }
}

/// Names of a layer's linear layers within it, without `.weight`. Those of one name are fused: one stored tensor holds
/// their rows one after the other, in the order of the slots.
package struct ProjectionNames: Sendable {
    private var names: [String]

    /// `fused`: names that some slots have in place of the usual ones.
    package init(fused: [LinearSlot: String] = [:]) {
        names = [
            "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
            "mlp.up_proj", "mlp.down_proj", "linear_attn.in_proj_qkv", "linear_attn.in_proj_z",
            "linear_attn.in_proj_b", "linear_attn.in_proj_a", "linear_attn.out_proj",
        ]
        for (slot, name) in fused { names[slot.rawValue] = name }
    }

    static let gateAndUp: [LinearSlot: String] = [.gate: "mlp.gate_up_proj", .up: "mlp.gate_up_proj"]
    static let queryKeyValue: [LinearSlot: String] = [
        .query: "self_attn.qkv_proj", .key: "self_attn.qkv_proj", .value: "self_attn.qkv_proj",
    ]

    package subscript(slot: LinearSlot) -> String { names[slot.rawValue] }

    /// Each once, in the order of the slots.
    var distinct: [String] {
        names.enumerated().filter { names.firstIndex(of: $0.element) == $0.offset }.map(\.element)
    }

    func slots(of name: String) -> [LinearSlot] { LinearSlot.allCases.filter { self[$0] == name } }
}

/// What one layer's attention does.
package struct LayerAttention: Sendable {
    /// A token sees at most this many keys, itself included; nil is all before it.
    package var window: Int?
    /// Multiplies scores; nil is 1/√D.
    package var scale: Float?
    /// Scores z become cap · tanh(z / cap); nil is no cap.
    package var cap: Float?
    /// Which of the decoder's rotary embeddings it uses; nil: positions play no part.
    package var rotary: Int?

    package init(window: Int? = nil, scale: Float? = nil, cap: Float? = nil, rotary: Int? = 0) {
        (self.window, self.scale, self.cap, self.rotary) = (window, scale, cap, rotary)
    }
}

/// How queries and keys are rotated by their position.
package struct RotaryEmbedding: Sendable {
    package var scaling: RotaryScaling
    /// Elements of a head that are rotated, the first; nil is all.
    package var width: Int?
    package var pairs: RotaryPairs

    package init(_ scaling: RotaryScaling, width: Int? = nil, pairs: RotaryPairs = .halves) {
        (self.scaling, self.width, self.pairs) = (scaling, width, pairs)
    }

    func table(headWidth: Int, positions: Int) throws -> RotaryTable {
        try scaling.table(width: width ?? headWidth, headWidth: headWidth, pairs: pairs, positions: positions)
    }
}

/// A factor on a token's queries by its position p: 1 + beta · ln(1 + ⌊p / length⌋), 1 below `length` (Llama 4's, which
/// Ministral 3 has).
package struct PositionScale: Sendable {
    package var beta: Float
    package var length: Int

    package init(beta: Float, length: Int) { (self.beta, self.length) = (beta, length) }

    func factor(_ position: Int32) -> Float { 1 + beta * log(1 + Float(Int(position) / length)) }

    /// Rows of x [T, ·], each by its token's factor. Its own transpose.
    func apply(to x: Matrix, positions: [Int32]) {
        for (row, position) in positions.enumerated() where Int(position) >= length {
            let factor = factor(position), values = x.row(row)
            for column in 0..<x.columns { values[column] *= factor }
        }
    }
}

/// Factors on what flows through a decoder, 1 where a family has none.
package struct Scales: Sendable {
    /// On embedded tokens.
    package var embedding: Float = 1
    /// On what a layer's half adds to the stream.
    package var residual: Float = 1
    /// On the head's products.
    package var logits: Float = 1
    /// Logits z, scaled already, become cap · tanh(z / cap); nil is no cap.
    package var logitCap: Float?

    package init() {}
}
