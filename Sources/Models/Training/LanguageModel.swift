import Formats
import Tensors

/// A sequence whose sampled tokens are to be scored or trained on.
package struct SequenceQuery: Sendable {
    /// [L]
    package let tokenIDs: [Int32]
    /// [L]: the tokens whose log-probability is wanted. Never the first: nothing predicts it.
    package let wanted: [Bool]
    /// Log-probabilities are those of softmax(logits / temperature).
    package let temperature: Float
    /// [L]: what a target distribution adds to the log-odds of each token; nil is nothing.
    package let bonuses: [Float]?
    /// [L]: the tokens that could be drawn in a wanted token's place, over which alone the softmax goes; nil, of a token
    /// or of all, is the whole vocabulary.
    package let supports: [ArraySlice<Int32>?]?
    /// Experts that routers take again; nil where they choose.
    package let routes: RoutedExperts?

    package init(
        tokenIDs: [Int32], wanted: [Bool], temperature: Float, bonuses: [Float]? = nil,
        supports: [ArraySlice<Int32>?]? = nil, routes: RoutedExperts? = nil
    ) {
        self.tokenIDs = tokenIDs
        self.wanted = wanted
        self.temperature = temperature
        self.bonuses = bonuses
        self.supports = supports
        self.routes = routes
    }
}

extension SequenceQuery {
    /// The tokens that must be computed: those before the last wanted one. What stands behind predicts nothing that is
    /// asked for.
    package var context: [Int32] { Array(tokenIDs.prefix(wanted.lastIndex(of: true) ?? 0)) }
}

/// What the model says of each token of a sequence, [L], 0 where not wanted. Position t describes token t.
package struct SequenceScores: Sendable {
    /// Log-probabilities, or what else was asked for.
    package var outputs: [Float]
    /// 0 where the output doesn't need the whole distribution.
    package var entropy: [Float]
    /// Log-probabilities of the tokens, where outputs are divergences from a teacher.
    package var tokenLogprobs: [Float]?

    package var logprobs: [Float] { outputs }

    package init(outputs: [Float], entropy: [Float]) { (self.outputs, self.entropy) = (outputs, entropy) }
}

/// A loss's derivatives by a sequence's scores, [L]; what is not wanted has none.
package struct ScoreDerivatives: Sendable {
    package var outputs: [Float]
    /// nil where entropies have no part in the loss.
    package var entropy: [Float]?

    package init(outputs: [Float], entropy: [Float]? = nil) { (self.outputs, self.entropy) = (outputs, entropy) }
}

/// What a policy and its reference say of a sequence, and how they differ; arrays of length L.
package struct ComparedScores: Sendable {
    package var policy: SequenceScores
    package var reference: SequenceScores
    package var kl: [Float]
    /// 0 without a Q network.
    package var expectedQ: [Float]
    /// States in which the reference excludes a token that the policy reaches.
    package var excludingStates: Int
}

/// A causal language model: sequences in, one log-probability per token out; derivatives of a loss
/// by those log-probabilities in, parameter gradients out. It knows nothing of losses.
package final class LanguageModel: Sendable {
    package let architecture: DecoderArchitecture
    package var layout: ParameterLayout { parameters.layout }
    /// Those of the checkpoint: weights under adapters are what the adapters stand on.
    package let parameters: any ModelParameters
    let weights: DecoderWeights
    /// What adapters point at; nil without any.
    private let adapterStorage: Buffer?
    /// What a language model's head computes; a critic has another.
    var head: LogitHead { architecture.logitHead(weights.head) }
    let compute: Compute
    package var threads: Int { compute.threads }

    /// `halves`: what its passes multiply with, in place of float32; `clock`: where a benchmark wants to know what
    /// passes spend their time on.
    package init(
        _ architecture: DecoderArchitecture, _ parameters: any ModelParameters, threads: Int,
        halves: HalfProducts? = nil, clock: WorkClock? = nil
    ) {
        self.architecture = architecture
        self.parameters = parameters
        weights = DecoderWeights(architecture, parameters)
        adapterStorage = nil
        compute = Compute(threads: threads, halves: halves, clock: clock)
    }

    /// The same of parameters in float32, in one array that is laid out as the architecture's layout.
    package convenience init(
        _ architecture: DecoderArchitecture, parameters: Buffer, threads: Int, halves: HalfProducts? = nil,
        clock: WorkClock? = nil
    ) {
        self.init(
            architecture, FlatParameters(ParameterLayout(architecture), parameters), threads: threads, halves: halves,
            clock: clock)
    }

    /// `base` under adapters, which lie in `storage`.
    init(_ base: LanguageModel, storage: Buffer, adapter: (_ layer: Int, LinearSlot) -> LowRankAdapter?) {
        (architecture, parameters, compute) = (base.architecture, base.parameters, base.compute)
        weights = base.weights.adapted(by: adapter)
        adapterStorage = storage
    }

    /// Scores of all sequences; nothing is kept for a backward pass.
    package func score(
        _ sequences: [SequenceQuery], _ kind: ModelOutputKind = .logprob, in space: any Allocator = HeapAllocator()
    ) throws -> [SequenceScores] {
        try space.scoped {
            let batch = try SequenceBatch(sequences, self), asked = batch.requests(sequences.indices)
            let hidden = forward(batch.decoder, in: space),
                head = try kind.head(of: self, batch.forest, PassMemory(space: space))
            return withExtendedLifetime(hidden) {
                asked.scores(head.forward(hidden.matrix(rows: batch.forest.outputPositions.count), asked.queries))
            }
        }
    }

    /// This model's scores, the reference's, and over the whole vocabulary KL(policy || reference) and, with a Q
    /// network, Σ π Q for each wanted token's state, [L], 0 elsewhere: one forward pass of each model for all of it.
    package func compare(_ sequences: [SequenceQuery], reference: LanguageModel, q: LanguageModel?) throws
        -> [ComparedScores]
    {
        let batch = try SequenceBatch(sequences, self), own = try frozen(batch.forest),
            asked = batch.requests(sequences.indices)
        let other = try reference.frozen(batch.forest), critic = try q?.frozen(batch.forest)
        return withExtendedLifetime((own, other, critic)) {
            let answers = jointForward(
                own.head, reference: other.head, q: critic?.head, queries: asked.queries, compute)
            let kl = asked.spread(answers.map(\.kl)), expectedQ = asked.spread(answers.map(\.expectedQ))
            let policy = asked.scores(headForward(own.head, queries: asked.queries, compute)),
                frozen = asked.scores(headForward(other.head, queries: asked.queries, compute))
            let excluding = asked.spread(answers.map { $0.excluded > 0 ? 1 : 0 })
            return sequences.indices.map { row in
                ComparedScores(
                    policy: policy[row], reference: frozen[row], kl: kl[row], expectedQ: expectedQ[row],
                    excludingStates: excluding[row].count { $0 != 0 })
            }
        }
    }

    func frozen(_ forest: TokenForest, in space: any Allocator = HeapAllocator()) throws -> FrozenModel {
        FrozenModel(hidden: forward(try DecoderBatch(architecture, forest, compute), in: space), self)
    }

    /// The same with the gradient of every parameter, laid out as `layout`, and with one look at all sequences.
    @discardableResult
    package func accumulateGradients(
        _ sequences: [SequenceQuery], into gradients: Buffer, _ kind: ModelOutputKind = .logprob,
        memory: PassMemory = PassMemory(),
        derivatives: ([SequenceScores]) throws -> [[Float]]
    ) throws -> [SequenceScores] {
        let all = DecoderGradients(full: DecoderWeights(architecture, FlatParameters(layout, gradients)))
        return try accumulateGradients(sequences, units: [sequences.count], into: all, kind, memory: memory) {
            _, scores in try derivatives(scores)
        }
    }

    /// The same where derivatives are by outputs alone.
    @discardableResult
    package func accumulateGradients(
        _ sequences: [SequenceQuery], units: [Int], into g: DecoderGradients, _ kind: ModelOutputKind = .logprob,
        memory: PassMemory = PassMemory(),
        derivatives: (Range<Int>, [SequenceScores]) throws -> [[Float]]
    ) throws -> [SequenceScores] {
        try accumulateScoreGradients(sequences, units: units, into: g, kind, memory: memory) { part, scores in
            try derivatives(part, scores).map { ScoreDerivatives(outputs: $0) }
        }
    }

    /// Forward, then `derivatives(which, scores)` of each of some sequences, then backward into what of
    /// `gradients` is trained (`+=`). A shared token's derivatives are summed over the sequences that pass it. `units`:
    /// how many neighbours must be seen together, one unit after the other; the head takes as many units at a time as
    /// fit in a chunk of logits. `load`: counts what experts take.
    @discardableResult
    package func accumulateScoreGradients(
        _ sequences: [SequenceQuery], units: [Int], into g: DecoderGradients, _ kind: ModelOutputKind = .logprob,
        memory: PassMemory = PassMemory(), load: ExpertLoad? = nil,
        derivatives: (Range<Int>, [SequenceScores]) throws -> [ScoreDerivatives]
    ) throws -> [SequenceScores] {
        try memory.space.scoped {
            let batch = try SequenceBatch(sequences, self), forest = batch.forest
            let arrays = TrainingArrays(
                architecture, tokens: batch.decoder.tokens, outputPositions: forest.outputPositions.count, memory)
            try weights.forward(
                batch.decoder, arrays.layers, arrays.final, scratch: arrays.scratch.feedForward
            ) { layer in
                if let load { count(arrays.layers[layer], layer, load) }
                try arrays.layers.putAside(layer)
            }
            load?.add(tokens: forest.tokenIDs.count, replayed: batch.replayed)
            let hidden = arrays.final.output
            let scores = try learnHead(batch, units: units, hidden: hidden, arrays, g, kind, memory, derivatives)
            try weights.backward(batch.decoder, arrays, g)
            return scores
        }
    }

    /// The experts that a layer's tokens took.
    private func count(_ saved: LayerActivations, _ layer: Int, _ load: ExpertLoad) {
        guard let mixture = architecture.experts(ofLayer: layer) else { return }
        load.add(layer: layer, saved.feedForward.routes(mixture).chosen)
    }

    /// The head's forward and backward half, part by part: derivatives by its hidden states land in `arrays.dhidden`.
    private func learnHead(
        _ batch: SequenceBatch, units: [Int], hidden: Buffer, _ arrays: TrainingArrays, _ g: DecoderGradients,
        _ kind: ModelOutputKind, _ memory: PassMemory,
        _ derivatives: (Range<Int>, [SequenceScores]) throws -> [ScoreDerivatives]
    ) throws -> [SequenceScores] {
        let rows = batch.forest.outputPositions.count, head = try kind.head(of: self, batch.forest, memory)
        var scores: [SequenceScores] = []
        for part in batch.parts(units: units, limit: memory.headRows(vocabulary: weights.head.rows)) {
            let asked = batch.requests(part)
            try head.learn(
                hidden.matrix(rows: rows), asked.queries, dhidden: arrays.dhidden.matrix(rows: rows), gradients: g
            ) { answers in
                scores += asked.scores(answers)
                return asked.gather(try derivatives(part, Array(scores[part])))
            }
        }
        return scores
    }

    /// Final-norm output [S, C] of the tokens that the head reads; nothing is kept.
    private func forward(_ batch: DecoderBatch<ForestKeys>, in space: any Allocator) -> Buffer {
        let outputPositions = batch.outputPositions.count,
            final = FinalNorm(architecture, tokens: outputPositions, in: space)
        space.scoped {
            let arrays = PassingArrays(architecture, tokens: batch.tokens, outputPositions: outputPositions, in: space)
            weights.forward(batch, arrays.layers, final, scratch: arrays.scratch) { _ in }
        }
        return final.output
    }
}

/// Sequences, as far as they must be computed, laid out as a forest.
private struct SequenceBatch {
    let forest: TokenForest
    let decoder: DecoderBatch<ForestKeys>
    private let sequences: [SequenceQuery]

    init(_ sequences: [SequenceQuery], _ model: LanguageModel) throws {
        self.sequences = sequences
        forest = TokenForest(sequences, longSequences: model.architecture.longSequences)
        let recordings = sequences.map(\.routes), hasRecordings = recordings.contains { $0 != nil }
        decoder = try DecoderBatch(
            model.architecture, forest, recordings: hasRecordings ? recordings : nil, model.compute)
    }

    /// Tokens whose experts were recorded.
    var replayed: Int {
        zip(forest.origins, forest.positions).count { sequences[Int($0)].routes?.row(of: Int($1)) != nil }
    }

    func requests(_ part: Range<Int>) -> HeadRequests { HeadRequests(sequences, part, forest) }

    /// Neighbouring units together while what they want stays below `limit` tokens.
    func parts(units: [Int], limit: Int) -> [Range<Int>] {
        var parts: [Range<Int>] = [], start = 0, end = 0, wanted = 0
        for unit in units {
            let more = sequences[end..<end + unit].reduce(0) { $0 + $1.wanted.count { $0 } }
            if end > start, wanted + more > limit {
                parts.append(start..<end)
                (start, wanted) = (end, 0)
            }
            end += unit
            wanted += more
        }
        if end > start { parts.append(start..<end) }
        return parts
    }
}

/// What some of a forest's sequences ask of the head: one query per distinct (place, token, temperature, bonus).
private struct HeadRequests {
    private(set) var queries: [HeadRequest] = []
    /// Per sequence, the wanted positions with the index of their query.
    private var asked: [[(position: Int, query: Int)]] = []
    private let lengths: [Int]

    private struct Key: Hashable {
        /// Where the final state of the token before lies.
        let row: Int
        let target: Int32
        let temperature: Float
        let bonus: Float
        let support: ArraySlice<Int32>?
    }

    init(_ sequences: [SequenceQuery], _ part: Range<Int>, _ forest: TokenForest) {
        lengths = sequences[part].map(\.tokenIDs.count)
        var known: [Key: Int] = [:]
        let places = forest.outputPositions.places
        for index in part {
            let tokens = forest.tokens(of: index), sequence = sequences[index]
            asked.append(
                sequence.wanted.indices.dropFirst().compactMap { position in
                    guard sequence.wanted[position] else { return nil }
                    return (position, ask(places[tokens[position - 1]], sequence, at: position, &known))
                })
        }
    }

    private mutating func ask(_ row: Int, _ sequence: SequenceQuery, at position: Int, _ known: inout [Key: Int]) -> Int
    {
        let support = sequence.supports?[position]
        let key = Key(
            row: row, target: sequence.tokenIDs[position], temperature: sequence.temperature,
            bonus: sequence.bonuses?[position] ?? 0, support: support)
        if let index = known[key] { return index }
        known[key] = queries.count
        queries.append(
            HeadRequest(
                row: row, target: key.target, inverseTemperature: 1 / sequence.temperature, bonus: key.bonus,
                support: support))
        return queries.count - 1
    }

    func scores(_ answers: [HeadAnswer]) -> [SequenceScores] {
        var scores = zip(spread(answers.map(\.output)), spread(answers.map(\.entropy))).map {
            SequenceScores(outputs: $0, entropy: $1)
        }
        guard answers.contains(where: { $0.logprob != nil }) else { return scores }
        for (index, logprobs) in spread(answers.map { $0.logprob ?? 0 }).enumerated() {
            scores[index].tokenLogprobs = logprobs
        }
        return scores
    }

    /// One number per query → per sequence, [L], 0 where nothing was asked.
    func spread(_ values: [Float]) -> [[Float]] {
        zip(asked, lengths).map { asked, length in
            var row = [Float](repeating: 0, count: length)
            for (position, query) in asked { row[position] = values[query] }
            return row
        }
    }

    /// Derivatives per sequence → per query, summed in Double in sequence order.
    func gather(_ derivatives: [ScoreDerivatives]) -> [HeadDerivative] {
        let outputs = sums(derivatives.map(\.outputs)), entropies = sums(derivatives.map { $0.entropy ?? [] })
        return zip(outputs, entropies).map { HeadDerivative(output: $0, entropy: $1) }
    }

    /// Per sequence → per query; a sequence without numbers adds none.
    private func sums(_ values: [[Float]]) -> [Float] {
        var sums = [Double](repeating: 0, count: queries.count)
        for (asked, values) in zip(asked, values) where !values.isEmpty {
            for (position, query) in asked { sums[query] += Double(values[position]) }
        }
        return sums.map { Float($0) }
    }
}
