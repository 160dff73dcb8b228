import Formats
import Tensors

/// What every layer of one pass shares. Training's passes see the keys of a forest, generation's those of a cache; the
/// layers are the same.
struct DecoderBatch<Keys: AttendedKeys> {
    let architecture: DecoderArchitecture
    /// [T]
    let tokenIDs: [Int32]
    /// [T], place in the sequence, from 0.
    let positions: [Int32]
    /// [T], the same as rows of `rotaries`.
    let tablePositions: [Int32]
    /// The tokens whose final states are read.
    let outputPositions: RowSubset
    /// One for each of the architecture's rotary embeddings.
    let rotaries: [RotaryTable]
    let keys: Keys
    /// Experts that routers are to take again; nil where they choose.
    var replayed: ReplayedExperts?
    let compute: Compute

    /// T
    var tokens: Int { tokenIDs.count }

    /// The tokens that a layer's result is wanted of.
    func results(ofLayer layer: Int) -> RowSubset {
        layer == architecture.layers - 1 ? outputPositions : RowSubset(allOf: tokens)
    }

    /// nil where positions play no part.
    func rotary(ofLayer layer: Int) -> RotaryTable? { architecture.attention[layer].rotary.map { rotaries[$0] } }
}

/// What a pass's tokens hear of those before them: the keys and values that they attend to, and states.
protocol AttendedKeys {
    /// out = attention of q over what each token sees. q, out [T, H·D]; k, v [T, K·D] are the tokens' own, rotated
    /// where the layer does. `logSumExp` [H, T] is for the backward half, where there is one.
    func attend(
        q: Matrix, k: Matrix, v: Matrix, layer: Int, _ shape: AttentionShape, into out: Matrix, logSumExp: Matrix,
        _ compute: Compute)

    /// y = a convolution over x, [T, ·] both, and what stood before.
    func convolve(
        _ x: Matrix, _ convolution: CausalConvolution, layer: Int, into y: Matrix, _ compute: Compute)

    /// out [T, Hv·Dv] = what each token reads of the state that those before it have left.
    func remember(_ inputs: DeltaInputs, layer: Int, into out: Matrix, _ compute: Compute)
}

/// Those of a forest: all tokens of a pass, each seeing its ancestors.
struct ForestKeys: AttendedKeys {
    let tree: RunTree
    var runs: [AttentionRun] { tree.runs }

    func attend(
        q: Matrix, k: Matrix, v: Matrix, layer: Int, _ shape: AttentionShape, into out: Matrix, logSumExp: Matrix,
        _ compute: Compute
    ) {
        attentionForward(q: q, k: k, v: v, runs: runs, shape: shape, into: out, logSumExp: logSumExp, compute)
    }

    func convolve(
        _ x: Matrix, _ convolution: CausalConvolution, layer: Int, into y: Matrix, _ compute: Compute
    ) {
        convolutionForward(x, convolution, tree, into: y, compute)
    }

    func remember(_ inputs: DeltaInputs, layer: Int, into out: Matrix, _ compute: Compute) {
        deltaForward(inputs, tree, into: out, compute)
    }
}

extension DecoderBatch<ForestKeys> {
    /// `recordings`: of the forest's sequences.
    init(
        _ architecture: DecoderArchitecture, _ forest: TokenForest, recordings: [RoutedExperts?]? = nil,
        _ compute: Compute
    ) throws {
        self.init(
            architecture: architecture, tokenIDs: forest.tokenIDs, positions: forest.positions,
            tablePositions: try forest.tablePositions(architecture),
            outputPositions: forest.outputPositions,
            rotaries: try architecture.rotaryTables(positions: forest.longestSequence),
            keys: ForestKeys(tree: RunTree(forest.runs)),
            replayed: ReplayedExperts(recordings, forest, architecture), compute: compute)
    }
}
