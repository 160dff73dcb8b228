import Randomness
import Tensors

/// What of a model is trained: its parameters in one flat array, where their gradients go, and how the model follows
/// them.
package protocol Training: Sendable {
    var model: LanguageModel { get }
    /// Names and places in `parameters`.
    var layout: ParameterLayout { get }
    var parameters: Buffer { get }
    /// Gradients into a buffer laid out as `layout`.
    func gradients(into buffer: Buffer) -> DecoderGradients
    /// The parameters have moved: the model's weights follow.
    func mergeAdapters()
}

/// Every parameter of the model.
package struct FullTraining: Training {
    package let model: LanguageModel
    package var layout: ParameterLayout { model.layout }
    package var parameters: Buffer { model.parameters }

    package init(_ model: LanguageModel) { self.model = model }

    package func gradients(into buffer: Buffer) -> DecoderGradients {
        DecoderGradients(full: DecoderWeights(model.architecture, layout: model.layout, buffer: buffer))
    }

    package func mergeAdapters() {}
}

/// Low-rank adapters on some linear layers: W = W₀ + scale · B · A, A [r, I] and B [O, r] trained, W₀ frozen (LoRA,
/// arXiv 2106.09685). The model runs on the merged weights, so its passes cost what they cost without; only weight
/// gradients are those of the adapters.
package struct LowRankTraining: Training {
    package let model: LanguageModel
    package let layout: ParameterLayout
    package let parameters: Buffer
    private let scale: Float
    private let places: [Place]

    /// One adapted weight; several linear layers where they are fused.
    private struct Place: Sendable {
        let layer: Int
        /// `self_attn.q_proj`
        let name: String
        /// The model's weight [O, I], and what it stands on.
        let weight: Matrix
        let frozen: Buffer
        let a: Range<Int>
        let b: Range<Int>
    }

    /// `q_proj` of `self_attn.q_proj`, as adapters' targets are written.
    private static func isTarget(_ name: String, _ targets: [String]) -> Bool {
        targets.contains(String(name.split(separator: ".").last ?? ""))
    }

    /// A is uniform in ±1/√I (PEFT's kaiming_uniform with a = √5), B is 0: the model begins as it was.
    package init(_ model: LanguageModel, rank: Int, alpha: Double, targets: [String], seed: UInt64) {
        var layout = ParameterLayout(), places: [Place] = []
        for layer in 0..<model.architecture.layers {
            for name in model.architecture.projections.distinct where Self.isTarget(name, targets) {
                let path = model.architecture.layerPrefix(layer) + name, weight = model.matrix(path + ".weight"),
                    frozen = Buffer(uninitialized: weight.rows * weight.columns)
                frozen.pointer.update(from: weight.base, count: frozen.count)
                // As PEFT names them.
                layout.add("base_model.model." + path + ".lora_A.weight", [rank, weight.columns])
                let a = layout.parameters[layout.parameters.count - 1].range
                layout.add("base_model.model." + path + ".lora_B.weight", [weight.rows, rank])
                let b = layout.parameters[layout.parameters.count - 1].range
                places.append(Place(layer: layer, name: name, weight: weight, frozen: frozen, a: a, b: b))
            }
        }
        (self.model, self.layout, self.places) = (model, layout, places)
        scale = Float(alpha / Double(rank))
        parameters = Buffer(layout.count)
        var random = SplitMix64(seed: seed)
        for place in places {
            let bound = 1 / Double(place.a.count / rank).squareRoot()
            for index in place.a { parameters.pointer[index] = Float((2 * random.uniform() - 1) * bound) }
        }
    }

    /// Floats of the adapters, and of the copies kept of the weights they stand on.
    package static func sizes(_ architecture: DecoderArchitecture, _ rank: Int, _ targets: [String]) -> (
        trained: Int, frozen: Int
    ) {
        let endings = architecture.projections.distinct.filter { isTarget($0, targets) }.map { $0 + ".weight" }
        let adapted = ParameterLayout(architecture).parameters.filter { parameter in
            endings.contains { parameter.name.hasSuffix($0) }
        }
        return (
            adapted.reduce(0) { $0 + rank * ($1.shape[0] + $1.shape[1]) }, adapted.reduce(0) { $0 + $1.range.count }
        )
    }

    private func matrices(_ place: Place, in buffer: Buffer) -> (a: Matrix, b: Matrix) {
        let rank = layout.parameters[0].shape[0]
        return (
            Matrix(buffer.pointer + place.a.lowerBound, rows: rank, columns: place.a.count / rank),
            Matrix(buffer.pointer + place.b.lowerBound, rows: place.b.count / rank, columns: rank)
        )
    }

    package func gradients(into buffer: Buffer) -> DecoderGradients {
        var layers = [LayerGradients](repeating: LayerGradients(), count: model.architecture.layers)
        for place in places {
            let own = matrices(place, in: parameters), gradient = matrices(place, in: buffer)
            for slot in model.architecture.projections.slots(of: place.name) {
                let rows = model.architecture.rows(slot).own
                layers[place.layer][slot] = LowRankGradient(
                    a: own.a, b: own.b[rows: rows], da: gradient.a, db: gradient.b[rows: rows], scale: scale)
            }
        }
        return DecoderGradients(layers: layers)
    }

    /// Merges anew from the frozen weights, so that no rounding adds up over steps.
    package func mergeAdapters() {
        for place in places {
            let own = matrices(place, in: parameters)
            place.weight.base.update(from: place.frozen.pointer, count: place.frozen.count)
            multiply(own.b, own.a, into: place.weight, scale: scale, keep: 1)
        }
    }
}
