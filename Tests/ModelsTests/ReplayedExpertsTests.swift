import Formats
import Foundation
import Models
import Tensors
import TestSupport
import Testing

/// Routers that take the sampler's experts again.
@Suite struct ReplayedExpertsTests {
    /// 4 layers, dense the third of qwen3_moe; 2 of 5 experts.
    private func model(_ modelType: String) throws -> LanguageModel {
        let architecture = try ModelRegistry.architecture(
            try ModelConfiguration(json: Data(tinyConfiguration(modelType).utf8), path: modelType))
        let parameters = Buffer(ParameterLayout(architecture).count)
        fill(parameters, seed: 9, size: 0.4)
        return LanguageModel(architecture, parameters: parameters, threads: 2)
    }

    private func routes(seed: UInt64, rows: Int, layers: Int = 4, dense: Int? = nil) -> RoutedExperts {
        var generator = SplitMix(seed: seed), experts: [UInt16] = []
        for place in 0..<rows * layers {
            let first = UInt16(generator.next() % 5), second = (first + 1 + UInt16(generator.next() % 4)) % 5
            experts += place % layers == dense ? [0, 0] : [first, second]
        }
        return RoutedExperts(layers: layers, chosen: 2, experts: experts)
    }

    private func query(_ tokens: [Int32], _ routes: RoutedExperts?) -> SequenceQuery {
        SequenceQuery(
            tokenIDs: tokens, wanted: tokens.indices.map { $0 > 0 }, temperature: 1, routes: routes)
    }

    private func logprobs(_ model: LanguageModel, _ queries: [SequenceQuery]) throws -> [[Float]] {
        try model.score(queries).map(\.logprobs)
    }

    /// A token alone: of all pairs of experts in every layer one is what the router chooses itself, and others differ.
    @Test func theRoutersOwnChoiceReplayedChangesNothing() throws {
        let configuration = tinyConfiguration("gpt_oss").replacing(
            "\"num_hidden_layers\": 4", with: "\"num_hidden_layers\": 1")
        let architecture = try ModelRegistry.architecture(
            try ModelConfiguration(json: Data(configuration.utf8), path: "gpt_oss"))
        let parameters = Buffer(ParameterLayout(architecture).count)
        fill(parameters, seed: 9, size: 0.4)
        let model = LanguageModel(architecture, parameters: parameters, threads: 2), tokens: [Int32] = [3, 8]
        let free = try logprobs(model, [query(tokens, nil)])[0][1]
        var same = 0, pairs = 0
        for first in 0..<5 as Range<UInt16> {
            for second in 0..<5 where second != first {
                let routes = RoutedExperts(layers: 1, chosen: 2, experts: [first, UInt16(second)])
                let replayed = try logprobs(model, [query(tokens, routes)])[0][1]
                same += abs(replayed - free) < 1e-6 ? 1 : 0
                pairs += 1
            }
        }
        // In both orders.
        #expect(same == 2)
        #expect(pairs == 20)
    }

    /// All layers, or those with experts alone: engines count both ways.
    @Test func aRecordingMayLeaveDenseLayersOut() throws {
        let model = try model("qwen3_moe"), tokens: [Int32] = [3, 8, 1, 30, 7, 7]
        let whole = routes(seed: 3, rows: 5, dense: 2)
        var sparse: [UInt16] = []
        for row in 0..<5 { for layer in [0, 1, 3] { sparse += whole[row, layer] ?? [] } }
        let part = RoutedExperts(layers: 3, chosen: 2, experts: sparse)
        #expect(model.architecture.fault(of: whole) == nil)
        #expect(model.architecture.fault(of: part) == nil)
        let scores = try logprobs(model, [query(tokens, whole)])
        #expect(try logprobs(model, [query(tokens, part)]) == scores)
        #expect(try logprobs(model, [query(tokens, nil)]) != scores)
    }

    /// Rows that are missing are chosen freely: those before them stay as recorded.
    @Test func whatIsNotRecordedIsChosen() throws {
        let model = try model("gpt_oss"), tokens: [Int32] = [3, 8, 1, 30, 7, 7]
        let whole = routes(seed: 3, rows: 5),
            part = RoutedExperts(
                layers: 4, chosen: 2, experts: Array(whole.values.prefix(3 * 8)))
        let first = try logprobs(model, [query(tokens, whole)])[0],
            second = try logprobs(model, [query(tokens, part)])[0],
            free = try logprobs(model, [query(tokens, nil)])[0]
        #expect(first.prefix(4) == second.prefix(4))
        #expect(first[5] != second[5])
        #expect(free != second)
    }

    /// The same tokens by other experts are another prefix.
    @Test(arguments: ["gpt_oss", "qwen3_moe"]) func prefixesAreSharedWhereExpertsAgreeToo(_ modelType: String) throws {
        let model = try model(modelType), tokens: [Int32] = [3, 8, 1, 30, 7, 7]
        let dense = modelType == "qwen3_moe" ? 2 : nil, one = routes(seed: 3, rows: 5, dense: dense)
        var changed = one.values
        changed.replaceSubrange(3 * 8..<3 * 8 + 2, with: [changed[3 * 8 + 1], changed[3 * 8]].map { ($0 + 1) % 5 })
        let other = RoutedExperts(layers: 4, chosen: 2, experts: changed)
        let queries = [query(tokens, one), query(tokens, other), query(tokens, nil), query(tokens + [2], one)]
        let forest = TokenForest(queries)
        // Five tokens are an input, of the longer one six; three agree with the first in the second, none in the third.
        #expect(forest.tokenIDs.count == 5 + 2 + 5 + 1)
        let together = try logprobs(model, queries)
        for (index, query) in queries.enumerated() {
            let alone = try logprobs(model, [query])[0]
            #expect(firstDifference(together[index], alone, absolute: 1e-5) == nil, "\(index)")
        }
    }

    /// Which experts are taken no longer depends on the weights, so that every parameter has a derivative.
    @Test(arguments: ["gpt_oss", "qwen3_moe"]) func gradientsAreThoseOfTheReplayedLoss(_ modelType: String) throws {
        let model = try model(modelType), dense = modelType == "qwen3_moe" ? 2 : nil
        let queries = [
            query([3, 8, 1, 30, 7, 7], routes(seed: 3, rows: 5, dense: dense)),
            query([3, 8, 2, 5], routes(seed: 4, rows: 3, dense: dense)),
        ]
        let gradients = Buffer(model.layout.count)
        let weights: [[Float]] = queries.enumerated().map { index, query in
            query.tokenIDs.indices.map { $0 == 0 ? 0 : 0.5 - Float($0) * 0.3 + Float(index) }
        }
        try model.accumulateGradients(queries, into: gradients) { _ in weights }
        var generator = SplitMix(seed: 5)
        func loss(_ parameters: Buffer) throws -> Double {
            let moved = LanguageModel(model.architecture, parameters: parameters, threads: 2)
            return zip(try logprobs(moved, queries), weights).reduce(0) { sum, row in
                sum + zip(row.0, row.1).reduce(0) { $0 + Double($1.0) * Double($1.1) }
            }
        }
        let start = Buffer(model.layout.count)
        fill(start, seed: 9, size: 0.4)
        for parameter in model.layout.parameters {
            // Along a random direction within one parameter: experts that no token takes give 0 on both sides.
            let direction = parameter.range.map { _ in Float(generator.next() >> 40) / Float(1 << 24) - 0.5 }
            let exact = zip(parameter.range, direction).reduce(0.0) {
                $0 + Double(gradients.pointer[$1.0]) * Double($1.1)
            }
            let step: Float = 1e-2
            func moved(_ sign: Float) throws -> Double {
                let parameters = Buffer(model.layout.count)
                parameters.pointer.update(from: start.pointer, count: start.count)
                for (place, value) in zip(parameter.range, direction) {
                    parameters.pointer[place] += sign * step * value
                }
                return try loss(parameters)
            }
            let measured = (try moved(1) - (try moved(-1))) / Double(2 * step)
            // Central differences in float32 of numbers of size 3: noise of 1e-6/step, and third derivatives.
            #expect(isClose(exact, measured, absolute: 2e-3, relative: 2e-2), "\(parameter.name)")
        }
    }

    @Test func aStepCountsWhatExpertsTake() throws {
        let model = try model("qwen3_moe"), load = try #require(ExpertLoad(model.architecture))
        let queries = [query([3, 8, 1, 30, 7, 7], routes(seed: 3, rows: 4, dense: 2))]
        let gradients = Buffer(model.layout.count)
        let all = FullTraining(model.architecture, parameters: Buffer(model.layout.count), threads: 2)
        try model.accumulateScoreGradients(
            queries, units: [1], into: all.gradients(into: gradients), load: load
        ) { _, scores in scores.map { ScoreDerivatives(outputs: $0.outputs) } }
        #expect(load.tokens == 5)
        #expect(load.replayed == 4)
        for layer in [0, 1, 3] { #expect(load.counts[layer * 5..<layer * 5 + 5].reduce(0, +) == 10) }
        #expect(load.counts[10..<15].reduce(0, +) == 0)
        #expect(try #require(load.imbalance) >= 1)
        #expect(try ExpertLoad(self.model("qwen2").architecture) == nil)
    }

    @Test(
        arguments: [
            (RoutedExperts(layers: 2, chosen: 2, experts: [0, 1, 0, 1]), "2 layers"),
            (RoutedExperts(layers: 4, chosen: 1, experts: [0, 1, 0, 1]), "1 routed_experts of a token"),
            (RoutedExperts(layers: 4, chosen: 2, experts: [0, 1, 0, 1, 0, 1, 0, 5]), "expert 5 of token 0 in layer 3"),
            (RoutedExperts(layers: 4, chosen: 2, experts: [0, 1, 0, 1, 0, 0, 0, 1]), "zeros throughout in layer 2"),
        ])
    func anotherModelsRecordingIsNamed(_ recording: RoutedExperts, _ found: String) throws {
        let fault = try #require(try model("gpt_oss").architecture.fault(of: recording))
        #expect(fault.found.contains(found), "\(fault)")
        #expect(try model("qwen2").architecture.fault(of: recording)?.expected.contains("no experts") == true)
    }
}
