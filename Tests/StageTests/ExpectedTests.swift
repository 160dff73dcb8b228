import Arrow
import Formats
import Foundation
import TestSupport
import Testing

/// The executables on the fixture dump against float64 references; limits and their reasons in fixtures/README.md.
@Suite(.serialized) struct ExpectedTests {
    private struct Score: Decodable {
        let rollout_id: String
        let correct: Bool
        let entropy: [Double]
    }
    private struct Plan: Decodable {
        let rollout_id: String
        let step: Int32
        let advantages: [Double]
        let entropy_mask: String
        let token_weights: [Double]
    }
    private struct Step: Decodable {
        let loss: Double
        let grad_norm: Double
        let clip_fraction: Double
    }

    private func expected<T: Decodable>(_ name: String) throws -> T {
        try JSONDecoder().decode(T.self, from: try Data(contentsOf: URL(fileURLWithPath: fixture("expected/" + name))))
    }

    @Test(arguments: ["dapo-top20", "grpo", "grpo-entropy-shaped", "raft"]) func aWholeRunMatchesPyTorch(
        _ recipe: String
    ) throws {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        try checkScores(run)
        try run.plan(fixture("recipes/\(recipe).yaml"))
        try checkPlan(run, recipe)
        try run.update()
        try checkSteps(run, recipe)
        if recipe == "dapo-top20" { try checkState(run) }
    }

    private func scores(_ run: Pipeline) throws -> [ScoreRow] {
        try (0..<3).flatMap {
            try ArrowTableReader(path: run.folder("score/scores-0000\($0).arrow"), table: Tables.scores).rows()
        }
    }

    private func checkScores(_ run: Pipeline) throws {
        let reference: [Score] = try expected("scores.json"), rows = try scores(run)
        #expect(rows.map(\.rolloutID) == reference.map(\.rollout_id))
        for (row, reference) in zip(rows, reference) {
            #expect(row.correct == reference.correct)
            #expect(firstDifference((row.entropy ?? []).map { Double($0) }, reference.entropy, absolute: 1e-5) == nil)
        }
    }

    private func checkPlan(_ run: Pipeline, _ recipe: String) throws {
        let reference: [Plan] = try expected("\(recipe)/plan.json")
        let rows = try ArrowTableReader(path: run.folder("plan/plan.arrow"), table: Tables.plan).rows()
        #expect(rows.map(\.rolloutID) == reference.map(\.rollout_id))
        for (row, reference) in zip(rows, reference) {
            #expect(row.step == reference.step)
            #expect(firstDifference(row.advantages.map { Double($0) }, reference.advantages, absolute: 1e-6) == nil)
            #expect(
                firstDifference(row.tokenWeights.map { Double($0) }, reference.token_weights, absolute: 1e-6) == nil)
            #expect(String(row.entropyMask.map { $0 ? "1" : "0" }) == reference.entropy_mask)
        }
    }

    private func checkSteps(_ run: Pipeline, _ recipe: String) throws {
        let reference: [Step] = try expected("\(recipe)/update.json")
        let rows = try ArrowTableReader(path: run.folder("update/metrics.arrow"), table: Tables.metrics).rows()
        #expect(rows.map(\.step) == (1...reference.count).map(Int32.init))
        for (row, reference) in zip(rows, reference) {
            #expect(abs(row.loss - reference.loss) <= max(1e-6, 1e-4 * abs(reference.loss)), "step \(row.step)")
            #expect(isClose(row.gradNorm, reference.grad_norm, relative: 1e-3), "step \(row.step)")
            // A token on a bound may fall to either side: two of a thousand.
            #expect(
                isClose(row.clipFractionLow + row.clipFractionHigh, reference.clip_fraction, absolute: 2e-3),
                "step \(row.step)")
        }
    }

    private func checkState(_ run: Pipeline) throws {
        let state = try SafetensorsFile(path: run.folder("update/optimizer-000006/optimizer.safetensors"))
        let moments = try SafetensorsFile(path: fixture("expected/dapo-top20/exp_avg.safetensors"))
        let after = try SafetensorsFile(path: fixture("expected/dapo-top20/model.safetensors")),
            before = try SafetensorsFile(path: fixture("policy/model.safetensors"))
        var change = 0.0, difference = 0.0
        for tensor in moments.header.tensors {
            let expected = floats(moments, tensor.name)
            #expect(
                distance(floats(state, "exp_avg." + tensor.name), expected) < 1e-3 * length(expected), "\(tensor.name)")
            let target = floats(after, tensor.name)
            change += pow(distance(target, bfloats(before, tensor.name)), 2)
            difference += pow(distance(floats(state, "master." + tensor.name), target), 2)
        }
        #expect((difference / change).squareRoot() < 2e-3)
        #expect(change > 0)
    }

    private func floats(_ file: SafetensorsFile, _ name: String) -> [Double] {
        guard let tensor = file.header[name] else { return [] }
        return withExtendedLifetime(file) { file.bytes(of: tensor).bindMemory(to: Float.self).map { Double($0) } }
    }

    private func bfloats(_ file: SafetensorsFile, _ name: String) -> [Double] {
        guard let tensor = file.header[name] else { return [] }
        return withExtendedLifetime(file) {
            file.bytes(of: tensor).bindMemory(to: UInt16.self).map { Double(Float(bitPattern: UInt32($0) << 16)) }
        }
    }

    private func length(_ values: [Double]) -> Double { values.reduce(0) { $0 + $1 * $1 }.squareRoot() }

    private func distance(_ a: [Double], _ b: [Double]) -> Double {
        a.count == b.count ? length(zip(a, b).map { $0 - $1 }) : .infinity
    }
}
