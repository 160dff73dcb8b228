import Files
import Foundation
import Models
import Tensors
import TestSupport
import Testing

/// What PyTorch says of a family's tiny checkpoint; see fixtures/README.md.
private struct FamilyReference: Decodable {
    struct Sequence: Decodable {
        let token_ids: [Int32]
        let temperature: Float
        let derivatives: [Float]
        let logprobs: [Double]
        let entropy: [Double]
    }
    struct Gradient: Decodable {
        let norm: Double
        let projection: Double
    }
    let sequences: [Sequence]
    let gradients: [String: Gradient]

    init(_ name: String) throws {
        let data = try Data(contentsOf: URL(fileURLWithPath: fixture("families/\(name)/reference.json")))
        self = try JSONDecoder().decode(Self.self, from: data)
    }

    var queries: [SequenceQuery] {
        sequences.map { sequence in
            SequenceQuery(
                tokenIDs: sequence.token_ids, wanted: sequence.token_ids.indices.map { $0 > 0 },
                temperature: sequence.temperature)
        }
    }
}

let families: [String] = ((try? FileManager.default.contentsOfDirectory(atPath: fixture("families"))) ?? []).sorted()

@Suite struct FamilyTests {
    @Test func thereIsAFixtureForEveryFamily() throws {
        let types = try families.map {
            try ModelConfiguration(directory: fixture("families/\($0)")).string("model_type")
        }
        #expect(Set(types) == Set(ModelRegistry.modelTypes + ModelRegistry.combinedTypes))
    }

    @Test(arguments: families) func logprobsAndEntropyMatchPyTorch(_ name: String) throws {
        let reference = try FamilyReference(name), model = try model(name)
        for (sequence, scores) in zip(reference.sequences, try model.score(reference.queries)) {
            #expect(firstDifference(scores.logprobs.map { Double($0) }, sequence.logprobs, absolute: 2e-5) == nil)
            #expect(firstDifference(scores.entropy.map { Double($0) }, sequence.entropy, absolute: 2e-5) == nil)
        }
    }

    /// Tokens are computed as far as the last wanted one, and scaled as their whole sequence is.
    @Test(arguments: families) func whatIsWantedDoesNotChangeWhatIsComputed(_ name: String) throws {
        let reference = try FamilyReference(name), model = try model(name)
        for sequence in reference.sequences {
            let ends = Array(2...sequence.token_ids.count),
                queries = ends.map { end in
                    SequenceQuery(
                        tokenIDs: sequence.token_ids, wanted: sequence.token_ids.indices.map { $0 > 0 && $0 < end },
                        temperature: sequence.temperature)
                }
            for (end, scores) in zip(ends, try model.score(queries)) {
                let expected = sequence.logprobs.enumerated().map { $0.offset < end ? $0.element : 0 }
                #expect(firstDifference(scores.logprobs.map { Double($0) }, expected, absolute: 2e-5) == nil)
            }
        }
    }

    /// Dynamic NTK turns every token of a sequence by its whole length, however few of them are asked for.
    @Test func dynamicRotationsAreRefusedByWholeLengths() throws {
        let file = fixture("families/llama-untied/config.json"),
            data = try #require(FileManager.default.contents(atPath: file))
        var keys = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        for key in ["rope_parameters", "rope_scaling"] { keys[key] = ["rope_type": "dynamic", "factor": 2.0] }
        keys["max_position_embeddings"] = 8
        let architecture = try ModelRegistry.architecture(
            try ModelConfiguration(json: try JSONSerialization.data(withJSONObject: keys), path: "config.json"))
        let checkpoint = try Checkpoint(directory: fixture("families/llama-untied")),
            model = LanguageModel(architecture, parameters: try checkpoint.loadParameters(), threads: 1)
        func score(_ length: Int32, wanted: Int32) throws -> [Float] {
            let query = SequenceQuery(
                tokenIDs: (1...length).map { $0 }, wanted: (1...length).map { $0 == wanted }, temperature: 1)
            return try model.score([query])[0].logprobs
        }
        #expect(try score(8, wanted: 8).count == 8)
        let error = try #require(throws: FormatError.self) { try score(9, wanted: 3) }
        #expect(error.description.contains("a sequence of 9 tokens"))
        #expect(error.description.contains("max_position_embeddings, 8"))
    }

    @Test(arguments: families) func everyParametersGradientMatchesPyTorch(_ name: String) throws {
        let reference = try FamilyReference(name), model = try model(name), gradients = Buffer(model.layout.count)
        try model.accumulateGradients(reference.queries, into: gradients) { _ in reference.sequences.map(\.derivatives)
        }
        #expect(Set(model.layout.parameters.map(\.name)) == Set(reference.gradients.keys))
        for parameter in model.layout.parameters {
            guard let expected = reference.gradients[parameter.name] else { continue }
            let ours = parameter.range.map { Double(gradients.pointer[$0]) }
            let norm = ours.reduce(0) { $0 + $1 * $1 }.squareRoot()
            // The same fixed direction as in make_family_fixtures.py.
            let projection = ours.enumerated().reduce(0) { $0 + $1.element * sin(1.7 * Double($1.offset) + 0.3) }
            #expect(isClose(norm, expected.norm, absolute: 1e-6, relative: 1e-4), "\(parameter.name)")
            #expect(
                isClose(projection, expected.projection, absolute: 1e-6 + 1e-4 * expected.norm), "\(parameter.name)")
        }
    }

    @Test(arguments: families) func savingUntouchedParametersWritesTheSameBytes(_ name: String) throws {
        let checkpoint = try Checkpoint(directory: fixture("families/\(name)")), folder = try TemporaryDirectory()
        try checkpoint.save(try checkpoint.loadParameters(), to: folder.path)
        #expect(try contents(of: folder.path) == contents(of: checkpoint.directory))
    }

    private func model(_ name: String) throws -> LanguageModel {
        let checkpoint = try Checkpoint(directory: fixture("families/\(name)"))
        return LanguageModel(checkpoint.architecture, parameters: try checkpoint.loadParameters(), threads: 2)
    }
}
