import Formats
import Foundation
import Models
import Tensors
import TestSupport
import Testing

/// Checkpoints as they are found in the wild: read as transformers 5.24 reads them, or refused by name.
@Suite struct CheckpointTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    /// A copy with other keys in config.json (nil removes one) and other tensors (nil removes one).
    private func copy(
        _ source: String, as name: String = "copy", keys: [String: Any?] = [:], tensors: [String: [Float]?] = [:]
    ) throws -> String {
        let target = try folder.folder(name), from = fixture(source)
        for file in try FileManager.default.contentsOfDirectory(atPath: from) where file != "README" {
            try? FileManager.default.removeItem(atPath: target + "/" + file)
            try FileManager.default.copyItem(atPath: from + "/" + file, toPath: target + "/" + file)
        }
        let data = try #require(FileManager.default.contents(atPath: target + "/config.json"))
        var object = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        for (key, value) in keys { object[key] = value ?? nil }
        try JSONSerialization.data(withJSONObject: object).write(to: URL(fileURLWithPath: target + "/config.json"))
        if !tensors.isEmpty { try rewrite(target + "/model.safetensors", tensors) }
        return target
    }

    /// New tensors are float32 and as wide as the model.
    private func rewrite(_ path: String, _ changes: [String: [Float]?]) throws {
        let file = try SafetensorsFile(path: path)
        var parts: [(TensorInfo, [UInt8])] = file.header.tensors.compactMap { tensor in
            changes[tensor.name] == nil ? (tensor, Array(file.bytes(of: tensor))) : nil
        }
        let width = file.header.tensors.first { $0.name == "model.norm.weight" }?.shape[0] ?? 1
        for (name, values) in changes.sorted(by: { $0.key < $1.key }) {
            guard let values else { continue }
            let shape = values.count == width ? [width] : [values.count / width, width]
            parts.append((TensorInfo(name: name, dtype: .f32, shape: shape), values.withUnsafeBytes { Array($0) }))
        }
        let header = SafetensorsHeader(laying: parts.map(\.0), metadata: [:])
        try FileManager.default.removeItem(atPath: path)
        let writer = try SafetensorsWriter(path: path, header: header)
        for (_, bytes) in parts { try bytes.withUnsafeBytes { try writer.append($0) } }
        try writer.finish()
    }

    private func values(_ directory: String, _ name: String) throws -> [Float] {
        let checkpoint = try Checkpoint(directory: directory), parameters = try checkpoint.loadParameters()
        let parameter = try #require(checkpoint.layout[name])
        return parameter.range.map { parameters.pointer[$0] }
    }

    private func logprobs(_ directory: String) throws -> [Float] {
        let checkpoint = try Checkpoint(directory: directory)
        let model = LanguageModel(checkpoint.architecture, parameters: try checkpoint.loadParameters(), threads: 1)
        let tokens: [Int32] = [3, 8, 11, 5, 6, 2, 9, 4]
        return try model.score([SequenceQuery(tokenIDs: tokens, wanted: tokens.indices.map { $0 > 0 }, temperature: 1)]
        )[0].logprobs
    }

    private func refusal(_ directory: String) -> String {
        do { _ = try Checkpoint(directory: directory).loadParameters() } catch { return "\(error)" }
        return ""
    }

    // MARK: ties

    private let ownHead = "cases/C01-tied-but-own-head"

    @Test func aStoredHeadThatDiffersIsAParameterOfItsOwn() throws {
        let checkpoint = try Checkpoint(directory: fixture(ownHead))
        #expect(!checkpoint.architecture.tiedHead && checkpoint.layout["lm_head.weight"] != nil)
        #expect(checkpoint.notes.contains { $0.contains("tie_word_embeddings") })
        // The same model as one whose configuration says so.
        let untied = try copy(ownHead, keys: ["tie_word_embeddings": false])
        let found = try logprobs(fixture(ownHead))
        #expect(try found == logprobs(untied))
        #expect(try Checkpoint(directory: untied).notes.isEmpty)
        // transformers 5.24 in float64; with the embedding as head they would be others by up to 7.
        let expected: [Float] = [-7.056852, -3.548859, -8.841149, -9.027344, -6.066279, -7.419182, -8.709807]
        #expect(firstDifference(Array(found.dropFirst()), expected, absolute: 2e-5) == nil)
        // Which is not the one with the embedding as its head.
        let tied = try copy(ownHead, as: "tied", tensors: ["lm_head.weight": nil])
        #expect(try logprobs(tied) != logprobs(untied))
    }

    @Test func whatIsWrittenKeepsBoth() throws {
        let checkpoint = try Checkpoint(directory: fixture(ownHead)), parameters = try checkpoint.loadParameters()
        let head = try #require(checkpoint.layout["lm_head.weight"]),
            embedding = try #require(checkpoint.layout["model.embed_tokens.weight"])
        parameters.pointer[head.range.lowerBound] = 7
        parameters.pointer[embedding.range.lowerBound] = -7
        let target = try folder.folder("saved")
        try checkpoint.save(parameters, to: target)
        #expect(try values(target, "lm_head.weight")[0] == 7)
        #expect(try values(target, "model.embed_tokens.weight")[0] == -7)
        #expect(
            try values(target, "lm_head.weight").dropFirst() == values(fixture(ownHead), "lm_head.weight").dropFirst())
    }

    @Test func anEqualHeadIsTiedAndBothCopiesAreWritten() throws {
        let embedding = try values(fixture(ownHead), "model.embed_tokens.weight")
        let equal = try copy(ownHead, tensors: ["lm_head.weight": embedding])
        let checkpoint = try Checkpoint(directory: equal)
        #expect(
            checkpoint.architecture.tiedHead && checkpoint.layout["lm_head.weight"] == nil && checkpoint.notes.isEmpty)
        let parameters = try checkpoint.loadParameters(), target = try folder.folder("saved")
        parameters.pointer[try #require(checkpoint.layout["model.embed_tokens.weight"]).range.lowerBound] = 7
        try checkpoint.save(parameters, to: target)
        #expect(try Checkpoint(directory: target).architecture.tiedHead)
        #expect(try values(target, "model.embed_tokens.weight")[0] == 7)
    }

    @Test func aHeadAloneIsTheEmbeddingToo() throws {
        let head = try values(fixture(ownHead), "lm_head.weight")
        let alone = try copy(ownHead, tensors: ["model.embed_tokens.weight": nil])
        let both = try copy(ownHead, as: "both", tensors: ["model.embed_tokens.weight": head])
        #expect(try logprobs(alone) == logprobs(both))
        #expect(try Checkpoint(directory: alone).notes.count == 1)
        let checkpoint = try Checkpoint(directory: alone), target = try folder.folder("saved")
        try checkpoint.save(try checkpoint.loadParameters(), to: target)
        #expect(try logprobs(target) == logprobs(alone))
    }

    @Test func whatIsStoredNowhereIsRefused() throws {
        let neither = try copy(ownHead, tensors: ["model.embed_tokens.weight": nil, "lm_head.weight": nil])
        #expect(refusal(neither).contains("no tensor 'model.embed_tokens.weight'"))
        let noHead = try copy(ownHead, keys: ["tie_word_embeddings": false], tensors: ["lm_head.weight": nil])
        #expect(refusal(noHead).contains("no tensor 'lm_head.weight'") && refusal(noHead).contains("random"))
        let headOnly = try copy(
            ownHead, keys: ["tie_word_embeddings": false], tensors: ["model.embed_tokens.weight": nil])
        #expect(refusal(headOnly).contains("no tensor 'model.embed_tokens.weight'"))
    }

    // MARK: files

    @Test func aSingleFileCountsAndAStaleIndexIsSaidAndLeftBehind() throws {
        let mixed = try copy("policy"), index = mixed + "/model.safetensors.index.json"
        let map = ["model.norm.weight": "model-00001-of-00002.safetensors", "x": "model-00002-of-00002.safetensors"]
        for hasShards in [false, true] {
            try JSONSerialization.data(withJSONObject: ["weight_map": map]).write(to: URL(fileURLWithPath: index))
            if hasShards {
                for name in Set(map.values) {
                    try Data("not safetensors".utf8).write(to: URL(fileURLWithPath: mixed + "/" + name))
                }
            }
            let checkpoint = try Checkpoint(directory: mixed), target = try folder.folder("saved-\(hasShards)")
            let plain = try Checkpoint(directory: fixture("policy"))
            #expect(try checkpoint.loadParameters().array == plain.loadParameters().array)
            #expect(
                checkpoint.notes.count == 1 && checkpoint.notes[0].contains("model-00001-of-00002.safetensors"),
                "\(checkpoint.notes)")
            try checkpoint.save(try checkpoint.loadParameters(), to: target)
            let written = try FileManager.default.contentsOfDirectory(atPath: target).filter {
                $0.contains("safetensors")
            }
            #expect(written == ["model.safetensors"])
        }
    }

    @Test(arguments: [
        ("../model.safetensors", "'../model.safetensors'"), ("/etc/model.safetensors", "'/etc/model.safetensors'"),
        ("a/model-1.safetensors", "'a/model-1.safetensors'"), ("..", "'..'"), ("", "''"), ("model.bin", "'model.bin'"),
        ("gone.safetensors", "no such file"),
        ("real.safetensors", "tensor 'y' in real.safetensors, which doesn't hold it"),
    ]) func anIndexIsHeldAgainstItsFiles(_ name: String, _ message: String) throws {
        let place = try copy("policy")
        try FileManager.default.moveItem(atPath: place + "/model.safetensors", toPath: place + "/real.safetensors")
        let data = try JSONSerialization.data(withJSONObject: [
            "weight_map": ["model.norm.weight": "real.safetensors", "y": name]
        ])
        try data.write(to: URL(fileURLWithPath: place + "/model.safetensors.index.json"))
        #expect(refusal(place).contains(message), "\(refusal(place))")
    }

    @Test(arguments: [Float.nan, .infinity, -.infinity]) func weightsThatAreNoNumbersAreRefused(_ value: Float) throws {
        var norm = try values(fixture(ownHead), "model.norm.weight")
        norm[5] = value
        let place = try copy(ownHead, tensors: ["model.norm.weight": norm])
        #expect(
            refusal(place).contains("tensor 'model.norm.weight'") && refusal(place).contains("at element 5"),
            "\(refusal(place))")
    }

    @Test func parametersThatNobodyReadsAreNotPassedOver() throws {
        let bias = try copy(
            ownHead, tensors: ["model.layers.0.self_attn.o_proj.bias": [Float](repeating: 0, count: 32)])
        #expect(refusal(bias).contains("tensor 'model.layers.0.self_attn.o_proj.bias'"))
        let other = try copy(ownHead, as: "other", tensors: ["mtp.norm.weight": [Float](repeating: 0, count: 32)])
        #expect(try Checkpoint(directory: other).notes.contains { $0.contains("mtp.norm.weight") })
    }

    /// Heads that predict more than the next token, as Qwen3.5's checkpoints have them: told, and written as they were.
    @Test func headsForMoreThanTheNextTokenArePassedThrough() throws {
        let own = (0..<48).map { Float($0) / 7 },
            names = ["mtp.fc.weight", "mtp.layers.0.self_attn.q_proj.weight", "mtp.norm.weight"]
        let source = try copy(
            "families/qwen3.5-untied", tensors: Dictionary(uniqueKeysWithValues: names.map { ($0, own) }))
        let checkpoint = try Checkpoint(directory: source), parameters = try checkpoint.loadParameters()
        #expect(checkpoint.notes.contains { $0.contains("3 stored tensors") && $0.contains("mtp.fc.weight") })
        #expect(checkpoint.layout.parameters.allSatisfy { !$0.name.contains("mtp") })
        for place in 0..<checkpoint.layout.count { parameters.pointer[place] += 1 }
        let target = try folder.folder("saved")
        try checkpoint.save(parameters, to: target)
        let saved = try SafetensorsFile(path: target + "/model.safetensors")
        for name in names {
            let tensor = try #require(saved.header.tensors.first { $0.name == name })
            #expect(Array(saved.bytes(of: tensor)) == own.withUnsafeBytes { Array($0) })
        }
    }

    // MARK: config.json

    private func refusal(of keys: [String: Any?]) throws -> String { refusal(try copy(ownHead, keys: keys)) }

    /// Sizes that no model has end in a message, not in a trap or in all of the machine's memory.
    @Test(arguments: [
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim",
        "max_position_embeddings",
    ]) func hostileSizesAreNamed(_ key: String) throws {
        for value in [9e18, 1e18, 1e12, 1e300, 0, -1, 1.5] as [Double] {
            let text = try refusal(of: [key: value])
            #expect(text.contains("key \(key)"), "\(key) \(value): \(text)")
        }
        // Below the bounds one by one, but not together, and not what is stored.
        for value in [2_000_000_000, 16_777_216, 65_536] as [Int] where key != "max_position_embeddings" {
            #expect(try refusal(of: [key: value]) != "")
        }
        let together: [String: Any?] = [
            "hidden_size": 16_777_216, "intermediate_size": 16_777_216, "num_hidden_layers": 65_536, "layer_types": nil,
        ]
        #expect(try refusal(of: together).contains("key hidden_size"))
    }

    @Test func everyFaultFolderIsRefusedByItsKey() throws {
        let keys = [
            "config-head_dim-1e18": "head_dim", "config-hidden-1e18": "hidden_size",
            "config-layers-1e12": "num_hidden_layers",
        ]
        for (name, key) in keys.merging(["config-vocab-9e18": "vocab_size"], uniquingKeysWith: { $1 }) {
            #expect(refusal(fixture("cases/faults/\(name)/ck")).contains("key \(key)"), "\(name)")
        }
    }

    @Test func rotaryParametersByLayerTypeAreRefused() throws {
        let nested = try Data(contentsOf: URL(fileURLWithPath: fixture("cases/C03-rope-nested/rope_parameters.json")))
        let text = try refusal(of: ["rope_parameters": try JSONSerialization.jsonObject(with: nested)])
        #expect(text.contains("key full_attention") && text.contains("one rope_parameters for all layers"), "\(text)")
    }

    @Test func twoRotarySectionsMustAgree() throws {
        let linear: [String: Any] = ["rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0]
        #expect(try refusal(of: ["rope_scaling": linear]).contains("key rope_scaling"))
        #expect(try refusal(of: ["rope_scaling": ["type": "default"]]) == "")
        #expect(try refusal(of: ["rope_scaling": [String: Any](), "rope_parameters": linear]) == "")
        #expect(try refusal(of: ["rope_scaling": ["type": "linear", "factor": 2.0], "rope_parameters": linear]) == "")
        #expect(
            try refusal(of: [
                "rope_parameters": nil, "rope_scaling": ["type": "linear", "factor": 2.0], "rope_theta": 500_000.0,
            ]) == "")
    }

    @Test(arguments: [
        ("partial_rotary_factor", "0.5"), ("rope_theta", #"{"rope_parameters": {"rope_theta": 0}}"#),
        ("hidden_act", #""gelu""#),
        ("quantization_config", #"{"quant_method": "fp8"}"#), ("num_experts", "8"), ("final_logit_softcapping", "30.0"),
        ("mlp_bias", "true"),
        ("layer_types", #"["full_attention"]"#),
        ("layer_types", #"["full_attention", "full_attention", "sliding_attention"]"#),
        ("layer_types", #"["full_attention", "full_attention", "linear_attention"]"#), ("embedding_multiplier", "12.0"),
        ("architectures", #"["Qwen2ForProcessRewardModel"]"#),
        ("rope_type", #"{"rope_parameters": {"rope_type": "longrope"}}"#),
        ("sliding_window", #"{"use_sliding_window": true, "sliding_window": 0}"#), ("tie_word_embeddings", #""yes""#),
    ]) func whatChangesTheComputationIsReadOrRefused(_ key: String, _ json: String) throws {
        let value = try JSONSerialization.jsonObject(with: Data(json.utf8), options: [.fragmentsAllowed])
        let isKey = key != "quantization_config" && value is [String: Any]
        let keys = isKey ? (value as? [String: Any] ?? [:]).mapValues { Optional($0) } : [key: value]
        let text = try refusal(of: keys)
        #expect(text.contains("key \(key)"), "\(text)")
    }

    @Test(arguments: [
        ("num_experts", "0"), ("logits_scaling", "1.0"), ("quantization_config", "null"), ("use_qk_norm", "false"),
        ("attention_dropout", "0.1"),
    ])
    func whatChangesNothingIsAccepted(_ key: String, _ json: String) throws {
        #expect(
            try refusal(of: [key: try JSONSerialization.jsonObject(with: Data(json.utf8), options: [.fragmentsAllowed])]
            ) == "")
    }

    private static let gemma = "families/gemma3-tied", mistral = "families/mistral-untied-window"

    @Test(arguments: [
        (gemma, "attn_logit_softcapping", "50.0"), (gemma, "use_bidirectional_attention", "true"),
        (gemma, "hidden_activation", #""gelu""#), (gemma, "query_pre_attn_scalar", "0"),
        (gemma, "final_logit_softcapping", "-1"), (gemma, "rope_scaling", #"{"rope_type": "linear", "factor": 2.0}"#),
        (gemma, "rope_parameters", #"{"rope_type": "linear", "factor": 2.0}"#), (gemma, "residual_multiplier", "0.5"),
        (gemma, "layer_types", #"["full_attention", "full_attention", "chunked_attention"]"#),
        (mistral, "layer_types", #"["full_attention", "sliding_attention"]"#), (mistral, "attention_bias", "true"),
        (mistral, "query_pre_attn_scalar", "24"), (mistral, "sliding_window", "0"),
    ]) func whatNewFamiliesDoNotComputeIsRefused(_ source: String, _ key: String, _ json: String) throws {
        let value = try JSONSerialization.jsonObject(with: Data(json.utf8), options: [.fragmentsAllowed])
        let text = refusal(try copy(source, keys: [key: value]))
        #expect(text.contains("key \(key)"), "\(text)")
    }

    /// The class's default counts where a key is missing, and not where it is null.
    @Test func aMissingKeyIsTheClasssDefaultAndNullIsNone() throws {
        func windows(_ keys: [String: Any?]) throws -> [Int?] {
            try Checkpoint(directory: copy(Self.mistral, keys: keys)).architecture.attention.map(\.window)
        }
        #expect(try windows([:]) == [5, 5])
        #expect(try windows(["sliding_window": nil]) == [4096, 4096])
        #expect(try windows(["sliding_window": NSNull()]) == [nil, nil])
        let gemma = try Checkpoint(directory: copy(Self.gemma, keys: ["pad_token_id": nil])).architecture
        #expect(gemma.paddingToken == 0)
        let none = try Checkpoint(directory: copy(Self.gemma, keys: ["pad_token_id": NSNull()])).architecture
        #expect(none.paddingToken == nil)
    }

    @Test func layerTypesOfLlamaAreHeldAgainstItsLayers() throws {
        let sliding = ["sliding_attention", "full_attention", "full_attention"]
        let text = refusal(try copy("families/llama-untied", keys: ["layer_types": sliding]))
        #expect(text.contains("key layer_types"), "\(text)")
    }
}
