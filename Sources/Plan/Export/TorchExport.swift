import Files
import Formats
import Recipes
import StageSupport

/// Every column of the plan as tensors, a safetensors file for each optimizer step: rows one behind the other, row i at
/// `offsets[i]..<offsets[i + 1]`; what could be drawn for row i's tokens is between neighbours of
/// `support_offsets[support_starts[i]..<support_starts[i + 1]]`. `examples/plan_batches.py` reads them.
struct TorchExport: PlanExport {
    static let name = "torch"
    static let source = "examples/plan_batches.py: a torch.utils.data.Dataset with the plan's losses"

    let settings: [String: any Sendable] = [:]
    private let resolved: String

    init(_ recipe: Recipe) throws(ExportRefusal) {
        do { resolved = try recipe.resolvedJSON() } catch {
            throw ExportRefusal(found: "a recipe that can't be written: \(error)", expected: "one that can")
        }
    }

    func write(_ plan: ExportedPlan, to directory: StageDirectory) throws -> [Manifest.File] {
        let recipe = Manifest.File(
            "recipe.resolved.json",
            try AtomicFile.write(resolved, to: directory.file("recipe.resolved.json")))
        return try [recipe]
            + plan.steps.map { step in
                let name = StepFolders.name(Int(step.number)) + ".safetensors"
                try directory.note([name])
                try write(try plan.rows(of: step), to: directory.file(name))
                return try Manifest.describe(name, in: directory.path, rows: step.rows.count)
            }
    }

    private func write(_ rows: [PlanRow], to path: String) throws {
        let tensors = try tensors(rows)
        let writer = try SafetensorsWriter(
            path: path, header: SafetensorsHeader(laying: tensors.map(\.info), metadata: ["format": "pt"]))
        for tensor in tensors { try tensor.bytes.withUnsafeBytes { try writer.append($0) } }
        try writer.finish()
    }

    private struct Tensor {
        let info: TensorInfo
        let bytes: [UInt8]

        init<Value: BitwiseCopyable>(_ name: String, _ dtype: DType, _ values: [Value]) {
            info = TensorInfo(name: name, dtype: dtype, shape: [values.count])
            bytes = values.withUnsafeBytes { [UInt8]($0) }
        }
    }

    private func tensors(_ rows: [PlanRow]) throws -> [Tensor] {
        var offsets: [Int64] = [0]
        for row in rows { offsets.append(offsets[offsets.count - 1] + Int64(row.tokenIDs.count)) }
        func floats(_ name: String, _ column: (PlanRow) -> [Float]?) -> Tensor? {
            let values = rows.map(column)
            guard values.contains(where: { $0 != nil }) else { return nil }
            return Tensor(
                name, .f32,
                zip(rows, values).flatMap { $1 ?? [Float](repeating: .nan, count: $0.tokenIDs.count) })
        }
        func flags(_ name: String, _ column: (PlanRow) -> [Bool]) -> Tensor {
            Tensor(name, .bool, rows.flatMap(column).map { $0 ? 1 : 0 as UInt8 })
        }
        let pairs = rows.map { $0.pair ?? -1 }
        return [
            Tensor("offsets", .i64, offsets), Tensor("token_ids", .i32, rows.flatMap(\.tokenIDs)),
            Tensor("temperature", .f32, rows.map(\.temperature)), Tensor("reward", .f32, rows.map(\.reward)),
        ] + (pairs.contains { $0 >= 0 } ? [Tensor("pair", .i32, pairs)] : [])
            + [flags("loss_mask", \.lossMask), flags("entropy_mask", \.entropyMask)]
            + [
                floats("advantages", \.advantages), floats("token_weights", \.tokenWeights),
                floats("old_logprobs", \.oldLogprobs), floats("reference_logprobs", \.referenceLogprobs),
                floats("kl_weights", \.klWeights), floats("returns", \.returns), floats("values", \.values),
                floats("entropy_weights", \.entropyWeights), floats("auxiliary_weights", \.auxiliaryWeights),
                floats("rollout_logprobs", \.rolloutLogprobs), floats("teacher_logprobs", \.teacherLogprobs),
            ].compactMap(\.self) + supports(rows)
    }

    private func supports(_ rows: [PlanRow]) -> [Tensor] {
        guard rows.contains(where: { $0.support != nil }) else { return [] }
        var ids: [Int32] = [], offsets: [Int64] = [], starts: [Int64] = [0]
        for row in rows {
            let support = row.support
            offsets += (support?.offsets ?? []).map { Int64(ids.count) + Int64($0) }
            ids += support?.tokenIDs ?? []
            starts.append(Int64(offsets.count))
        }
        return [
            Tensor("support_starts", .i64, starts), Tensor("support_offsets", .i64, offsets),
            Tensor("support_token_ids", .i32, ids),
        ]
    }
}
