import Tensors

/// How a training pass uses memory: what it keeps of the forward pass, and where its arrays lie.
package struct PassMemory {
    /// Layers, from the last on down, whose activations are kept. Of the others only the input is, and the rest is read
    /// back in the backward pass where `store` has it, else computed again, by the same arithmetic: the gradients have the
    /// same bytes. At least 1; nil is all.
    package var keptLayers: Int?
    package var store: (any ActivationStore)?
    /// Tokens whose logits exist at a time.
    package var headRows: Int?
    package var space: any Allocator

    package init(
        keptLayers: Int? = nil, store: (any ActivationStore)? = nil, headRows: Int? = nil,
        space: any Allocator = HeapAllocator()
    ) {
        (self.keptLayers, self.store, self.headRows, self.space) = (keptLayers, store, headRows, space)
    }

    func headRows(vocabulary: Int) -> Int { headRows ?? headChunkRows(vocabulary: vocabulary) }
}

/// The arrays of one training pass, but for the head's.
struct TrainingArrays {
    let layers: KeptLayers
    let final: FinalNorm
    let dhidden: Buffer
    /// Of the last layer's result, [S, C]; where that is all tokens', `dresidual` itself.
    let dresult: Buffer
    let dresidual: Buffer
    let scratch: LayerScratch

    /// `tokens`: T, of the forest; `outputPositions`: S, how many of them the head reads.
    init(_ a: DecoderArchitecture, tokens: Int, outputPositions: Int, _ memory: PassMemory) {
        let space = memory.space
        layers = KeptLayers(
            a, tokens: tokens, outputPositions: outputPositions, kept: memory.keptLayers ?? a.layers,
            store: memory.store, in: space)
        final = FinalNorm(a, tokens: outputPositions, in: space)
        dhidden = space.zeroed(outputPositions * a.hidden)
        dresidual = space.zeroed(tokens * a.hidden)
        dresult = outputPositions < tokens ? space.zeroed(outputPositions * a.hidden) : dresidual
        scratch = LayerScratch(a, tokens: tokens, in: space)
    }
}

/// The arrays of a pass from which nothing flows back, but for the final norm's.
struct PassingArrays {
    let layers: KeptLayers
    let scratch: Buffer

    init(_ a: DecoderArchitecture, tokens: Int, outputPositions: Int, in space: any Allocator) {
        layers = KeptLayers(passing: a, tokens: tokens, outputPositions: outputPositions, in: space)
        scratch = space.take(tokens * a.passingColumns)
    }
}

/// Activations of a decoder's layers. Layers below the kept ones take turns in the arrays of the first kept one, which
/// are not in use yet on the way up, and not any more on the way down.
struct KeptLayers {
    /// Per layer, [T, C].
    private let inputs: [Buffer]
    private let arrays: [LayerActivations]
    /// What the last layer goes on with, [S, ·]; empty where that is all tokens.
    private let attended: Buffer
    /// S
    private let outputPositions: Int
    private let store: (any ActivationStore)?
    private let deltaLayers: Set<Int>

    init(
        _ a: DecoderArchitecture, tokens: Int, outputPositions: Int, kept: Int, store: (any ActivationStore)?,
        in space: any Allocator
    ) {
        (self.store, deltaLayers) = (store, a.deltaLayers)
        let inputs = (0..<a.layers).map { _ in space.take(tokens * a.hidden) }, first = max(0, a.layers - max(1, kept))
        self.inputs = inputs
        self.outputPositions = outputPositions
        attended = Self.attended(a, tokens, outputPositions, in: space)
        // The last layer's may be small, unless the layers below take turns in them.
        arrays = (first..<a.layers).map { layer in
            let isSmall = layer == a.layers - 1 && (layer > first || layer == 0)
            return LayerActivations(
                a, layers: (layer == first ? 0 : layer)...layer, tokens: tokens,
                resultRows: isSmall ? outputPositions : tokens, input: inputs[layer], in: space)
        }
    }

    /// Where nothing flows back: every layer in the same arrays.
    init(passing a: DecoderArchitecture, tokens: Int, outputPositions: Int, in space: any Allocator) {
        (store, deltaLayers) = (nil, a.deltaLayers)
        let input = space.take(tokens * a.hidden)
        inputs = [Buffer](repeating: input, count: a.layers)
        self.outputPositions = outputPositions
        attended = Self.attended(a, tokens, outputPositions, in: space)
        arrays = [
            LayerActivations(
                a, layers: 0...a.layers - 1, tokens: tokens, resultRows: tokens, input: input, in: space)
        ]
    }

    private static func attended(
        _ a: DecoderArchitecture, _ tokens: Int, _ outputPositions: Int, in space: any Allocator
    )
        -> Buffer
    {
        space.take(outputPositions < tokens ? outputPositions * a.mixedColumns(layer: a.layers - 1) : 0)
    }

    private var firstKept: Int { inputs.count - arrays.count }

    func input(of layer: Int) -> Buffer { inputs[layer] }
    func isKept(_ layer: Int) -> Bool { layer >= firstKept }

    /// A layer's forward half is done: what isn't kept goes where there is a store for it.
    func putAside(_ layer: Int) throws {
        guard let store, !isKept(layer) else { return }
        try store.write(self[layer].arrays, layer: layer)
    }

    /// Before a layer's backward half: whether its activations are there, or must be computed again.
    func bringBack(_ layer: Int) throws -> Bool {
        guard !isKept(layer) else { return true }
        guard let store else { return false }
        try store.read(into: self[layer].arrays, layer: layer)
        return true
    }

    subscript(layer: Int) -> LayerActivations {
        let own = arrays[max(0, layer - firstKept)]
            .reading(inputs[layer], hasAttention: !deltaLayers.contains(layer))
        guard layer == inputs.count - 1 else { return own }
        return own.ending(inRows: outputPositions, attended: attended)
    }
}

/// Input, output and saved statistics of the norm before the head.
struct FinalNorm {
    let input: Buffer
    let output: Buffer
    let rstd: Buffer

    init(_ a: DecoderArchitecture, tokens: Int, in space: any Allocator) {
        input = space.take(tokens * a.hidden)
        output = space.take(tokens * a.hidden)
        rstd = space.take(tokens)
    }
}
