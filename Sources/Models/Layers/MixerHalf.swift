import Tensors

/// A layer's first half, in which tokens hear of those before them: attention, or a gated delta rule.
protocol MixerHalf: Sendable {
    var norm: RMSNorm? { get }
    var end: ResidualJoin { get }

    /// `saved.input` [T, C] → `middle` [S, C], of the tokens that the layer's result is wanted of. `scratch`: [T,
    /// passingColumns] or more.
    func forward<Keys>(
        _ saved: MixerActivations, into middle: Matrix, scratch: Matrix, layer: Int, _ batch: DecoderBatch<Keys>)

    /// dmiddle [S, C] → dresidual [T, C], the gradient of the input: the same array where S is T. Leaves `saved` in
    /// pieces.
    func backward(
        _ saved: MixerActivations, gradients g: LayerGradients, layer: Int, dmiddle: Matrix, into dresidual: Matrix,
        _ scratch: LayerScratch, _ batch: DecoderBatch<ForestKeys>)

    /// nil where it has no such linear layer.
    subscript(slot: LinearSlot) -> LinearWeights? { get set }

    /// With linear layers as generation needs them.
    func packed(as precision: GenerationPrecision, _ compute: Compute) -> any MixerHalf

    /// Of the half that points at gradients: its own into the layer's, but for those of linear layers.
    func addGradients(to layer: inout LayerGradients)
}

extension MixerHalf {
    func packed(as precision: GenerationPrecision, _ compute: Compute) -> any MixerHalf {
        var packed = self
        for slot in LinearSlot.allCases {
            if let linear = self[slot] { packed[slot] = linear.packed(as: precision, compute) }
        }
        return packed
    }
}

/// What the half keeps of its forward pass for the backward one, [T, ·] over the tokens of a pass.
struct MixerActivations {
    private(set) var input: Buffer
    /// Empty without a norm: the projections read the input.
    private let normed: Buffer
    let rstd: Buffer
    private let hasOwnNormed: Bool
    /// [S, ·]: the rows that go on of what the last linear layer reads; empty where all do.
    private(set) var attended = Buffer.none
    /// [S, ·]
    private(set) var end: JoinActivations
    private var ofAttention: AttentionActivations?
    private var ofDelta: DeltaActivations?

    /// For any of `layers`, one at a time. The forward pass writes every array whole.
    init(
        _ a: DecoderArchitecture, layers: ClosedRange<Int>, tokens: Int, resultRows: Int, input: Buffer,
        in space: any Allocator
    ) {
        hasOwnNormed = a.norms.beforeAttention != nil
        self.input = input
        normed = hasOwnNormed ? space.take(tokens * a.hidden) : Buffer.none
        rstd = hasOwnNormed ? space.take(tokens) : Buffer.none
        if layers.contains(where: { a.deltaNet(ofLayer: $0) == nil }) {
            ofAttention = AttentionActivations(a, tokens: tokens, in: space)
        }
        if let net = layers.lazy.compactMap({ a.deltaNet(ofLayer: $0) }).first {
            ofDelta = DeltaActivations(net.shape, tokens: tokens, in: space)
        }
        end = JoinActivations(a, norm: a.norms.afterAttention, rows: resultRows, in: space)
    }

    var attention: AttentionActivations {
        guard let ofAttention else { preconditionFailure("attention in the arrays of a layer without it") }
        return ofAttention
    }

    var delta: DeltaActivations {
        guard let ofDelta else { preconditionFailure("a delta rule in the arrays of a layer without one") }
        return ofDelta
    }

    /// All but the input, and but what goes on of a layer whose result is wanted of some tokens only.
    var arrays: [Buffer] {
        [normed, rstd] + (ofAttention?.arrays ?? []) + (ofDelta?.arrays ?? []) + end.arrays
    }

    /// What the projections read, [T, C].
    func x(rows: Int) -> Matrix { (hasOwnNormed ? normed : input).matrix(rows: rows) }

    /// `x`, computed.
    func normedInput(_ norm: RMSNorm?, rows: Int, _ compute: Compute) -> Matrix {
        let x = x(rows: rows)
        if let norm { rmsNormForward(input.matrix(rows: rows), norm, into: x, rstd: rstd.pointer, compute) }
        return x
    }

    /// The same arrays, as far as a layer needs them, which reads `input`.
    func reading(_ input: Buffer, hasAttention: Bool) -> MixerActivations {
        var other = self
        other.input = input
        if hasAttention { other.ofDelta = nil } else { other.ofAttention = nil }
        return other
    }

    /// The same arrays for a layer whose result is wanted of `rows` of `all` tokens.
    func ending(inRows rows: Int, of all: Int, attended: Buffer) -> MixerActivations {
        var other = self
        other.attended = attended
        if rows < all { other.end = end.first(rows, of: all) }
        return other
    }
}
