import Tensors

/// Where the gradients of a decoder's parameters go; nil, or a gradient that takes nothing, where a parameter stands
/// still.
package struct DecoderGradients: Sendable {
    let embedding: Matrix?
    let layers: [LayerGradients]
    let finalNorm: Matrix?
    let head: Matrix?
    let headBias: Matrix?

    /// Of every parameter: views of a buffer laid out as the parameters.
    init(full gradients: DecoderWeights) {
        embedding = gradients.embedding
        layers = gradients.layers.map(LayerGradients.init(full:))
        finalNorm = gradients.finalNorm
        head = gradients.head
        headBias = gradients.headBias
    }

    /// Of parts of linear layers alone.
    init(layers: [LayerGradients]) {
        (embedding, finalNorm, head, headBias) = (nil, nil, nil, nil)
        self.layers = layers
    }
}

struct LayerGradients: Sendable {
    var inputNorm: Matrix?
    var query: any LinearGradient = NoLinearGradient()
    var key: any LinearGradient = NoLinearGradient()
    var value: any LinearGradient = NoLinearGradient()
    var output: any LinearGradient = NoLinearGradient()
    var queryNorm: Matrix?
    var keyNorm: Matrix?
    var feedForwardNorm: Matrix?
    var gate: any LinearGradient = NoLinearGradient()
    var up: any LinearGradient = NoLinearGradient()
    var down: any LinearGradient = NoLinearGradient()

    init() {}

    init(full gradients: LayerWeights) {
        (inputNorm, queryNorm, keyNorm, feedForwardNorm) = (
            gradients.inputNorm, gradients.queryNorm, gradients.keyNorm, gradients.feedForwardNorm
        )
        (query, key) = (FullLinearGradient(gradients.query), FullLinearGradient(gradients.key))
        (value, output) = (FullLinearGradient(gradients.value), FullLinearGradient(gradients.output))
        (gate, up, down) = (
            FullLinearGradient(gradients.gate), FullLinearGradient(gradients.up), FullLinearGradient(gradients.down)
        )
    }
}

/// A linear layer by the name that checkpoints and adapters give it.
struct LinearPlace: Sendable {
    /// `self_attn.q_proj`
    let name: String
    let weights: KeyPath<LayerWeights, LinearWeights> & Sendable
    let gradient: WritableKeyPath<LayerGradients, any LinearGradient> & Sendable

    /// `q_proj`, as adapters' targets are written.
    var shortName: String { String(name.split(separator: ".").last ?? "") }

    static let all: [LinearPlace] = [
        LinearPlace(name: "self_attn.q_proj", weights: \.query, gradient: \.query),
        LinearPlace(name: "self_attn.k_proj", weights: \.key, gradient: \.key),
        LinearPlace(name: "self_attn.v_proj", weights: \.value, gradient: \.value),
        LinearPlace(name: "self_attn.o_proj", weights: \.output, gradient: \.output),
        LinearPlace(name: "mlp.gate_proj", weights: \.gate, gradient: \.gate),
        LinearPlace(name: "mlp.up_proj", weights: \.up, gradient: \.up),
        LinearPlace(name: "mlp.down_proj", weights: \.down, gradient: \.down),
    ]
}
