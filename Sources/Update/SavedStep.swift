import Formats
import Foundation
import Models
import Scratch
import StageSupport
import Tensors

/// A step directory, `step-000007`: a Hugging Face checkpoint with the optimizer's state beside it. It appears under its
/// name when it is whole.
struct SavedStep {
    let path: String
    let step: Int

    static func name(_ step: Int) -> String { String(format: "step-%06d", step) }

    private var statePath: String { path + "/optimizer.safetensors" }

    /// Steps found in a directory, oldest first.
    static func all(in directory: String) throws -> [SavedStep] {
        try Folder.names(directory).filter { $0.hasPrefix("step-") }.compactMap { name in
            Int(name.dropFirst(5)).map { SavedStep(path: directory + "/" + name, step: $0) }
        }.sorted { $0.step < $1.step }
    }

    /// The last step of a finished update directory.
    static func last(in directory: String) throws -> SavedStep {
        _ = try Manifest.finished(directory, stage: "update")
        guard let last = try all(in: directory).last else {
            throw StageError(.invalidInput, "\(directory): found no step directory, expected a finished update with at least one step")
        }
        return last
    }

    func inputFiles() throws -> [Manifest.File] { [Manifest.File(path: statePath, sha256: try SHA256Digest.ofFile(statePath))] }

    // MARK: state

    /// Parameters (masters where there are any), moments and target into `state`.
    func load(_ form: any TrainedForm, into state: TrainingState) throws {
        try form.load(from: path, into: state.parameters)
        let file = try SafetensorsFile(path: statePath)
        state.step = try savedStep(file)
        for parameter in form.layout.parameters {
            try read("exp_avg.", parameter, file, into: state.expAvg)
            try read("exp_avg_sq.", parameter, file, into: state.expAvgSq)
            if file.header["master." + parameter.name] != nil { try read("master.", parameter, file, into: state.parameters) }
        }
        try loadTarget(state, form.layout, file)
    }

    private func loadTarget(_ state: TrainingState, _ layout: ParameterLayout, _ file: SafetensorsFile) throws {
        guard let first = layout.parameters.first, file.header["target." + first.name] != nil else { return }
        let target = Buffer(layout.count)
        for parameter in layout.parameters { try read("target.", parameter, file, into: target) }
        state.target = target
    }

    private func savedStep(_ file: SafetensorsFile) throws -> Int {
        guard let text = file.header.metadata["step"], let step = Int(text) else {
            throw FormatError(file: statePath, place: "metadata", found: "no step number", expected: "'step', as crux-update writes it")
        }
        return step
    }

    private func read(_ prefix: String, _ parameter: ParameterLayout.Parameter, _ file: SafetensorsFile, into target: Buffer) throws {
        try file.copy(prefix + parameter.name, shape: parameter.shape, into: target.pointer + parameter.range.lowerBound)
    }

    /// Writes checkpoint and state into a folder of another name, which then takes its own.
    static func save(_ state: TrainingState, _ form: any TrainedForm, metrics: [MetricsRow], in directory: StageDirectory) throws {
        let step = SavedStep(path: directory.file(name(state.step)), step: state.step)
        let unfinished = step.path + AtomicFile.temporarySuffix
        try recreate(unfinished)
        try form.save(state.parameters, to: unfinished)
        try SavedStep(path: unfinished, step: state.step).writeState(state, form)
        try writeMetrics(metrics, to: directory.workPath + "/metrics-\(name(state.step)).arrow", directory)
        try publish(unfinished, as: step.path)
    }

    /// A finished folder takes its own name, in place of what stood there.
    private static func publish(_ unfinished: String, as path: String) throws {
        try Folder.remove(path)
        guard uninterrupted({ rename(unfinished, path) }) == 0 else { throw IOError.fromErrno(path, "rename the finished folder") }
        try syncFolder(of: path)
    }

    static func writeMetrics(_ rows: [MetricsRow], to path: String, _ directory: StageDirectory) throws {
        var table = try ArrowTableWriter(path: path, table: Tables.metrics, metadata: directory.tableMetadata())
        for row in rows { try table.append(row) }
        try table.finish()
    }

    /// A checkpoint of the target network beside the steps.
    static let targetName = "target"

    static func saveTarget(_ target: Buffer, _ form: any TrainedForm, in directory: StageDirectory) throws {
        let path = directory.file(targetName), unfinished = path + AtomicFile.temporarySuffix
        try recreate(unfinished)
        try form.save(target, to: unfinished)
        try publish(unfinished, as: path)
    }

    private static func recreate(_ folder: String) throws {
        try Folder.remove(folder)
        try Folder.create(folder)
    }

    private func writeState(_ state: TrainingState, _ form: any TrainedForm) throws {
        let parameters = form.layout.parameters
        let halves = parameters.filter { form.needsMaster($0.name) }
        let parts =
            parameters.map { ("exp_avg.", $0, state.expAvg) } + parameters.map { ("exp_avg_sq.", $0, state.expAvgSq) }
            + halves.map { ("master.", $0, state.parameters) } + (state.target.map { target in parameters.map { ("target.", $0, target) } } ?? [])
        let tensors = parts.map { TensorInfo(name: $0.0 + $0.1.name, dtype: .f32, shape: $0.1.shape) }
        let writer = try SafetensorsWriter(path: statePath, header: SafetensorsHeader(laying: tensors, metadata: ["format": "pt", "step": "\(state.step)"]))
        for (_, parameter, buffer) in parts {
            try writer.append(UnsafeRawBufferPointer(start: buffer.pointer + parameter.range.lowerBound, count: 4 * parameter.range.count))
        }
        try writer.finish()
    }
}

/// Everything that a step changes. Float32, laid out as the model's parameters.
final class TrainingState {
    let parameters: Buffer
    /// Made when the first gradient is applied: until then they are zero, and their memory is the passes'.
    private(set) lazy var expAvg = Buffer(parameters.count)
    private(set) lazy var expAvgSq = Buffer(parameters.count)
    /// A slow copy of the parameters, where the objective keeps one.
    var target: Buffer?
    /// Optimizer steps done.
    var step: Int

    init(parameters: Buffer, step: Int) {
        self.parameters = parameters
        self.step = step
    }
}
