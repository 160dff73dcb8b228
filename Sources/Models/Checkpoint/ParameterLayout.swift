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

    @discardableResult
    mutating func add(_ name: String, _ shape: [Int]) -> Parameter {
        let parameter = Parameter(name: name, shape: shape, range: count..<count + shape.reduce(1, *))
        positions[name] = parameters.count
        parameters.append(parameter)
        return parameter
    }
}

/// The parameters of a decoder as matrices. The same struct over another buffer, in float32, holds the gradients.
///
/// Checkpoint names stand beside the properties, once: `init` asks `parameter` for each, and whoever calls decides
/// whether that records a layout or hands out views.
package struct DecoderWeights: Sendable {
    package let embedding: WeightMatrix
    package private(set) var layers: [LayerWeights]
    let finalNorm: RMSNorm
    /// [V, C], the embedding itself where the head is tied; of a critic [1, C].
    package let head: WeightMatrix
    /// [1], of a critic only.
    package let headBias: Matrix?

    static let valueWeight = "score.weight", valueBias = "score.bias"

    /// Where a language model's head lies.
    static func headName(_ architecture: DecoderArchitecture) -> String {
        architecture.tiedHead ? architecture.embeddingName : architecture.headName
    }

    typealias Parameter = (_ name: String, _ shape: [Int]) -> WeightMatrix

    init(_ architecture: DecoderArchitecture, _ parameter: Parameter) {
        embedding = parameter(architecture.embeddingName, [architecture.vocabulary, architecture.hidden])
        layers = (0..<architecture.layers).map { index in
            LayerWeights(architecture, layer: index) { parameter(architecture.layerPrefix(index) + $0, $1) }
        }
        finalNorm = architecture.norm(parameter(architecture.prefix + "norm.weight", [architecture.hidden]).float32)
        if let valueHead = architecture.valueHead {
            head = parameter(Self.valueWeight, [1, architecture.hidden])
            headBias = valueHead.hasBias ? parameter(Self.valueBias, [1]).float32 : nil
        } else {
            head =
                architecture.tiedHead
                ? embedding : parameter(architecture.headName, [architecture.vocabulary, architecture.hidden])
            headBias = nil
        }
    }

    /// Views of parameters that lie somewhere, which must outlive them.
    init(_ architecture: DecoderArchitecture, _ parameters: any ModelParameters) {
        self.init(architecture) { name, _ in parameters.weight(name) }
    }

    /// The same weights with linear layers as generation needs them.
    func packed(as precision: GenerationPrecision, _ compute: Compute) -> DecoderWeights {
        var packed = self
        packed.layers = layers.map { $0.packed(as: precision, compute) }
        return packed
    }

    /// The same weights under adapters, where there are any.
    func adapted(by adapter: (_ layer: Int, LinearSlot) -> LowRankAdapter?) -> DecoderWeights {
        var adapted = self
        for layer in layers.indices {
            for slot in LinearSlot.allCases {
                guard let own = adapter(layer, slot), let linear = layers[layer][slot] else { continue }
                adapted.layers[layer][slot] = linear.adapted(by: own)
            }
        }
        return adapted
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
            return .float32(
                Matrix(nowhere.pointer, rows: shape.dropLast().reduce(1, *), columns: columns, stride: 0))
        }
        self = layout
    }
}

/// A layer's parameters: those of its first half, then those of its feed-forward half.
package struct LayerWeights: Sendable {
    private(set) var mixer: any MixerHalf
    private(set) var feedForward: any FeedForwardHalf

    init(_ a: DecoderArchitecture, layer: Int, _ parameter: DecoderWeights.Parameter) {
        var stored: [String: LinearWeights] = [:]
        // Fused layers share a tensor, which is asked for once.
        func linear(_ slot: LinearSlot) -> LinearWeights {
            let name = a.projections[slot], rows = a.rows(slot)
            let whole =
                stored[name]
                ?? LinearWeights(
                    weight: parameter(name + ".weight", [rows.all, a.shape(slot).inputs]),
                    bias: a.biases.has(slot) ? parameter(name + ".bias", [rows.all]).float32 : nil)
            stored[name] = whole
            return rows.own.count == rows.all ? whole : whole[rows: rows.own]
        }
        func norm(_ name: String?, _ width: Int) -> RMSNorm? {
            name.map { a.norm(parameter($0 + ".weight", [width]).float32) }
        }
        mixer =
            a.deltaNet(ofLayer: layer).map { DeltaBlock(a, $0, parameter, linear: linear, norm: norm) }
            ?? AttentionBlock(a, parameter, linear: linear, norm: norm)
        feedForward =
            a.experts(ofLayer: layer).map { ExpertBlock(a, $0, parameter, norm: norm) }
            ?? FeedForwardBlock(a, linear: linear, norm: norm)
    }

    func packed(as precision: GenerationPrecision, _ compute: Compute) -> LayerWeights {
        var packed = self
        packed.mixer = mixer.packed(as: precision, compute)
        packed.feedForward = feedForward.packed(as: precision, compute)
        return packed
    }

    /// nil where the layer has no such linear layer: experts' are none of a decoder layer's own.
    subscript(slot: LinearSlot) -> LinearWeights? {
        get {
            guard slot.isFeedForward else { return mixer[slot] }
            guard let dense = feedForward as? FeedForwardBlock else { return nil }
            return FeedForwardBlock.place(of: slot).map { dense[keyPath: $0] }
        }
        set {
            guard let newValue else { return }
            guard slot.isFeedForward else { return mixer[slot] = newValue }
            guard var dense = feedForward as? FeedForwardBlock, let place = FeedForwardBlock.place(of: slot) else {
                return
            }
            dense[keyPath: place] = newValue
            feedForward = dense
        }
    }
}
