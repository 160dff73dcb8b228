import Randomness
import Tensors

/// What of a model is trained: its parameters in one flat array, which the model reads, and where their gradients go.
package protocol Training: Sendable {
    var model: LanguageModel { get }
    /// Names and places in `parameters`.
    var layout: ParameterLayout { get }
    var parameters: Buffer { get }
    /// Gradients into a buffer laid out as `layout`.
    func gradients(into buffer: Buffer) -> DecoderGradients
}

/// Every parameter of a model, in float32.
package struct FullTraining: Training {
    package let model: LanguageModel
    package var layout: ParameterLayout { model.layout }
    package let parameters: Buffer

    /// `parameters`: laid out as the architecture's layout.
    package init(
        _ architecture: DecoderArchitecture, parameters: Buffer, threads: Int, halves: HalfProducts? = nil,
        clock: WorkClock? = nil
    ) {
        self.parameters = parameters
        model = LanguageModel(architecture, parameters: parameters, threads: threads, halves: halves, clock: clock)
    }

    package func gradients(into buffer: Buffer) -> DecoderGradients {
        DecoderGradients(full: DecoderWeights(model.architecture, FlatParameters(model.layout, buffer)))
    }
}

/// Low-rank adapters on some linear layers: W = W₀ + scale · B · A, A [r, I] and B [O, r] trained, W₀ as it lies in
/// memory (LoRA, arXiv 2106.09685). W is never made: y = x W₀ᵀ + scale · (x Aᵀ) Bᵀ.
package struct LowRankTraining: Training {
    /// The base under the adapters.
    package let model: LanguageModel
    package let layout: ParameterLayout
    package let parameters: Buffer
    private let places: [Place]

    /// One adapted weight; several linear layers where they are fused.
    private struct Place: Sendable {
        let layer: Int
        /// `self_attn.q_proj`
        let name: String
        /// `model.layers.0.self_attn.q_proj.weight`
        let weight: String
        let a: ParameterLayout.Parameter
        let b: ParameterLayout.Parameter
        let scale: Float

        /// The factors, or their gradients, in a buffer laid out as the training's parameters.
        func factors(in buffer: Buffer) -> LowRankAdapter {
            func matrix(_ parameter: ParameterLayout.Parameter) -> Matrix {
                Matrix(
                    buffer.pointer + parameter.range.lowerBound, rows: parameter.rows, columns: parameter.columns)
            }
            return LowRankAdapter(a: matrix(a), b: matrix(b), scale: scale)
        }
    }

    /// `q_proj` of `self_attn.q_proj`, as adapters' targets are written.
    private static func isTarget(_ name: String, _ targets: [String]) -> Bool {
        targets.contains(String(name.split(separator: ".").last ?? ""))
    }

    /// A is uniform in ±1/√I (PEFT's kaiming_uniform with a = √5), B is 0: the model begins as it was.
    package init(_ base: LanguageModel, rank: Int, alpha: Double, targets: [String], seed: UInt64) {
        let (layout, places) = Self.places(base.architecture, rank: rank, alpha: alpha, targets: targets)
        let parameters = Buffer(layout.count)
        (self.layout, self.places, self.parameters) = (layout, places, parameters)
        var random = SplitMix64(seed: seed)
        for place in places {
            let bound = 1 / Double(place.a.columns).squareRoot()
            for index in place.a.range { parameters.pointer[index] = Float((2 * random.uniform() - 1) * bound) }
        }
        let adapters = Self.bySlot(places, base.architecture) { place, rows in place.factors(in: parameters)[rows: rows]
        }
        model = LanguageModel(base, storage: parameters) { layer, slot in adapters[layer][slot] }
    }

    private static func places(
        _ architecture: DecoderArchitecture, rank: Int, alpha: Double, targets: [String]
    ) -> (ParameterLayout, [Place]) {
        var layout = ParameterLayout(), places: [Place] = []
        let model = ParameterLayout(architecture), names = architecture.projections.distinct
        for layer in 0..<architecture.layers {
            for name in names where isTarget(name, targets) {
                let path = architecture.layerPrefix(layer) + name
                // A layer of experts has none of that name.
                guard let weight = model[path + ".weight"] else { continue }
                // As PEFT names them.
                let a = layout.add("base_model.model." + path + ".lora_A.weight", [rank, weight.columns]),
                    b = layout.add("base_model.model." + path + ".lora_B.weight", [weight.rows, rank])
                places.append(
                    Place(
                        layer: layer, name: name, weight: weight.name, a: a, b: b, scale: Float(alpha / Double(rank))))
            }
        }
        return (layout, places)
    }

    /// Per layer, what `make` gives for the rows that a linear layer has of an adapted weight.
    private static func bySlot<Part>(
        _ places: [Place], _ architecture: DecoderArchitecture, _ make: (Place, _ rows: Range<Int>) -> Part
    ) -> [[LinearSlot: Part]] {
        var parts = [[LinearSlot: Part]](repeating: [:], count: architecture.layers)
        for place in places {
            for slot in architecture.projections.slots(of: place.name) {
                parts[place.layer][slot] = make(place, architecture.rows(slot).own)
            }
        }
        return parts
    }

    /// Floats of the adapters.
    package static func size(_ architecture: DecoderArchitecture, _ rank: Int, _ targets: [String]) -> Int {
        places(architecture, rank: rank, alpha: 1, targets: targets).0.count
    }

    package func gradients(into buffer: Buffer) -> DecoderGradients {
        let own = Self.bySlot(places, model.architecture) { place, rows in
            let gradient = place.factors(in: buffer)[rows: rows]
            return LowRankGradient(place.factors(in: parameters)[rows: rows], da: gradient.a, db: gradient.b)
        }
        return DecoderGradients(
            layers: own.map { gradients in
                gradients.reduce(into: LayerGradients()) { layer, gradient in layer[gradient.key] = gradient.value }
            })
    }

    /// The weights with the adapters in them, as files hold them: W₀ + scale · B · A element by element, the same bytes
    /// however they are cut.
    package var merged: any ParameterValues {
        MergedParameters(
            base: model.parameters,
            adapters: Dictionary(uniqueKeysWithValues: places.map { ($0.weight, $0.factors(in: parameters)) }),
            storage: parameters)
    }
}

private struct MergedParameters: ParameterValues {
    let base: any ModelParameters
    let adapters: [String: LowRankAdapter]
    /// Holds the adapters' memory.
    let storage: Buffer

    func read(_ parameter: ParameterLayout.Parameter, _ range: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        base.read(parameter, range, into: target)
        guard let adapter = adapters[parameter.name] else { return }
        forEachRow(of: range, columns: parameter.columns) { row, columns, offset in
            adapter.add(to: target + offset, row: row, columns: columns)
        }
    }
}
