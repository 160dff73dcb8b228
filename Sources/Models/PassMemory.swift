import Tensors

/// How a training pass uses memory: what it keeps of the forward pass, and where its arrays lie.
package struct PassMemory {
    /// Layers, from the last on down, whose activations are kept. Of the others only the input is, and the rest is computed again in the
    /// backward pass, by the same arithmetic: the gradients have the same bytes. At least 1; nil is all.
    package var keptLayers: Int?
    /// Tokens whose logits exist at a time.
    package var headRows: Int?
    package var space: any FloatSpace

    package init(keptLayers: Int? = nil, headRows: Int? = nil, space: any FloatSpace = Heap()) {
        (self.keptLayers, self.headRows, self.space) = (keptLayers, headRows, space)
    }

    func headRows(vocabulary: Int) -> Int { headRows ?? headChunkRows(vocabulary: vocabulary) }
}

/// The arrays of one training pass, but for the head's.
struct TrainingArrays {
    let layers: KeptLayers
    let final: FinalNorm
    let dhidden: Buffer
    let dresidual: Buffer
    let scratch: LayerScratch

    /// `tokens`: T, of the forest.
    init(_ a: DecoderArchitecture, tokens: Int, _ memory: PassMemory) {
        let space = memory.space
        layers = KeptLayers(a, tokens: tokens, kept: memory.keptLayers ?? a.layers, in: space)
        final = FinalNorm(a, tokens: tokens, in: space)
        dhidden = space.zeroed(tokens * a.hidden)
        dresidual = space.zeroed(tokens * a.hidden)
        scratch = LayerScratch(a, tokens: tokens, in: space)
    }
}

/// The arrays of a pass from which nothing flows back, but for the final norm's.
struct PassingArrays {
    let layers: KeptLayers
    let product: Buffer

    init(_ a: DecoderArchitecture, tokens: Int, in space: any FloatSpace) {
        layers = KeptLayers(passing: a, tokens: tokens, in: space)
        product = space.take(tokens * a.feedForward)
    }
}

/// Activations of a decoder's layers. Layers below the kept ones take turns in the arrays of the first kept one, which are not in use yet on
/// the way up, and not any more on the way down.
struct KeptLayers {
    /// Per layer, [T, C].
    private let inputs: [Buffer]
    private let arrays: [LayerActivations]

    init(_ a: DecoderArchitecture, tokens: Int, kept: Int, in space: any FloatSpace) {
        let inputs = (0..<a.layers).map { _ in space.take(tokens * a.hidden) }
        self.inputs = inputs
        arrays = inputs.suffix(max(1, kept)).map { LayerActivations(a, tokens: tokens, input: $0, in: space) }
    }

    /// Where nothing flows back: every layer in the same arrays.
    init(passing a: DecoderArchitecture, tokens: Int, in space: any FloatSpace) {
        let input = space.take(tokens * a.hidden)
        inputs = [Buffer](repeating: input, count: a.layers)
        arrays = [LayerActivations(a, tokens: tokens, input: input, in: space)]
    }

    private var firstKept: Int { inputs.count - arrays.count }

    func input(of layer: Int) -> Buffer { inputs[layer] }
    func isKept(_ layer: Int) -> Bool { layer >= firstKept }
    subscript(layer: Int) -> LayerActivations { isKept(layer) ? arrays[layer - firstKept] : arrays[0].reading(inputs[layer]) }
}

/// Input, output and saved statistics of the norm before the head.
struct FinalNorm {
    let input: Buffer
    let output: Buffer
    let rstd: Buffer

    init(_ a: DecoderArchitecture, tokens: Int, in space: any FloatSpace) {
        input = space.take(tokens * a.hidden)
        output = space.take(tokens * a.hidden)
        rstd = space.take(tokens)
    }
}
