import Tensors

/// Names, shapes and places of a model's parameters in one flat float32 array. Weights, gradients and both moments
/// share one layout, so the optimizer and the global norm walk plain arrays.
package struct ParameterLayout: Sendable {
    package struct Parameter: Sendable {
        package let name: String
        package let shape: [Int]
        package let range: Range<Int>
    }

    package private(set) var parameters: [Parameter] = []
    private var positions: [String: Int] = [:]

    package var count: Int { parameters.last?.range.upperBound ?? 0 }

    package subscript(name: String) -> Parameter? { positions[name].map { parameters[$0] } }

    mutating func add(_ name: String, _ shape: [Int]) {
        positions[name] = parameters.count
        parameters.append(Parameter(name: name, shape: shape, range: count..<count + shape.reduce(1, *)))
    }
}

/// The parameters of a decoder as matrices. The same struct over another buffer holds the gradients.
///
/// Checkpoint names stand beside the properties, once: `init` asks `parameter` for each, and whoever calls decides
/// whether that records a layout or hands out views.
package struct DecoderWeights: Sendable {
    package let embedding: Matrix
    package private(set) var layers: [LayerWeights]
    let finalNorm: RMSNorm
    /// [V, C], the embedding itself where the head is tied; of a critic [1, C].
    package let head: Matrix
    /// [1], of a critic only.
    package let headBias: Matrix?

    static let valueWeight = "score.weight", valueBias = "score.bias", ownHeadName = "lm_head.weight"

    /// Where a language model's head lies.
    static func headName(_ architecture: DecoderArchitecture) -> String {
        architecture.tiedHead ? architecture.embeddingName : ownHeadName
    }

    typealias Parameter = (_ name: String, _ shape: [Int]) -> Matrix

    init(_ architecture: DecoderArchitecture, _ parameter: Parameter) {
        embedding = parameter(architecture.embeddingName, [architecture.vocabulary, architecture.hidden])
        layers = (0..<architecture.layers).map { index in
            LayerWeights(architecture) { parameter(architecture.layerPrefix(index) + $0, $1) }
        }
        finalNorm = architecture.norm(parameter(architecture.prefix + "norm.weight", [architecture.hidden]))
        if let valueHead = architecture.valueHead {
            head = parameter(Self.valueWeight, [1, architecture.hidden])
            headBias = valueHead.hasBias ? parameter(Self.valueBias, [1]) : nil
        } else {
            head =
                architecture.tiedHead
                ? embedding : parameter(Self.ownHeadName, [architecture.vocabulary, architecture.hidden])
            headBias = nil
        }
    }

    /// Views of a buffer that is laid out as `layout`.
    package init(_ architecture: DecoderArchitecture, layout: ParameterLayout, buffer: Buffer) {
        self.init(architecture) { name, shape in
            let start = layout[name].map { $0.range.lowerBound } ?? 0
            let columns = shape.last ?? 1
            return Matrix(buffer.pointer + start, rows: shape.dropLast().reduce(1, *), columns: columns)
        }
    }

    /// The same weights with linear layers as generation needs them.
    func packed(as precision: GenerationPrecision, _ compute: Compute) -> DecoderWeights {
        var packed = self
        packed.layers = layers.map { $0.packed(as: precision, compute) }
        return packed
    }
}

extension ParameterLayout {
    package init(_ architecture: DecoderArchitecture) {
        self.init()
        let nowhere = Buffer(1)
        var layout = self
        _ = DecoderWeights(architecture) { name, shape in
            layout.add(name, shape)
            // Of the right shape, and all of it one number.
            let columns = shape.last ?? 1
            return Matrix(nowhere.pointer, rows: shape.dropLast().reduce(1, *), columns: columns, stride: 0)
        }
        self = layout
    }
}

/// A layer's parameters: those of its attention, then those of its feed-forward half.
package struct LayerWeights: Sendable {
    let attention: AttentionBlock
    let feedForward: FeedForwardBlock

    init(_ a: DecoderArchitecture, _ parameter: DecoderWeights.Parameter) {
        var stored: [String: LinearWeights] = [:]
        // Fused layers share a tensor, which is asked for once.
        func linear(_ slot: LinearSlot) -> LinearWeights {
            let name = a.projections[slot], rows = a.rows(slot)
            let whole =
                stored[name]
                ?? LinearWeights(
                    weight: parameter(name + ".weight", [rows.all, a.shape(slot).inputs]),
                    bias: a.biases.has(slot) ? parameter(name + ".bias", [rows.all]) : nil)
            stored[name] = whole
            return rows.own.count == rows.all ? whole : whole[rows: rows.own]
        }
        func norm(_ name: String?, _ width: Int) -> RMSNorm? {
            name.map { a.norm(parameter($0 + ".weight", [width])) }
        }
        attention = AttentionBlock(a, linear: linear, norm: norm)
        feedForward = FeedForwardBlock(a, linear: linear, norm: norm)
    }

    private init(_ attention: AttentionBlock, _ feedForward: FeedForwardBlock) {
        (self.attention, self.feedForward) = (attention, feedForward)
    }

    subscript(slot: LinearSlot) -> LinearWeights {
        switch slot {
        case .query: attention.query
        case .key: attention.key
        case .value: attention.value
        case .output: attention.output
        case .gate: feedForward.gate
        case .up: feedForward.up
        case .down: feedForward.down
        }
    }

    fileprivate func packed(as precision: GenerationPrecision, _ compute: Compute) -> LayerWeights {
        LayerWeights(attention.packed(as: precision, compute), feedForward.packed(as: precision, compute))
    }
}
