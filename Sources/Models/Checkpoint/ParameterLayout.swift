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
    package let layers: [LayerWeights]
    package let finalNorm: Matrix
    /// [V, C], the embedding itself where the head is tied; of a critic [1, C].
    package let head: Matrix
    /// [1], of a critic only.
    package let headBias: Matrix?

    static let valueWeight = "score.weight", valueBias = "score.bias"
    static let embeddingName = "model.embed_tokens.weight", ownHeadName = "lm_head.weight"

    /// Where a language model's head lies.
    static func headName(_ architecture: DecoderArchitecture) -> String {
        architecture.tiedHead ? embeddingName : ownHeadName
    }

    typealias Parameter = (_ name: String, _ shape: [Int]) -> Matrix

    init(_ architecture: DecoderArchitecture, _ parameter: Parameter) {
        embedding = parameter(Self.embeddingName, [architecture.vocabulary, architecture.hidden])
        layers = (0..<architecture.layers).map { index in
            LayerWeights(architecture) { parameter("model.layers.\(index)." + $0, $1) }
        }
        finalNorm = parameter("model.norm.weight", [architecture.hidden])
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
}

extension ParameterLayout {
    package init(_ architecture: DecoderArchitecture) {
        self.init()
        let nowhere = Buffer(1)
        var layout = self
        _ = DecoderWeights(architecture) { name, shape in
            layout.add(name, shape)
            return nowhere.matrix(rows: 1)
        }
        self = layout
    }
}

package struct LayerWeights: Sendable {
    let inputNorm: Matrix
    let query: LinearWeights
    let key: LinearWeights
    let value: LinearWeights
    let output: LinearWeights
    /// [D] each, Qwen3 only.
    let queryNorm: Matrix?
    let keyNorm: Matrix?
    let feedForwardNorm: Matrix
    let gate: LinearWeights
    let up: LinearWeights
    let down: LinearWeights

    init(_ a: DecoderArchitecture, _ parameter: DecoderWeights.Parameter) {
        func linear(_ name: String, _ outputs: Int, _ inputs: Int, bias: Bool) -> LinearWeights {
            LinearWeights(
                weight: parameter(name + ".weight", [outputs, inputs]),
                bias: bias ? parameter(name + ".bias", [outputs]) : nil)
        }
        inputNorm = parameter("input_layernorm.weight", [a.hidden])
        query = linear("self_attn.q_proj", a.queryColumns, a.hidden, bias: a.queryKeyValueBias)
        key = linear("self_attn.k_proj", a.keyValueColumns, a.hidden, bias: a.queryKeyValueBias)
        value = linear("self_attn.v_proj", a.keyValueColumns, a.hidden, bias: a.queryKeyValueBias)
        output = linear("self_attn.o_proj", a.hidden, a.queryColumns, bias: a.outputBias)
        queryNorm = a.queryKeyNorm ? parameter("self_attn.q_norm.weight", [a.headWidth]) : nil
        keyNorm = a.queryKeyNorm ? parameter("self_attn.k_norm.weight", [a.headWidth]) : nil
        feedForwardNorm = parameter("post_attention_layernorm.weight", [a.hidden])
        gate = linear("mlp.gate_proj", a.feedForward, a.hidden, bias: a.feedForwardBias)
        up = linear("mlp.up_proj", a.feedForward, a.hidden, bias: a.feedForwardBias)
        down = linear("mlp.down_proj", a.hidden, a.feedForward, bias: a.feedForwardBias)
    }
}
