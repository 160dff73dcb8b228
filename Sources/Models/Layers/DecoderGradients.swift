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
        embedding = gradients.embedding.float32
        layers = gradients.layers.map(LayerGradients.init(full:))
        finalNorm = gradients.finalNorm.weight
        head = gradients.head.float32
        headBias = gradients.headBias
    }

    /// Of parts of linear layers alone.
    init(layers: [LayerGradients]) {
        (embedding, finalNorm, head, headBias) = (nil, nil, nil, nil)
        self.layers = layers
    }
}

struct LayerGradients: Sendable {
    var attentionNorm: Matrix?
    var queryNorm: Matrix?
    var keyNorm: Matrix?
    var sinks: Matrix?
    var attentionEndNorm: Matrix?
    var feedForwardNorm: Matrix?
    var feedForwardEndNorm: Matrix?
    var experts = ExpertGradients()
    var delta = DeltaGradients()
    private var linears = [any LinearGradient](repeating: NoLinearGradient(), count: LinearSlot.allCases.count)

    init() {}

    init(full gradients: LayerWeights) {
        let mixer = gradients.mixer, feedForward = gradients.feedForward
        (attentionNorm, attentionEndNorm) = (mixer.norm?.weight, mixer.end.norm?.weight)
        (feedForwardNorm, feedForwardEndNorm) = (feedForward.norm?.weight, feedForward.end.norm?.weight)
        for slot in LinearSlot.allCases where !slot.isFeedForward {
            gradients[slot].map { self[slot] = FullLinearGradient($0) }
        }
        mixer.addGradients(to: &self)
        feedForward.addGradients(to: &self)
    }

    subscript(slot: LinearSlot) -> any LinearGradient {
        get { linears[slot.rawValue] }
        set { linears[slot.rawValue] = newValue }
    }
}
