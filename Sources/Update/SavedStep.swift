import Arrow
import Files
import Formats
import Foundation
import Gang
import Models
import Objectives
import Scratch
import StageSupport
import Tensors

/// A step on disk: `step-000007/`, a Hugging Face checkpoint and nothing else, because engines load every file of
/// weights that they find there, and beside it `optimizer-000007/` with moments and masters.
struct SavedStep {
    let folders: StepFolders

    var step: Int { folders.step }
    var path: String { folders.weights }

    /// Whole steps of a directory that is being made, oldest first, laid out as they are now.
    static func all(in directory: String) throws -> [SavedStep] {
        try StepFolders.whole(in: directory).map { folders in
            if try folders.holdsStateAmongWeights() { try moveStateAside(folders) }
            return SavedStep(folders: folders)
        }
    }

    /// The last step of a finished update directory.
    static func last(in directory: String) throws -> SavedStep {
        SavedStep(folders: try StepFolders.last(in: directory))
    }

    /// An earlier version's run was interrupted and is gone on with. The step is whole at any moment.
    private static func moveStateAside(_ folders: StepFolders) throws {
        let folder = try AtomicFolder(folders.optimizer), old = folders.weights + "/" + StepFolders.stateName
        guard uninterrupted({ link(old, folder.unfinished + "/" + StepFolders.stateName) }) == 0 else {
            throw IOError.fromErrno(folder.path, "move \(StepFolders.stateName) there")
        }
        try folder.commit()
        guard uninterrupted({ unlink(old) }) == 0 else { throw IOError.fromErrno(old, "remove it") }
        try syncFolder(of: old)
    }

    func statePath() throws -> String {
        guard let path = try folders.state() else {
            throw FormatError(
                file: folders.optimizer, place: "", found: "no \(StepFolders.stateName)",
                expected: "the moments and masters of \(path)")
        }
        return path
    }

    /// Whether its weights are finer than its files.
    func hasMasters() throws -> Bool {
        try SafetensorsFile(path: statePath()).header.tensors.contains { $0.name.hasPrefix("master.") }
    }

    func inputFiles() throws -> [Manifest.File] {
        // Weights that have no masters are themselves gone on from.
        let weights = try Folder.names(path).filter { $0.hasSuffix(".safetensors") && $0 != StepFolders.stateName }
        return try [.input("resume", try statePath())] + weights.map { try .input("resume", path + "/" + $0) }
    }

    // MARK: state

    /// Parameters (masters where there are any) and this rank's slice of moments and target into `state`.
    func load(_ form: any TrainedForm, into state: TrainingState) throws {
        try form.load(from: path, into: state.parameters)
        let file = try SafetensorsFile(path: try statePath())
        state.step = try savedStep(file)
        state.entropyControl = try EntropyControl(file)
        for parameter in form.layout.parameters {
            for moment in Moment.allCases { try read(moment, parameter, file, into: state.moments) }
            if file.header["master." + parameter.name] != nil {
                try file.copy(
                    "master." + parameter.name, shape: parameter.shape,
                    into: state.parameters.pointer + parameter.range.lowerBound)
            }
        }
        try loadTarget(state, form.layout, file)
    }

    private func loadTarget(_ state: TrainingState, _ layout: ParameterLayout, _ file: SafetensorsFile) throws {
        guard let first = layout.parameters.first, file.header["target." + first.name] != nil else { return }
        let target = state.slicedZeros()
        for parameter in layout.parameters { try read("target.", parameter, file, into: target) }
        state.target = target
    }

    private func savedStep(_ file: SafetensorsFile) throws -> Int {
        let found = file.header.metadata["step"]
        guard found.flatMap({ Int($0) }) == step else {
            throw FormatError(
                file: file.path, place: "metadata", found: found.map { "step \($0)" } ?? "no step number",
                expected: "step \(step), as crux-update writes it",
                remedy: "\(path) and its optimizer must be of one step; copy both again.")
        }
        return step
    }

    /// What the rank holds of a parameter's values.
    private func read(
        _ prefix: String, _ parameter: ParameterLayout.Parameter, _ file: SafetensorsFile, into target: SlicedArray
    ) throws {
        let part = parameter.range.clamped(to: target.range)
        guard !part.isEmpty else { return }
        let start = parameter.range.lowerBound
        try file.copy(
            prefix + parameter.name, shape: parameter.shape,
            elements: part.lowerBound - start..<part.upperBound - start, into: target.pointer(at: part.lowerBound))
    }

    private func read(
        _ moment: Moment, _ parameter: ParameterLayout.Parameter, _ file: SafetensorsFile, into moments: any Moments
    ) throws {
        let part = parameter.range.clamped(to: moments.held), start = parameter.range.lowerBound
        guard !part.isEmpty else { return }
        var place = part.lowerBound
        try file.forEachPiece(
            ofFloats: moment.prefix + parameter.name, shape: parameter.shape,
            elements: part.lowerBound - start..<part.upperBound - start
        ) { piece in
            try moments.write(moment, from: place, piece)
            place += piece.count / 4
        }
    }

    /// Writes checkpoint and state under other names; the state takes its own first, so that no step without it ever
    /// stands. `directory`: rank 0's; the other ranks have none and hand over what they hold. `withDelta`: write what
    /// differs from the weights that the update began with, too.
    static func save(
        _ state: TrainingState, _ form: any TrainedForm, metrics: [MetricsRow], withDelta: Bool,
        in directory: StageDirectory?
    ) throws {
        guard let directory else { return try writeState(state, form, to: nil) }
        let folders = StepFolders(directory: directory.path, step: state.step)
        let weights = try AtomicFolder(folders.weights), optimizer = try AtomicFolder(folders.optimizer)
        let delta = withDelta ? try AtomicFolder(folders.delta) : nil,
            all = [optimizer, delta, weights].compactMap(\.self)
        try directory.note(temporariesOf: all)
        try form.save(state.parameters, to: weights.unfinished)
        if let delta { try form.saveDelta(of: weights.unfinished, to: delta.unfinished) }
        try writeState(state, form, to: optimizer.unfinished + "/" + StepFolders.stateName)
        try writeMetrics(metrics, to: directory.workPath + "/metrics-\(StepFolders.name(state.step)).arrow", directory)
        // Another's weights would look whole beside this optimizer.
        if try folders.state() == nil { try weights.clear() }
        try directory.note(filesOf: all)
        for folder in all { try folder.commit() }
    }

    static func writeMetrics(_ rows: [MetricsRow], to path: String, _ directory: StageDirectory) throws {
        var table = try ArrowTableWriter(path: path, table: Tables.metrics, metadata: directory.tableMetadata())
        for row in rows { try table.append(row) }
        try table.finish()
    }

    /// A checkpoint of the target network beside the steps.
    static let targetName = "target"

    /// `directory`: as of `save`.
    static func saveTarget(
        _ target: SlicedArray, _ form: any TrainedForm, in directory: StageDirectory?, _ gang: any Gang
    ) throws {
        let target = try whole(target, gang)
        guard let directory else { return }
        let folder = try AtomicFolder(directory.file(targetName))
        try directory.note(temporariesOf: [folder])
        try form.save(target, to: folder.unfinished)
        try directory.note(filesOf: [folder])
        try folder.commit()
    }

    /// An array that rank 0 needs in one piece; on the others what they hold.
    private static func whole(_ array: SlicedArray, _ gang: any Gang) throws -> Buffer {
        guard !gang.isAlone else { return array.own }
        let whole = gang.leads ? Buffer(uninitialized: array.slices.count) : array.own
        var place = whole.pointer
        try gang.collect(array, 0..<array.slices.count) { piece in
            if let base = piece.baseAddress { place.update(from: base, count: piece.count) }
            place += piece.count
        }
        return whole
    }

    /// One tensor of the state's file.
    private struct StateTensor {
        let prefix: String
        let parameter: ParameterLayout.Parameter
        let values: Values

        enum Values {
            /// On every rank.
            case whole(Buffer)
            case sliced(SlicedArray)
            case moment(Moment)
        }

        var info: TensorInfo { TensorInfo(name: prefix + parameter.name, dtype: .f32, shape: parameter.shape) }
    }

    private static func stateTensors(_ state: TrainingState, _ form: any TrainedForm) -> [StateTensor] {
        func all(_ prefix: String, _ values: StateTensor.Values, of parameters: [ParameterLayout.Parameter])
            -> [StateTensor]
        { parameters.map { StateTensor(prefix: prefix, parameter: $0, values: values) } }
        let parameters = form.layout.parameters
        return Moment.allCases.flatMap { all($0.prefix, .moment($0), of: parameters) }
            + all("master.", .whole(state.parameters), of: parameters.filter { form.needsMaster($0.name) })
            + (state.target.map { all("target.", .sliced($0), of: parameters) } ?? [])
    }

    private static func metadata(_ state: TrainingState) -> [String: String] {
        var metadata = ["format": "pt", "step": "\(state.step)"]
        if let control = state.entropyControl { metadata.merge(control.metadata) { $1 } }
        return metadata
    }

    /// `path`: nil on ranks that hand their slices over to the one that writes.
    private static func writeState(_ state: TrainingState, _ form: any TrainedForm, to path: String?) throws {
        let tensors = stateTensors(state, form)
        let writer = try path.map { path in
            try SafetensorsWriter(
                path: path,
                header: SafetensorsHeader(
                    laying: tensors.map(\.info), metadata: metadata(state)))
        }
        for tensor in tensors {
            let range = tensor.parameter.range
            switch tensor.values {
            case .whole(let buffer):
                try writer?.append(
                    UnsafeRawBufferPointer(start: buffer.pointer + range.lowerBound, count: 4 * range.count))
            case .sliced(let array):
                try state.gang.collect(array, range) { try writer?.append(UnsafeRawBufferPointer($0)) }
            case .moment(let moment):
                try state.gang.collect(state.slices, range) {
                    try state.moments.read(moment, $0, $1)
                } body: {
                    try writer?.append($0)
                }
            }
        }
        try writer?.finish()
    }
}

/// Everything that a step changes. Float32, laid out as the model's parameters. What the optimizer alone reads is
/// shared out: each rank has a slice of it.
final class TrainingState {
    let parameters: Buffer
    let gang: any Gang
    /// Of this rank's slice.
    let moments: any Moments
    /// A slow copy of the parameters, where the objective keeps one.
    var target: SlicedArray?
    /// Where an adaptive entropy bonus stands; nil before the first step, or without one.
    var entropyControl: EntropyControl?
    /// Optimizer steps done.
    var step: Int

    init(parameters: Buffer, moments: any Moments, step: Int, gang: any Gang) {
        self.parameters = parameters
        self.moments = moments
        self.step = step
        self.gang = gang
    }

    func slicedZeros() -> SlicedArray {
        SlicedArray(slices, rank: gang.rank)
    }

    var slices: Slices { Slices(of: parameters.count, ranks: gang.size) }

    /// The target begins as what is trained.
    func beginTarget() { target = SlicedArray(copying: parameters, rank: gang.rank, ranks: gang.size) }
}

/// As a step's state carries it.
extension EntropyControl {
    private static let coefKey = "entropy_coef", previousKey = "entropy_previous"

    var metadata: [String: String] { [Self.coefKey: "\(coef)", Self.previousKey: "\(previous)"] }

    /// nil where a step was made without a bonus.
    init?(_ file: SafetensorsFile) throws {
        guard let coef = try Self.number(Self.coefKey, file), let previous = try Self.number(Self.previousKey, file)
        else { return nil }
        self.init(coef: coef, previous: previous)
    }

    private static func number(_ key: String, _ file: SafetensorsFile) throws -> Double? {
        guard let text = file.header.metadata[key] else { return nil }
        guard let number = Double(text), !number.isNaN else {
            throw FormatError(
                file: file.path, place: "metadata", found: "\(key) '\(text)'", expected: "a number",
                remedy: "Copy the step again.")
        }
        return number
    }
}
