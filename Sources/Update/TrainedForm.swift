import Files
import Formats
import Foundation
import Models
import Optimizers
import StageSupport
import Tensors

/// How trained parameters lie on disk in a step directory.
protocol TrainedForm: Sendable {
    var layout: ParameterLayout { get }
    /// Writes them, in float32 as they are, into the folder.
    func save(_ parameters: Buffer, to folder: String) throws
    func load(from folder: String, into parameters: Buffer) throws
    /// Writes into another folder what a saved one has otherwise than the files that the update began with.
    func saveDelta(of folder: String, to delta: String) throws
    /// True where the file's 16 bits hold less than the parameter: a float32 master is kept beside it.
    func needsMaster(_ name: String) -> Bool
    /// The checkpoint that a step's folder holds, the weights that it was made of, and where those were when `resumed`
    /// (nil: the beginning) was saved; nil where it holds none.
    func written(in folder: String, after resumed: SavedStep?) throws -> (
        files: Checkpoint, masters: any ParameterValues, start: CarriedChange.Start
    )?
    /// How many tensors of what engines load are rounded.
    var roundedTensors: Int { get }
}

/// A whole checkpoint, as the one that was trained.
struct CheckpointForm: TrainedForm {
    let checkpoint: Checkpoint
    let type: WeightType
    /// The model's own.
    let parameters: Buffer

    var layout: ParameterLayout { checkpoint.layout }
    func save(_ parameters: Buffer, to folder: String) throws { try checkpoint.save(parameters, to: folder, as: type) }
    func needsMaster(_ name: String) -> Bool { type == .stored && checkpoint.isHalf(name) }
    var roundedTensors: Int { layout.parameters.count { needsMaster($0.name) } }

    func saveDelta(of folder: String, to delta: String) throws {
        try CheckpointDelta(directory: delta).write(from: checkpoint, to: folder)
    }

    private func open(_ folder: String) throws -> Checkpoint {
        try Checkpoint(directory: folder, as: checkpoint.architecture.valueHead == nil ? .languageModel : .critic)
    }

    func written(
        in folder: String, after resumed: SavedStep?
    ) throws -> (files: Checkpoint, masters: any ParameterValues, start: CarriedChange.Start)? {
        let start = try resumed.map {
            CarriedChange.Start(files: try open($0.path), masters: try SafetensorsFile(path: $0.statePath()))
        }
        return (try open(folder), parameters, start ?? CarriedChange.Start(files: checkpoint, masters: nil))
    }

    func load(from folder: String, into parameters: Buffer) throws {
        let weights = try open(folder)
        guard
            zip(weights.layout.parameters, layout.parameters).allSatisfy({ $0.name == $1.name && $0.shape == $1.shape }
            ), weights.layout.count == layout.count
        else {
            throw StageError(
                .invalidInput,
                "\(folder): found other parameters than in \(checkpoint.directory), expected the same names and shapes")
        }
        try weights.load(into: parameters)
    }
}

/// Adapters in PEFT's format: `adapter_model.safetensors` and `adapter_config.json`; on request the merged checkpoint
/// beside them.
struct AdapterForm: TrainedForm {
    let checkpoint: Checkpoint
    let settings: LowRankAdapters
    let training: LowRankTraining
    /// Of the merged checkpoint; adapters are in float32.
    let type: WeightType

    static let mergedName = "merged"

    var layout: ParameterLayout { training.layout }
    func needsMaster(_ name: String) -> Bool { false }
    var roundedTensors: Int {
        type == .stored && settings.merged ? checkpoint.layout.parameters.count { checkpoint.isHalf($0.name) } : 0
    }

    func saveDelta(of folder: String, to delta: String) throws {
        preconditionFailure("--delta is refused where adapters are trained")
    }

    /// Merged weights stand beside those that were adapted, whatever came before.
    func written(
        in folder: String, after resumed: SavedStep?
    ) throws -> (files: Checkpoint, masters: any ParameterValues, start: CarriedChange.Start)? {
        guard settings.merged else { return nil }
        let merged = try Checkpoint(directory: folder + "/" + Self.mergedName)
        return (merged, training.merged, CarriedChange.Start(files: checkpoint, masters: nil))
    }

    func save(_ parameters: Buffer, to folder: String) throws {
        let tensors = layout.parameters.map { TensorInfo(name: $0.name, dtype: .f32, shape: $0.shape) }
        let writer = try SafetensorsWriter(
            path: folder + "/" + SavedAdapters.weightsName,
            header: SafetensorsHeader(laying: tensors, metadata: ["format": "pt"]))
        for parameter in layout.parameters {
            try writer.append(
                UnsafeRawBufferPointer(
                    start: parameters.pointer + parameter.range.lowerBound, count: 4 * parameter.range.count))
        }
        try writer.finish()
        try AtomicFile.write(try configuration(), to: folder + "/" + SavedAdapters.configurationName)
        guard settings.merged else { return }
        let merged = folder + "/" + Self.mergedName
        try Folder.create(merged)
        try checkpoint.save(training.merged, to: merged, as: type)
    }

    /// What peft.LoraConfig writes for such adapters.
    private func configuration() throws -> String {
        let object: [String: Any] = [
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": checkpoint.directory,
            "r": settings.rank, "lora_alpha": settings.alpha,
            "target_modules": settings.targets.sorted(), "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": false,
            "inference_mode": true, "init_lora_weights": true,
            "use_rslora": false, "use_dora": false, "modules_to_save": NSNull(),
        ]
        return String(
            decoding: try JSONSerialization.data(
                withJSONObject: object, options: [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]), as: UTF8.self)
            + "\n"
    }

    func load(from folder: String, into parameters: Buffer) throws {
        let file = try SafetensorsFile(path: folder + "/" + SavedAdapters.weightsName)
        for parameter in layout.parameters {
            try file.copy(parameter.name, shape: parameter.shape, into: parameters.pointer + parameter.range.lowerBound)
        }
    }
}

extension SafetensorsFile {
    /// A float32 tensor of this name and shape.
    func copy(_ name: String, shape: [Int], into target: UnsafeMutablePointer<Float>) throws {
        try copy(name, shape: shape, elements: 0..<shape.reduce(1, *), into: target)
    }

    /// Some of its elements.
    func copy(
        _ name: String, shape: [Int], elements: Range<Int>, into target: UnsafeMutablePointer<Float>
    ) throws {
        var place = UnsafeMutableRawPointer(target)
        try forEachPiece(ofFloats: name, shape: shape, elements: elements) { piece in
            if let base = piece.baseAddress { place.copyMemory(from: base, byteCount: piece.count) }
            place += piece.count
        }
    }

    /// The bytes of some elements of a float32 tensor of this name and shape, in order.
    func forEachPiece(
        ofFloats name: String, shape: [Int], elements: Range<Int>, _ body: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        let tensor = try tensor(name)
        guard tensor.dtype == .f32, tensor.shape == shape else {
            throw FormatError(
                file: path, place: "tensor '\(name)'", found: "\(tensor.dtype.rawValue) \(tensor.shape)",
                expected: "F32 \(shape)")
        }
        for start in stride(from: elements.lowerBound, to: elements.upperBound, by: Self.copiedElements) {
            try withElements(start..<min(start + Self.copiedElements, elements.upperBound), of: tensor, body)
        }
    }

    /// What of a file is mapped at a time.
    private static let copiedElements = 4 << 20
}
