import Formats
import Models
import Tensors

/// What the written files carry of a run's steps: 16-bit weights follow only where a change reaches half a unit in
/// their last place, the rest lives in the masters alone.
struct CarriedChange: Sendable {
    private(set) var weights = 0
    private(set) var changedWeights = 0
    /// Of files of one type before and after; 0 where the type is another.
    private(set) var comparedBytes = 0
    private(set) var changedBytes = 0
    /// Σ of the masters' change squared, of the files' change times it, and of what the files lack squared.
    private var moved = 0.0
    private var followed = 0.0
    private var lacking = 0.0

    var weightsShare: Double { Double(changedWeights) / Double(max(1, weights)) }
    var bytesShare: Double? { comparedBytes == 0 ? nil : Double(changedBytes) / Double(comparedBytes) }
    /// Projection of the files' change on the masters' change; nil where nothing has moved.
    var stepShare: Double? { moved == 0 ? nil : followed / moved }
    /// |masters - files| / |masters' change|.
    var lackingShare: Double? { moved == 0 ? nil : (lacking / moved).squareRoot() }
    var isWhole: Bool { lacking == 0 }

    /// Weights where a run began.
    struct Start {
        let files: Checkpoint
        /// Where they were kept; else the files are the masters.
        let masters: SafetensorsFile?
    }

    /// `masters`: the weights now; `files`: as they were written.
    init(from start: Start, to files: Checkpoint, masters: any ParameterValues, _ compute: Compute) throws {
        for parameter in files.layout.parameters {
            guard let now = files.stored(parameter.name) else { continue }
            let places = ParameterPlaces(
                before: start.files.stored(parameter.name),
                master: start.masters.flatMap { masters in
                    masters.header["master." + parameter.name].map { (masters, $0) }
                }, now: now, parameter: parameter, masters: masters)
            add(places.compare(count: parameter.range.count, compute))
        }
    }

    fileprivate init() {}

    private mutating func add(_ next: CarriedChange) {
        weights += next.weights
        changedWeights += next.changedWeights
        comparedBytes += next.comparedBytes
        changedBytes += next.changedBytes
        moved += next.moved
        followed += next.followed
        lacking += next.lacking
    }

    fileprivate mutating func add(before: Float, master: Float, now: Float, parameter: Float) {
        let change = Double(parameter) - Double(master), lack = Double(parameter) - Double(now)
        weights += 1
        changedWeights += now == before ? 0 : 1
        moved += change * change
        followed += change * (Double(now) - Double(before))
        lacking += lack * lack
    }

    fileprivate mutating func add(_ before: UnsafeRawBufferPointer, _ now: UnsafeRawBufferPointer) {
        comparedBytes += now.count
        for (a, b) in zip(before, now) { changedBytes += a == b ? 0 : 1 }
    }

    /// Pieces of a parameter, summed in order: the same for any thread count.
    fileprivate static func sum(_ parts: [CarriedChange]) -> CarriedChange {
        parts.reduce(into: CarriedChange()) { $0.add($1) }
    }
}

/// Where one parameter's values lie, before and after. A value head that no file held before was 0.
private struct ParameterPlaces: Sendable {
    typealias Place = (file: SafetensorsFile, tensor: TensorInfo)

    let before: Place?
    let master: Place?
    let now: Place
    let parameter: ParameterLayout.Parameter
    /// The weights now.
    let masters: any ParameterValues

    private static let piece = 1 << 18

    func compare(count: Int, _ compute: Compute) -> CarriedChange {
        let starts = Array(stride(from: 0, to: count, by: Self.piece))
        var parts = [CarriedChange](repeating: CarriedChange(), count: starts.count)
        parts.withUnsafeMutableBufferPointer { parts in
            nonisolated(unsafe) let parts = parts
            compute.forEach(starts.count) { index in
                parts[index] = compare(starts[index]..<min(starts[index] + Self.piece, count))
            }
        }
        return CarriedChange.sum(parts)
    }

    private func compare(_ range: Range<Int>) -> CarriedChange {
        var change = CarriedChange()
        let old = values(before, range) ?? [Float](repeating: 0, count: range.count),
            kept = values(master, range) ?? old
        let new = values(now, range) ?? [], moved = moved(range)
        for index in 0..<range.count {
            change.add(before: old[index], master: kept[index], now: new[index], parameter: moved[index])
        }
        guard let before, before.tensor.dtype == now.tensor.dtype else { return change }
        before.file.withElements(range, of: before.tensor) { old in
            now.file.withElements(range, of: now.tensor) { change.add(old, $0) }
        }
        return change
    }

    private func moved(_ range: Range<Int>) -> [Float] {
        [Float](unsafeUninitializedCapacity: range.count) { floats, count in
            if let base = floats.baseAddress { masters.read(parameter, range, into: base) }
            count = range.count
        }
    }

    private func values(_ place: Place?, _ range: Range<Int>) -> [Float]? {
        place.map { place in
            [Float](unsafeUninitializedCapacity: range.count) { floats, count in
                place.file.withElements(range, of: place.tensor) { bytes in
                    if let base = floats.baseAddress { bytes.widen(place.tensor.dtype, into: base, count: range.count) }
                }
                count = range.count
            }
        }
    }
}

extension CarriedChange {
    /// A line for the user.
    func text(of name: String) -> String {
        guard let stepShare, let lackingShare else { return "\(name): no weight has moved" }
        let changed =
            "\(percent(weightsShare)) of the weights" + (bytesShare.map { " and \(percent($0)) of the bytes" } ?? "")
            + " changed"
        guard !isWhole else { return "\(name): \(changed); all of the step is in the files" }
        return
            "\(name): \(changed); the files carry \(percent(stepShare)) of the step, and lack \(percent(lackingShare)) "
            + "of its length, which the float32 masters hold: --resume-from goes on from them, --weights f32 writes it"
    }

    private func percent(_ share: Double) -> String { String(format: "%.3g %%", 100 * share) }

    /// The same for machines.
    var measures: [String: Double] {
        [
            "weights_changed_share": weightsShare, "bytes_changed_share": bytesShare, "step_carried_share": stepShare,
            "step_lacking_share": lackingShare,
        ].compactMapValues { $0 }
    }
}
