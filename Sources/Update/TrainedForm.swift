import Formats
import Foundation
import Models
import Optimizers
import Scratch
import StageSupport
import Tensors

/// How trained parameters lie on disk in a step directory.
protocol TrainedForm: Sendable {
    var layout: ParameterLayout { get }
    /// Writes them, in float32 as they are, into the folder.
    func save(_ parameters: Buffer, to folder: String) throws
    func load(from folder: String, into parameters: Buffer) throws
    /// True where the file's 16 bits hold less than the parameter: a float32 master is kept beside it.
    func needsMaster(_ name: String) -> Bool
}

/// A whole checkpoint, as the one that was trained.
struct CheckpointForm: TrainedForm {
    let checkpoint: Checkpoint

    var layout: ParameterLayout { checkpoint.layout }
    func save(_ parameters: Buffer, to folder: String) throws { try checkpoint.save(parameters, to: folder) }
    func needsMaster(_ name: String) -> Bool { checkpoint.isHalf(name) }

    func load(from folder: String, into parameters: Buffer) throws {
        let weights = try Checkpoint(directory: folder, as: checkpoint.architecture.valueHead == nil ? .languageModel : .critic)
        guard zip(weights.layout.parameters, layout.parameters).allSatisfy({ $0.name == $1.name && $0.shape == $1.shape }), weights.layout.count == layout.count else {
            throw StageError(.invalidInput, "\(folder): found other parameters than in \(checkpoint.directory), expected the same names and shapes")
        }
        try weights.load(into: parameters)
    }
}

/// Adapters in PEFT's format: `adapter_model.safetensors` and `adapter_config.json`; on request the merged checkpoint beside them.
struct AdapterForm: TrainedForm {
    let checkpoint: Checkpoint
    let settings: LowRankAdapters
    let training: LowRankTraining

    private static let weightsName = "adapter_model.safetensors"
    static let mergedName = "merged"

    var layout: ParameterLayout { training.layout }
    func needsMaster(_ name: String) -> Bool { false }

    func save(_ parameters: Buffer, to folder: String) throws {
        let tensors = layout.parameters.map { TensorInfo(name: $0.name, dtype: .f32, shape: $0.shape) }
        let writer = try SafetensorsWriter(path: folder + "/" + Self.weightsName, header: SafetensorsHeader(laying: tensors, metadata: ["format": "pt"]))
        for parameter in layout.parameters {
            try writer.append(UnsafeRawBufferPointer(start: parameters.pointer + parameter.range.lowerBound, count: 4 * parameter.range.count))
        }
        try writer.finish()
        try AtomicFile.write(try configuration(), to: folder + "/adapter_config.json")
        guard settings.merged else { return }
        let merged = folder + "/" + Self.mergedName
        try Folder.create(merged)
        try checkpoint.save(training.model.parameters, to: merged)
    }

    /// What peft.LoraConfig writes for such adapters.
    private func configuration() throws -> String {
        let object: [String: Any] = [
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": checkpoint.directory, "r": settings.rank, "lora_alpha": settings.alpha,
            "target_modules": settings.targets.sorted(), "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true,
            "use_rslora": false, "use_dora": false, "modules_to_save": NSNull(),
        ]
        return String(decoding: try JSONSerialization.data(withJSONObject: object, options: [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]), as: UTF8.self) + "\n"
    }

    func load(from folder: String, into parameters: Buffer) throws {
        let file = try SafetensorsFile(path: folder + "/" + Self.weightsName)
        for parameter in layout.parameters { try file.copy(parameter.name, shape: parameter.shape, into: parameters.pointer + parameter.range.lowerBound) }
    }
}

extension SafetensorsFile {
    /// A float32 tensor of this name and shape.
    func copy(_ name: String, shape: [Int], into target: UnsafeMutablePointer<Float>) throws {
        let tensor = try tensor(name)
        guard tensor.dtype == .f32, tensor.shape == shape else {
            throw FormatError(file: path, place: "tensor '\(name)'", found: "\(tensor.dtype.rawValue) \(tensor.shape)", expected: "F32 \(shape)")
        }
        var place = UnsafeMutableRawPointer(target)
        forEachPiece(of: tensor) { piece in
            if let base = piece.baseAddress { place.copyMemory(from: base, byteCount: piece.count) }
            place += piece.count
        }
    }
}
