import Tensors

// The stack of layers from tokens to final hidden states, and back: the one that training and generation run.

/// What a layer keeps of its forward pass for the backward one.
struct LayerActivations {
    private(set) var mixer: MixerActivations
    private(set) var feedForward: FeedForwardActivations

    /// For any of `layers`, one at a time. `tokens`: T; `resultRows`: S, of those that the layer's result is wanted of.
    init(
        _ a: DecoderArchitecture, layers: ClosedRange<Int>, tokens: Int, resultRows: Int, input: Buffer,
        in space: any Allocator
    ) {
        mixer = MixerActivations(
            a, layers: layers, tokens: tokens, resultRows: resultRows, input: input, in: space)
        feedForward = FeedForwardActivations(a, rows: resultRows, in: space)
    }

    /// All but the layer's input.
    var arrays: [Buffer] { mixer.arrays + feedForward.arrays }

    /// The same arrays for another layer, which reads `input`.
    func reading(_ input: Buffer, hasAttention: Bool) -> LayerActivations {
        var other = self
        other.mixer = mixer.reading(input, hasAttention: hasAttention)
        return other
    }

    /// The same arrays, or the first part of them, for a layer whose result is wanted of `rows` tokens only.
    func ending(inRows rows: Int, attended: Buffer) -> LayerActivations {
        var other = self
        other.mixer = mixer.ending(inRows: rows, of: feedForward.rows, attended: attended)
        other.feedForward = feedForward.first(rows)
        return other
    }
}

/// Space that the layers of a backward pass use one after the other. All [T, ·].
struct LayerScratch {
    /// T
    let tokens: Int
    /// [T, trainingColumns]
    let feedForward: Buffer
    let dnormed: Buffer
    let dattention: Buffer
    let dquery: Buffer
    let dkey: Buffer
    let dvalue: Buffer
    let dheads: Buffer
    let delta: DeltaScratch
    /// Gradients of what a half adds to the stream before its norm, and before its scale; empty where it has none.
    let doutput: Buffer
    let dscaled: Buffer

    init(_ a: DecoderArchitecture, tokens: Int, in space: any Allocator) {
        func columns(_ count: Int) -> Buffer { space.take(tokens * count) }
        self.tokens = tokens
        feedForward = columns(a.trainingColumns)
        dnormed = columns(a.hidden)
        // Experts keep a copy of the stream's gradient there.
        dattention = columns(a.experts == nil ? a.queryColumns : max(a.queryColumns, a.hidden))
        dquery = columns(a.queryColumns)
        dkey = columns(a.keyValueColumns)
        dvalue = columns(a.keyValueColumns)
        dheads = columns(a.queryColumns)
        delta = DeltaScratch(a.deltaNet?.shape, tokens: tokens, in: space)
        let hasEndNorm = a.norms.afterAttention != nil || a.norms.afterFeedForward != nil
        doutput = hasEndNorm ? columns(a.hidden) : Buffer.none
        dscaled = a.scales.residual == 1 ? Buffer.none : columns(a.hidden)
    }
}

extension LayerWeights {
    /// Fills `saved` from its input: all of the forward pass that the backward half reads, but for what a join keeps of
    /// the layer's end.
    private func activations<Keys>(
        _ saved: LayerActivations, layer: Int, scratch: Matrix, _ batch: DecoderBatch<Keys>
    ) {
        let middle = saved.feedForward.middle.matrix(rows: saved.feedForward.rows)
        mixer.forward(saved.mixer, into: middle, scratch: scratch, layer: layer, batch)
        let recorded = batch.replayed?.choices(layer: layer, batch.results(ofLayer: layer))
        feedForward.activations(saved.feedForward, recorded, scratch: scratch, batch.compute)
    }

    /// `saved.mixer.input` [T, C] → result [S, C]. `scratch` [T, passingColumns] or more.
    func forward<Keys>(
        _ saved: LayerActivations, layer: Int, into result: Matrix, scratch: Matrix, _ batch: DecoderBatch<Keys>
    ) {
        activations(saved, layer: layer, scratch: scratch, batch)
        feedForward.result(saved.feedForward, into: result, scratch: scratch, batch.compute)
    }

    /// The same once more, for a layer that nothing was kept of but its input. Nobody reads the result.
    func restore<Keys>(
        _ saved: LayerActivations, layer: Int, _ scratch: LayerScratch, _ batch: DecoderBatch<Keys>
    ) {
        let space = scratch.feedForward.matrix(rows: batch.tokens)
        activations(saved, layer: layer, scratch: space, batch)
        guard !feedForward.end.isPlain else { return }
        feedForward.result(
            saved.feedForward, into: scratch.dnormed.matrix(rows: batch.tokens)[rows: 0..<saved.feedForward.rows],
            scratch: space, batch.compute)
    }

    /// dresult [S, C], the gradient of the layer's result → dresidual [T, C], that of its input: the same array where S
    /// is T. Leaves `saved` and `dresult` in pieces.
    func backward(
        _ saved: LayerActivations, gradients g: LayerGradients, layer: Int, dresult: Matrix, into dresidual: Matrix,
        _ scratch: LayerScratch, _ batch: DecoderBatch<ForestKeys>
    ) {
        feedForward.backward(saved.feedForward, gradients: g, dresidual: dresult, scratch, batch.compute)
        mixer.backward(
            saved.mixer, gradients: g, layer: layer, dmiddle: dresult, into: dresidual, scratch, batch)
    }
}

extension DecoderWeights {
    /// The batch's tokens → final-norm output [S, C], in `final.output`. `scratch` [T, passingColumns] or more.
    /// `afterLayer` is told when a layer's activations are there.
    func forward<Keys>(
        _ batch: DecoderBatch<Keys>, _ kept: KeptLayers, _ final: FinalNorm, scratch: Buffer,
        afterLayer: (Int) throws -> Void
    ) rethrows {
        let a = batch.architecture, t = batch.tokens, outputPositions = batch.outputPositions.count
        func input(_ layer: Int) -> Matrix {
            layer == a.layers ? final.input.matrix(rows: outputPositions) : kept.input(of: layer).matrix(rows: t)
        }
        embeddingForward(batch.tokenIDs, weight: embedding, scale: a.scales.embedding, into: input(0))
        for (index, layer) in layers.enumerated() {
            layer.forward(
                kept[index], layer: index, into: input(index + 1), scratch: scratch.matrix(rows: t), batch)
            try afterLayer(index)
        }
        rmsNormForward(
            final.input.matrix(rows: outputPositions), finalNorm, into: final.output.matrix(rows: outputPositions),
            rstd: final.rstd.pointer, batch.compute)
    }

    /// From `arrays.dhidden` [S, C] down to the embedding; gradients +=.
    func backward(_ batch: DecoderBatch<ForestKeys>, _ arrays: TrainingArrays, _ g: DecoderGradients) throws {
        let a = batch.architecture, dresidual = arrays.dresidual.matrix(rows: batch.tokens), final = arrays.final
        let outputPositions = batch.outputPositions.count, dresult = arrays.dresult.matrix(rows: outputPositions)
        rmsNormBackward(
            arrays.dhidden.matrix(rows: outputPositions), x: final.input.matrix(rows: outputPositions), finalNorm,
            rstd: final.rstd.pointer, into: dresult, dweight: g.finalNorm, batch.compute)
        for index in layers.indices.reversed() {
            let saved = arrays.layers[index], isLast = index == layers.count - 1
            if try !arrays.layers.bringBack(index) {
                layers[index].restore(saved, layer: index, arrays.scratch, batch)
            }
            layers[index].backward(
                saved, gradients: g.layers[index], layer: index, dresult: isLast ? dresult : dresidual,
                into: dresidual, arrays.scratch, batch)
        }
        guard let dembedding = g.embedding else { return }
        embeddingBackward(
            dresidual, tokenIDs: batch.tokenIDs, padding: a.paddingToken, scale: a.scales.embedding,
            dweight: dembedding)
    }
}
