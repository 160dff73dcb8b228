import Randomness
import Tensors

/// A prompt to be continued.
package struct GenerationRequest: Sendable {
    package let prompt: [Int32]
    package let maxTokens: Int
    package let seed: UInt64
    package let sampling: SamplingParameters
    package let stop: StopCondition

    /// `prompt` holds at least one token, all within the vocabulary; `maxTokens` is at least 1.
    package init(
        prompt: [Int32], maxTokens: Int, seed: UInt64, sampling: SamplingParameters,
        stop: StopCondition = StopCondition()
    ) {
        self.prompt = prompt
        self.maxTokens = maxTokens
        self.seed = seed
        self.sampling = sampling
        self.stop = stop
    }
}

/// What followed a prompt; the token that ended it, where one did, is the last.
package struct Continuation: Sendable {
    package internal(set) var tokens: [Int32] = []
    package internal(set) var logprobs: [Float] = []
    /// Which tokens could have been drawn for each; empty throughout where all could.
    package internal(set) var supports: [[Int32]] = []
    /// Of softmax(logits / temperature), nats.
    package internal(set) var entropies: [Float] = []
    /// nil where the limit ended it.
    package internal(set) var stopped: StopCause?

    package var isStopped: Bool { stopped != nil }
}

/// A policy whose logits are no distribution: NaN or +inf among them, or none that is finite.
package struct NoDistribution: Error, Equatable {
    package let request: Int
    /// Tokens of its continuation before the one that can't be drawn.
    package let after: Int
}

/// How sampling went.
package struct GenerationTally: Sendable {
    package internal(set) var passes = 0
    /// Tokens that were guessed before they were drawn, and those of them that were drawn.
    package internal(set) var guessed = 0
    package internal(set) var right = 0

    package init() {}

    package static func += (sum: inout GenerationTally, other: GenerationTally) {
        sum.passes += other.passes
        sum.guessed += other.guessed
        sum.right += other.right
    }
}

/// Samples continuations with a key-value cache: many at once, each distinct stretch of the prompts computed once. What
/// a request gets depends on its prompt, seed and sampling alone, not on what runs beside it. Where few sequences are
/// left, passes have room for guesses at their next tokens (SpeculativeCopies).
package struct Generator {
    private let model: LanguageModel
    package var vocabulary: Int { model.architecture.vocabulary }
    private let pass: DecodingPass
    private let ending: Ending
    private let slots: Int

    /// `stopTokens`: the model's end-of-sequence tokens; `slots`: sequences computed at a time; `text`: the bytes that
    /// a sampled token adds to its continuation's text, asked where a request has stop strings.
    package init(
        _ model: LanguageModel, stopTokens: Set<Int32>, slots: Int, precision: GenerationPrecision = .f32,
        text: @escaping @Sendable (Int32) -> [UInt8] = { _ in [] }
    ) {
        self.model = model
        pass = DecodingPass(model, precision)
        ending = Ending(endOfSequence: stopTokens, text: text)
        self.slots = max(1, slots)
    }

    /// `onToken` sees the raw logits [V] that each token was drawn from; `onFinish` gets each continuation as it ends,
    /// in any order; `step` is called between passes and may throw to stop.
    ///
    /// - Throws: `NoDistribution`, and what these throw.
    @discardableResult
    package func run(
        _ requests: [GenerationRequest],
        onToken: (_ request: Int, _ logits: UnsafeMutablePointer<Float>) throws -> Void = { _, _ in },
        step: () throws -> Void = {}, onFinish: (_ request: Int, Continuation) throws -> Void
    ) throws -> GenerationTally {
        let longest = requests.map { $0.prompt.count + $0.maxTokens }.max() ?? 0
        var pass = pass
        try pass.prepare(positions: longest)
        let prompts = requests.map(\.prompt), prefixes = PrefixStore(prompts)
        // Sequences that begin come beside those that have guesses.
        let rows = SpeculativeCopies.freeRows + min(slots, requests.count)
        let logits = Buffer(uninitialized: rows * model.architecture.vocabulary)
        var active: [Sequence] = [], next = 0, copies = SpeculativeCopies(prompts), tally = GenerationTally()
        while next < requests.count || !active.isEmpty {
            try step()
            let admitted = next..<min(requests.count, next + slots - active.count)
            prefixes.compute(admitted, model.architecture, pass)
            active += admitted.map { Sequence($0, requests[$0], prefixes, model.architecture) }
            next = admitted.upperBound
            try draw(&active, logits, pass, onToken, &tally)
            for sequence in active {
                copies.add(sequence.continuation.tokens, of: sequence.request)
                guard sequence.isFinished else { continue }
                copies.finish(sequence.request)
                try onFinish(sequence.request, sequence.continuation)
            }
            active.removeAll(where: \.isFinished)
            advance(&active, copies, pass)
        }
        return tally
    }

    /// A token for each sequence, from its hidden state, and one more for each guess that was right.
    private func draw(
        _ active: inout [Sequence], _ buffer: Buffer, _ pass: DecodingPass,
        _ onToken: (Int, UnsafeMutablePointer<Float>) throws -> Void, _ tally: inout GenerationTally
    ) throws {
        let places = active.indices.flatMap { sequence in
            active[sequence].uniforms.map { (sequence: sequence, uniform: $0) }
        }
        let width = model.architecture.hidden, hidden = Buffer(uninitialized: places.count * width)
        var next = hidden.pointer
        for sequence in active {
            next.update(from: sequence.hidden, count: sequence.hidden.count)
            next += sequence.hidden.count
        }
        let logits = buffer.matrix(rows: places.count, columns: model.architecture.vocabulary)
        pass.logits(hidden.matrix(rows: places.count), into: logits)
        let drawn = [SampledToken?](unsafeUninitializedCapacity: places.count) { [active] result, count in
            nonisolated(unsafe) let target = result
            model.compute.forEach(places.count) { row in
                let place = places[row]
                let sampled = SampledToken(
                    logits.row(row), count: logits.columns, active[place.sequence].sampling, uniform: place.uniform)
                (target.baseAddress! + row).initialize(to: sampled)
            }
            count = places.count
        }
        tally.passes += 1
        var row = 0
        for index in active.indices {
            let guesses = active[index].guesses
            var right = 0
            for place in 0...guesses.count {
                guard let token = drawn[row + place] else { throw active[index].withoutDistribution }
                try onToken(active[index].request, logits.row(row + place))
                active[index].take(token, ending)
                guard !active[index].isFinished, place < guesses.count, guesses[place] == token.token else { break }
                right += 1
            }
            active[index].judgeGuesses(right: right)
            tally.guessed += guesses.count
            tally.right += right
            row += guesses.count + 1
        }
    }

    /// The hidden states after each sequence's newest token and after each guess at what follows it.
    private func advance(_ active: inout [Sequence], _ copies: SpeculativeCopies, _ pass: DecodingPass) {
        guard !active.isEmpty else { return }
        // A state that has seen a wrong guess can't forget it.
        let canGuess = model.architecture.deltaLayers.isEmpty
        let room = canGuess ? SpeculativeCopies.freeRows / active.count - 1 : 0, width = model.architecture.hidden
        let rows = active.indices.flatMap { active[$0].nextRows(model.architecture, copies, room: room) }
        let hidden = pass.hidden(rows)
        var next = hidden.pointer
        for index in active.indices {
            let count = (active[index].guesses.count + 1) * width
            active[index].hidden = Array(UnsafeBufferPointer(start: next, count: count))
            next += count
        }
    }
}

/// What all requests of a generator end by.
private struct Ending {
    let endOfSequence: Set<Int32>
    let text: @Sendable (Int32) -> [UInt8]
}

/// A request in the making.
private struct Sequence {
    let request: Int
    let sampling: SamplingParameters
    private let maxTokens: Int
    private let promptLength: Int
    private var path: [KeyValueBlock]
    private let state: RecurrentState?
    private var random: SplitMix64
    private let stopTokens: Set<Int32>
    private var stopTexts: StopTextSearch
    /// [1 + guesses, C], after the newest token and after each guess.
    var hidden: [Float]
    private(set) var continuation = Continuation()
    /// What may follow the newest token.
    private(set) var guesses: [Int32] = []
    /// How many guesses are worth their rows: as many as were right, and more while all are.
    private var trust = 2
    private(set) var isFinished = false

    init(_ request: Int, _ wanted: GenerationRequest, _ prefixes: PrefixStore, _ a: DecoderArchitecture) {
        self.request = request
        sampling = wanted.sampling
        maxTokens = wanted.maxTokens
        promptLength = wanted.prompt.count
        stopTokens = wanted.stop.tokens
        stopTexts = StopTextSearch(wanted.stop.texts)
        let prompt = prefixes.take(request)
        (path, hidden) = (prompt.path, prompt.hidden)
        state = RecurrentState(a, after: prompt.state)
        random = SplitMix64(seed: wanted.seed)
    }

    /// The random numbers of the next token and of those that are guessed behind it.
    var uniforms: [Double] {
        var ahead = random
        return (0...guesses.count).map { _ in ahead.uniform() }
    }

    mutating func take(_ sampled: SampledToken, _ ending: Ending) {
        continuation.tokens.append(sampled.token)
        continuation.logprobs.append(sampled.logprob)
        continuation.supports.append(sampled.support)
        continuation.entropies.append(sampled.entropy)
        continuation.stopped = cause(sampled.token, ending)
        isFinished = continuation.isStopped || continuation.tokens.count >= maxTokens
        _ = random.uniform()
    }

    /// Tokens come before text, as in engines: the text of a token that stops is not looked at.
    private mutating func cause(_ token: Int32, _ ending: Ending) -> StopCause? {
        if ending.endOfSequence.contains(token) { return .endOfSequence }
        if stopTokens.contains(token) { return .token(token) }
        guard !stopTexts.isOff else { return nil }
        return stopTexts.append(ending.text(token)).map { .text($0.text, start: $0.start) }
    }

    var withoutDistribution: NoDistribution {
        NoDistribution(request: request, after: continuation.tokens.count)
    }

    mutating func judgeGuesses(right: Int) {
        guard !guesses.isEmpty else { return }
        trust = right == guesses.count ? min(2 * trust, SpeculativeCopies.freeRows) : max(1, right)
    }

    private static let blockTokens = 64

    /// The newest token, and at most `room` guesses at what follows it. What wrong guesses leave in the cache lies behind
    /// the newest token's place, where nobody looks before it is written anew.
    mutating func nextRows(_ a: DecoderArchitecture, _ copies: SpeculativeCopies, room: Int) -> [DecodingRow] {
        let generated = continuation.tokens.count - 1, position = promptLength + generated
        if generated % Self.blockTokens == 0 {
            path.append(KeyValueBlock(a, start: position, capacity: min(Self.blockTokens, maxTokens - generated)))
        }
        let block = path[path.count - 1], left = block.start + block.capacity - position - 1
        guesses = Array(copies.guess(request, most: min(room, left, trust)))
        return ([continuation.tokens[generated]] + guesses).enumerated().map {
            DecodingRow(token: $1, position: position + $0, path: path, state: state)
        }
    }
}

/// The prompts' caches: each distinct stretch computed when its first request starts, forgotten when its last has.
private final class PrefixStore {
    private struct Run {
        let tokens: Range<Int>
        let start: Int
        var waiting = 0
        var block: KeyValueBlock?
        var state: RecurrentState?
        /// [C], after the run's last token.
        var hidden: [Float] = []
    }

    private let forest: TokenForest
    private var runs: [Run]
    /// Per request, its runs, root first.
    private let paths: [[Int]]

    init(_ prompts: [[Int32]]) {
        forest = TokenForest(prompts)
        var runs = forest.runs.map { Run(tokens: $0.tokens, start: $0.prefixLength) }
        let byStart = Dictionary(uniqueKeysWithValues: forest.runs.enumerated().map { ($1.tokens.lowerBound, $0) })
        paths = forest.paths.map { $0.compactMap { byStart[$0.lowerBound] } }
        for run in paths.joined() { runs[run].waiting += 1 }
        self.runs = runs
    }

    private static let rowsPerPass = 256

    /// Everything that the requests' prompts need and is not there yet.
    func compute(_ requests: Range<Int>, _ a: DecoderArchitecture, _ pass: DecodingPass) {
        var rows: [DecodingRow] = [], ends: [(row: Int, run: Int)] = []
        for request in requests {
            for (depth, run) in paths[request].enumerated() where runs[run].block == nil {
                runs[run].block = KeyValueBlock(a, start: runs[run].start, capacity: runs[run].tokens.count)
                let parent = depth > 0 ? runs[paths[request][depth - 1]].state : nil
                runs[run].state = RecurrentState(a, after: parent)
                let path = paths[request][...depth].compactMap { runs[$0].block }, state = runs[run].state
                rows += runs[run].tokens.map {
                    DecodingRow(
                        token: forest.tokenIDs[$0], position: Int(forest.positions[$0]), path: path, state: state)
                }
                ends.append((rows.count - 1, run))
            }
        }
        for start in stride(from: 0, to: rows.count, by: Self.rowsPerPass) {
            let part = start..<min(rows.count, start + Self.rowsPerPass)
            let hidden = pass.hidden(Array(rows[part])), width = a.hidden
            for (row, run) in ends where part.contains(row) {
                runs[run].hidden = Array(
                    UnsafeBufferPointer(start: hidden.pointer + (row - part.lowerBound) * width, count: width))
            }
        }
    }

    func take(_ request: Int) -> (path: [KeyValueBlock], hidden: [Float], state: RecurrentState?) {
        let path = paths[request].compactMap { runs[$0].block },
            last = paths[request].last.map { runs[$0] }
        for run in paths[request] {
            runs[run].waiting -= 1
            if runs[run].waiting == 0 { (runs[run].block, runs[run].state) = (nil, nil) }
        }
        return (path, last?.hidden ?? [], last?.state)
    }
}
