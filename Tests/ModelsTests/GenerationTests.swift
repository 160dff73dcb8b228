import Files
import Foundation
import Models
import TestSupport
import Tensors
import Testing

/// What transformers' generate says; see conformance/make_generation_fixture.py.
private struct Greedy: Decodable {
    let prompt: [Int32]
    let tokens: [Int32]
}

private let greedy: [String: [Greedy]] = {
    let data = FileManager.default.contents(atPath: fixture("generation.json")) ?? Data()
    return (try? JSONDecoder().decode([String: [Greedy]].self, from: data)) ?? [:]
}()

private func model(_ name: String, threads: Int = 2) throws -> LanguageModel {
    let checkpoint = try Checkpoint(directory: fixture(name))
    return LanguageModel(checkpoint.architecture, parameters: try checkpoint.loadParameters(), threads: threads)
}

private func generate(_ model: LanguageModel, _ requests: [GenerationRequest], stop: Set<Int32> = [], slots: Int = 8)
    throws -> [Continuation]
{
    var results = [Continuation?](repeating: nil, count: requests.count)
    try Generator(model, stopTokens: stop, slots: slots).run(requests) { results[$0] = $1 }
    return results.compactMap { $0 }
}

/// New tokens that a model can sample after a prompt; see `DecoderArchitecture.longSequences`.
private func room(_ model: LanguageModel, after prompt: [Int32], atMost count: Int) -> Int {
    min(count, (model.architecture.longSequences ?? .max) - prompt.count)
}

private let prompt: [Int32] = [17, 16, 19, 3, 8, 11, 5, 6, 11, 3, 8, 12, 15, 20, 18, 16, 19]

private func requests(_ count: Int, sampling: SamplingParameters = SamplingParameters(), maxTokens: Int = 40)
    -> [GenerationRequest]
{
    (0..<count).map { index in
        // Three prompts that share a stem, in groups.
        let tail: [Int32] = index / 4 % 3 == 0 ? [] : index / 4 % 3 == 1 ? [3, 8] : [3, 8, 11]
        return GenerationRequest(
            prompt: prompt + tail, maxTokens: maxTokens - index % 5, seed: UInt64(index), sampling: sampling)
    }
}

@Suite struct GenerationTests {
    @Test(arguments: greedy.keys.sorted()) func greedyDecodingIsTransformersTokenForToken(_ name: String) throws {
        let expected = try #require(greedy[name]), model = try model(name)
        let asked = expected.map {
            GenerationRequest(
                prompt: $0.prompt, maxTokens: room(model, after: $0.prompt, atMost: $0.tokens.count), seed: 0,
                sampling: SamplingParameters(temperature: 0))
        }
        let wanted = zip(expected, asked).map { Array($0.tokens.prefix($1.maxTokens)) }
        #expect(try generate(model, asked).map(\.tokens) == wanted)
    }

    /// Where long sequences are rotated by other factors, what was computed of a short one is worth nothing.
    @Test func whatWouldCrossIntoLongFactorsIsRefused() throws {
        let model = try model("families/phi3-long-tied"), limit = try #require(model.architecture.longSequences)
        func run(_ tokens: Int) throws -> [Continuation] {
            try generate(
                model,
                [GenerationRequest(prompt: [1, 2, 3], maxTokens: tokens, seed: 0, sampling: SamplingParameters())])
        }
        #expect(try run(limit - 3)[0].tokens.count == limit - 3)
        #expect(throws: FormatError.self) { try run(limit - 2) }
    }

    @Test func everyFamilyHasGreedyReferences() {
        #expect(greedy.count == families.count + 1 && families.allSatisfy { greedy["families/" + $0] != nil })
    }

    @Test(arguments: greedy.keys.sorted()) func logprobsAndEntropiesAreThoseOfAFullForward(_ name: String) throws {
        let model = try model(name), prompts = try #require(greedy[name]).map(\.prompt)
        let asked = prompts.enumerated().map {
            GenerationRequest(
                prompt: $1, maxTokens: room(model, after: $1, atMost: 30), seed: UInt64($0),
                sampling: SamplingParameters(temperature: 0.8))
        }
        let made = try generate(model, asked)
        let queries = zip(prompts, made).map { prompt, continuation in
            SequenceQuery(
                tokenIDs: prompt + continuation.tokens,
                wanted: prompt.map { _ in false } + continuation.tokens.map { _ in true }, temperature: 0.8)
        }
        for (index, scores) in try model.score(queries).enumerated() {
            let start = prompts[index].count
            #expect(firstDifference(made[index].logprobs, Array(scores.logprobs[start...]), absolute: 1e-4) == nil)
            #expect(firstDifference(made[index].entropies, Array(scores.entropy[start...]), absolute: 1e-4) == nil)
        }
    }

    /// Tokens and the last bits of their log-probabilities depend on nothing but the request: neither where keys are
    /// cached nor where states are.
    @Test(arguments: ["policy", "families/qwen3.5-untied"])
    func aRolloutDoesNotDependOnWhatRunsBesideIt(_ name: String) throws {
        let asked = requests(24), whole = try generate(try model(name), asked, stop: [0], slots: 24)
        for (threads, slots) in [(1, 24), (2, 7), (1, 1), (3, 100)] {
            let other = try generate(try model(name, threads: threads), asked, stop: [0], slots: slots)
            #expect(
                other.map(\.tokens) == whole.map(\.tokens) && other.map(\.logprobs) == whole.map(\.logprobs),
                "\(threads) threads, \(slots) slots")
        }
        let alone = try generate(try model(name), [asked[9]], stop: [0])[0]
        #expect(
            alone.tokens == whole[9].tokens && alone.logprobs == whole[9].logprobs
                && alone.entropies == whole[9].entropies)
        let reversed = try generate(try model(name), asked.reversed(), stop: [0], slots: 5)
        #expect(reversed.reversed().map(\.logprobs) == whole.map(\.logprobs))
    }

    /// Prompts that share a stem go on from its state, a prompt longer than a pass goes on in the next one, and a
    /// continuation outlives the blocks that its keys lie in. No guesses: a state can't take a wrong one back.
    @Test func statesGoOnWhereSequencesDo() throws {
        let model = try model("families/qwen3.5-untied")
        let long = (0..<300).map { Int32($0 * 7 % 31 + 3) }
        let prompts = [long, Array(long[..<200]), Array(long[..<200]) + [5, 6], [5, 6]]
        let asked = prompts.map {
            GenerationRequest(prompt: $0, maxTokens: 150, seed: 1, sampling: SamplingParameters(temperature: 0.9))
        }
        var made = [Continuation?](repeating: nil, count: asked.count)
        let tally = try Generator(model, stopTokens: [], slots: 1).run(asked) { made[$0] = $1 }
        #expect(tally.guessed == 0)
        for (prompt, continuation) in zip(prompts, made) {
            let tokens = try #require(continuation).tokens
            let scored = try model.score([
                SequenceQuery(
                    tokenIDs: prompt + tokens, wanted: prompt.map { _ in false } + tokens.map { _ in true },
                    temperature: 0.9)
            ])[0]
            #expect(
                firstDifference(
                    continuation?.logprobs ?? [], Array(scored.logprobs[prompt.count...]), absolute: 1e-4) == nil)
        }
    }

    /// A group one after the other: what a rollout has in common with an earlier one is guessed, and its passes spared.
    /// Its bytes are those of a group whose passes have no room for guesses.
    @Test(arguments: [SamplingParameters(), SamplingParameters(temperature: 0), SamplingParameters(topP: 0.9)])
    func guessesSparePassesAndChangeNothing(_ sampling: SamplingParameters) throws {
        let model = try model("policy")
        let asked = (0..<12).map {
            GenerationRequest(prompt: prompt, maxTokens: 90, seed: UInt64($0), sampling: sampling)
        }
        var made = [Continuation?](repeating: nil, count: 12), together = made
        let tally = try Generator(model, stopTokens: [0], slots: 1).run(asked) { made[$0] = $1 }
        let none = try Generator(model, stopTokens: [], slots: 12).run(asked) { _, _ in }
        try Generator(model, stopTokens: [0], slots: 12).run(asked) { together[$0] = $1 }
        let tokens = made.reduce(0) { $0 + ($1?.tokens.count ?? 0) }
        #expect(tally.right > tokens / 10 && tally.passes == tokens - tally.right && tally.right <= tally.guessed)
        #expect(none.guessed == 0, "twelve at a time leave no room")
        for (one, other) in zip(made, together) {
            #expect(one?.tokens == other?.tokens && one?.logprobs == other?.logprobs && one?.stopped == other?.stopped)
        }
    }

    @Test func rolloutsEndAtAStopTokenOrTheirLimit() throws {
        for (request, continuation) in zip(
            requests(24, maxTokens: 30), try generate(try model("policy"), requests(24, maxTokens: 30), stop: [0]))
        {
            #expect(
                continuation.isStopped == (continuation.tokens.last == 0) && !continuation.tokens.dropLast().contains(0)
            )
            #expect(continuation.isStopped || continuation.tokens.count == request.maxTokens)
        }
    }

    @Test func theLogitsHandedOutAreThoseTheTokenWasDrawnFrom() throws {
        let model = try model("policy")
        var rows: [[Float]] = [], made: Continuation?
        try Generator(model, stopTokens: [0], slots: 1).run(
            [requests(1)[0]], onToken: { rows.append(Array(UnsafeBufferPointer(start: $1, count: 32))) },
            onFinish: { made = $1 })
        let continuation = try #require(made)
        #expect(rows.count == continuation.tokens.count)
        for (row, (token, logprob)) in zip(rows, zip(continuation.tokens, continuation.logprobs)) {
            let z = row.map { Double($0) }, top = z.max() ?? 0, total = z.reduce(0) { $0 + exp($1 - top) }
            #expect(isClose(Double(logprob), z[Int(token)] - top - log(total), absolute: 1e-5))
        }
    }

    // MARK: distribution

    /// Probabilities of the next token after the prompt's first `length` tokens.
    private func distribution(_ model: LanguageModel, _ prompt: [Int32], temperature: Float) throws -> [Double] {
        try (0..<Int32(32)).map { token in
            let query = SequenceQuery(
                tokenIDs: prompt + [token], wanted: prompt.map { _ in false } + [true], temperature: temperature)
            return exp(Double(try model.score([query])[0].logprobs[prompt.count]))
        }
    }

    private func frequencies(_ model: LanguageModel, _ prompt: [Int32], _ sampling: SamplingParameters, draws: Int)
        throws -> [Double]
    {
        let asked = (0..<draws).map {
            GenerationRequest(prompt: prompt, maxTokens: 1, seed: UInt64($0) &* 0x9e37_79b9, sampling: sampling)
        }
        var counts = [Double](repeating: 0, count: 32)
        for continuation in try generate(model, asked, slots: 512) { counts[Int(continuation.tokens[0])] += 1 }
        return counts
    }

    /// Pearson's statistic over tokens expected at least five times, the others pooled, with its degrees of freedom.
    private func chiSquare(_ counts: [Double], _ probabilities: [Double]) -> (statistic: Double, freedom: Int) {
        let draws = counts.reduce(0, +), common = probabilities.indices.filter { probabilities[$0] * draws >= 5 }
        let pairs = common.map { (counts[$0], probabilities[$0] * draws) }
        let rest = (draws - pairs.reduce(0) { $0 + $1.0 }, draws - pairs.reduce(0) { $0 + $1.1 })
        let cells = rest.1 >= 1 ? pairs + [rest] : pairs
        return (cells.reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) / $1.1 }, cells.count - 1)
    }

    /// Wilson and Hilferty's normal approximation: how many deviations the statistic lies above what chance gives.
    private func deviations(_ statistic: Double, _ freedom: Int) -> Double {
        let k = Double(max(1, freedom))
        return (pow(statistic / k, 1 / 3.0) - (1 - 2 / (9 * k))) / (2 / (9 * k)).squareRoot()
    }

    @Test(arguments: [Float(1), 0.7, 1.5]) func nextTokenFrequenciesAreTheModels(_ temperature: Float) throws {
        let model = try model("policy"), prompts = [prompt, prompt + [3, 8, 11], prompt + [5, 6, 11, 3, 8, 12]]
        for prompt in prompts {
            let expected = try distribution(model, prompt, temperature: temperature)
            let counts = try frequencies(model, prompt, SamplingParameters(temperature: temperature), draws: 20_000)
            let (statistic, freedom) = chiSquare(counts, expected)
            // Seeds are fixed, so this is no lottery: four deviations would be one chance in 30,000.
            #expect(deviations(statistic, freedom) < 4, "chi-square \(statistic) with \(freedom) degrees of freedom")
            // The test can fail: a tilt of a tenth towards uniform is found out.
            let tilted = expected.map { 0.9 * $0 + 0.1 / 32 }
            let (wrong, more) = chiSquare(counts, tilted)
            #expect(deviations(wrong, more) > 4)
        }
    }

    @Test func topKAndTopPLeaveTheRenormalisedHead() throws {
        let model = try model("policy"), prompt = prompt + [5, 6, 11]
        let expected = try distribution(model, prompt, temperature: 1),
            order = expected.indices.sorted { expected[$0] > expected[$1] }
        func check(_ sampling: SamplingParameters, keeping kept: [Int]) throws {
            let counts = try frequencies(model, prompt, sampling, draws: 10_000),
                mass = kept.reduce(0) { $0 + expected[$1] }
            #expect(counts.indices.allSatisfy { counts[$0] == 0 || kept.contains($0) })
            let (statistic, freedom) = chiSquare(
                counts, expected.indices.map { kept.contains($0) ? expected[$0] / mass : 0 })
            #expect(deviations(statistic, freedom) < 4)
        }
        try check(SamplingParameters(topK: 2), keeping: Array(order.prefix(2)))
        var sum = 0.0
        let nucleus = order.prefix { token in
            defer { sum += expected[token] }
            return sum < 0.9
        }
        try check(SamplingParameters(topP: 0.9), keeping: Array(nucleus))
        try check(SamplingParameters(topK: 1), keeping: Array(order.prefix(1)))
    }
}
