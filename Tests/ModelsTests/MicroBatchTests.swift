import Foundation
import Models
import Tensors
import TestSupport
import Testing

@Suite struct MicroBatchTests {
    private let architecture: DecoderArchitecture = {
        let json = """
            {"model_type": "qwen3", "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 6, "num_attention_heads": 4,
             "num_key_value_heads": 2, "head_dim": 16}
            """
        return try! ModelRegistry.architecture(try! ModelConfiguration(json: Data(json.utf8), path: "test"))
    }()

    private var memory: TrainingMemory { TrainingMemory(architecture, head: .logprob, headRows: 50) }

    /// Groups that share a prompt, dealt out in turn, so that neighbours share nothing.
    private func groups(_ count: Int, of size: Int, prompt: Int, completion: Int, seed: UInt64 = 1) -> [BatchUnit] {
        var generator = SplitMix(seed: seed)
        func tokens(_ count: Int) -> [Int32] { (0..<count).map { _ in Int32(generator.next() % 1000) } }
        let prompts = (0..<count).map { _ in tokens(prompt) }
        func rest() -> [Int32] { tokens(completion / 2 + Int(generator.next() % UInt64(completion))) }
        return (0..<size).flatMap { _ in prompts.map { BatchUnit(sequences: [$0 + rest()], wanted: completion) } }
    }

    private func limits(_ bytes: Int, _ units: [BatchUnit], tokens: Int = BatchLimits.usualTokens) -> BatchLimits {
        BatchLimits(memory, within: bytes, wanted: units.reduce(0) { $0 + $1.wanted }, tokens: tokens)
    }

    @Test(arguments: [2, 3, 5, 20, 200]) func everyUnitIsComputedOnceWithinTheBudget(_ megabytes: Int) throws {
        let units = groups(7, of: 6, prompt: 60, completion: 50), budget = megabytes << 20
        let batches = try microBatches(units, limits(budget, units))
        #expect(batches.flatMap(\.units).sorted() == Array(units.indices))
        for batch in batches {
            let sequences = batch.units.flatMap { units[$0].sequences }
            #expect(batch.tokens == TokenForest(sequences).tokenIDs.count)
            #expect(memory.bytes(tokens: batch.tokens, wanted: batch.wanted, keptLayers: batch.keptLayers) <= budget)
        }
        #expect(batches.count == 1 || megabytes < 200)
    }

    // MARK: ranks

    private let costs = UnitCosts(token: 1, wanted: 0)

    @Test(arguments: [1, 2, 3, 4, 9, 60]) func everyUnitIsDealtToOneRank(_ ranks: Int) throws {
        let units = groups(7, of: 6, prompt: 60, completion: 50), limits = limits(5 << 20, units)
        let shares = try microBatches(units, limits, ranks: ranks, costs)
        #expect(shares.count == ranks)
        #expect(shares.joined().flatMap(\.units).sorted() == Array(units.indices))
        if ranks == 1 { #expect(shares[0] == (try microBatches(units, limits))) }
    }

    /// Four trees of the same size are not cut for two or four ranks, and each rank has as many.
    @Test(arguments: [2, 4]) func treesAreDealtWhole(_ ranks: Int) throws {
        let prompts = (0..<4).map { prompt in (0..<100).map { Int32(10 * prompt + $0 % 7) } }
        let units = (0..<20).map { index in
            BatchUnit(sequences: [prompts[index % 4] + (0..<20).map { Int32(500 + index + $0) }], wanted: 20)
        }
        let shares = try microBatches(units, limits(1 << 30, units), ranks: ranks, costs)
        let trees = shares.map { Set($0.flatMap(\.units).map { $0 % 4 }) }
        #expect(trees.map(\.count) == [Int](repeating: 4 / ranks, count: ranks))
        #expect(Set(trees.joined()).count == 4)
    }

    /// No other cutting of the line has a cheaper dearest stretch: all pairs of cuts are tried.
    @Test func theDearestStretchIsAsCheapAsCanBe() throws {
        let units = groups(5, of: 3, prompt: 40, completion: 60), limits = limits(1 << 30, units)
        let line = try microBatches(units, limits).flatMap(\.units)
        func tokens(_ part: ArraySlice<Int>) -> Int { TokenForest(part.flatMap { units[$0].sequences }).tokenIDs.count }
        var best = Int.max
        for first in 0...line.count {
            for second in first...line.count {
                best = min(best, max(tokens(line[..<first]), tokens(line[first..<second]), tokens(line[second...])))
            }
        }
        let shares = try microBatches(units, limits, ranks: 3, costs)
        #expect(shares.map { tokens($0.flatMap(\.units)[...]) }.max() == best)
    }

    @Test func groupsStayTogether() throws {
        let units = groups(4, of: 5, prompt: 100, completion: 20)
        let batches = try microBatches(units, limits(1 << 30, units, tokens: 250))
        #expect(batches.map { Set($0.units.map { $0 % 4 }).count } == [1, 1, 1, 1])
    }

    /// Where half of the group would need its prompt a second time, it is cheaper to compute some layers again.
    @Test func layersAreComputedAgainWhereCuttingCostsMore() throws {
        let units = groups(1, of: 4, prompt: 400, completion: 20),
            tokens = TokenForest(units.flatMap(\.sequences)).tokenIDs.count
        let whole = memory.bytes(tokens: tokens, wanted: 80, keptLayers: architecture.layers)
        let ample = try microBatches(units, limits(whole, units)),
            tight = try microBatches(units, limits(whole / 10 * 9, units))
        #expect(ample.map(\.keptLayers) == [architecture.layers])
        #expect(tight.count == 1 && tight[0].keptLayers < architecture.layers && tight[0].keptLayers > 1)
        // Nothing shared: a cut costs less.
        let apart = groups(40, of: 1, prompt: 40, completion: 20)
        let all = memory.bytes(
            tokens: TokenForest(apart.flatMap(\.sequences)).tokenIDs.count, wanted: 800, keptLayers: architecture.layers
        )
        #expect(
            try microBatches(apart, limits(all / 10 * 9, apart)).map(\.keptLayers) == [
                architecture.layers, architecture.layers,
            ])
    }

    @Test(arguments: 1...8 as ClosedRange<UInt64>) func noOtherCutIsCheaper(_ seed: UInt64) throws {
        let units = groups(3, of: 3, prompt: 40, completion: 30, seed: seed),
            limits = limits(3 << 20, units, tokens: 220)
        let batches = try microBatches(units, limits), order = batches.flatMap(\.units)
        var best = Double.infinity
        for cuts in 0..<1 << (units.count - 1) {
            let ends = (0..<units.count).filter { $0 == units.count - 1 || cuts >> $0 & 1 == 1 }.map { $0 + 1 }
            let sizes = zip([0] + ends, ends).map {
                TokenForest(order[$0..<$1].flatMap { units[$0].sequences }).tokenIDs.count
            }
            let costs = zip(sizes, zip([0] + ends, ends)).map { size, range in
                size > 220 && range.1 - range.0 > 1
                    ? Double.infinity
                    : limits.keptLayers(tokens: size).map { limits.cost(tokens: size, keptLayers: $0) } ?? .infinity
            }
            best = min(best, costs.reduce(0, +))
        }
        #expect(
            isClose(
                batches.reduce(0) { $0 + limits.cost(tokens: $1.tokens, keptLayers: $1.keptLayers) }, best,
                relative: 1e-12))
    }

    @Test func pairsStayPairs() throws {
        let sequences: [[Int32]] = [[1, 2, 3], [1, 2, 4, 5], [1, 2, 3], [1, 2, 6]]
        let units = [
            BatchUnit(sequences: [sequences[0], sequences[1]], wanted: 3),
            BatchUnit(sequences: [sequences[2], sequences[3]], wanted: 2),
        ]
        let batches = try microBatches(units, limits(1 << 30, units))
        #expect(batches.map(\.units) == [[0, 1]] && batches[0].tokens == TokenForest(sequences).tokenIDs.count)
    }

    /// Which sequences are long their whole lengths say, here and where they are laid out.
    @Test func longSequencesShareNothingWithOthers() throws {
        let json = try String(contentsOfFile: fixture("families/phi3-long-tied/config.json"), encoding: .utf8)
        let architecture = try ModelRegistry.architecture(
            try ModelConfiguration(json: Data(json.utf8), path: "config.json"))
        let limit = try #require(architecture.longSequences)
        let tokens = (1...Int32(limit + 4)).map { $0 }
        let queries = [(limit, limit), (limit + 1, 4), (limit + 4, 9)].map { length, wanted in
            SequenceQuery(
                tokenIDs: Array(tokens.prefix(length)), wanted: (0..<length).map { $0 == wanted - 1 }, temperature: 1)
        }
        let units = queries.map { BatchUnit(sequences: [$0.context], lengths: [$0.tokenIDs.count], wanted: 1) }
        let limits = BatchLimits(
            TrainingMemory(architecture, head: .logprob, headRows: 50), within: 1 << 30, wanted: units.count)
        let batch = try #require(try microBatches(units, limits).first)
        // Of the long ones the shorter context lies inside the other.
        #expect(batch.units.count == 3 && batch.tokens == limit - 1 + 8)
        #expect(TokenForest(queries, longSequences: limit).tokenIDs.count == batch.tokens)
    }

    @Test func aUnitThatFitsNowhereIsRefused() throws {
        let units = groups(1, of: 1, prompt: 400, completion: 20)
        #expect(throws: UnitTooLarge.self) { try microBatches(units, limits(1 << 20, units)) }
    }
}
