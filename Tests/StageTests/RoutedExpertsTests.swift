import Arrow
import Formats
import Foundation
import TestSupport
import Testing

/// Dumps that say which experts the sampler's routers took, from ingest to a step. The fixture has 6 experts in each of
/// 2 layers, of which a token takes 2.
@Suite struct RoutedExpertsTests {
    private let run: Pipeline
    private let checkpoint = fixture("families/qwen3-moe-untied")

    init() throws { run = try Pipeline() }

    private func rollout(_ index: Int, _ routes: RoutedExperts?) -> TinyRollout {
        var rollout = TinyRollout(id: "r-\(index)")
        rollout.removeLogits()
        rollout.frame.tokenIDs = [6, 7, 21, 32, Int32(index)]
        rollout.frame.metadata["reward"] = "\(index)"
        rollout.frame.experts = routes
        return rollout
    }

    /// Of all four tokens that were an input, or of those behind the first ones.
    private func routes(_ list: [UInt16] = [0, 1, 2, 3], start: Int = 0) -> RoutedExperts {
        RoutedExperts(layers: 2, chosen: 2, start: start, experts: (start..<4).flatMap { _ in list })
    }

    private func ingest(_ rollouts: [TinyRollout]) throws {
        try writeShard(rollouts, to: run.folder("dump.rollouts.zst"))
        try run.ingest([run.folder("dump.rollouts.zst")], to: "ingest", ["--overwrite"])
    }

    private func scored(_ more: [String] = []) throws -> [ScoreRow] {
        try run.score(["--overwrite", "--checkpoint", checkpoint] + more)
        return try ArrowTableReader(path: run.folder("score/scores-00000.arrow"), table: Tables.scores).rows()
    }

    @Test func theSamplersExpertsAreTakenAgainByScoreAndUpdate() throws {
        try ingest([rollout(0, routes()), rollout(1, routes(start: 1))])
        let replayed = try scored().map(\.oldLogprobs)
        let counts = try String(contentsOfFile: run.folder("score/manifest.json"), encoding: .utf8)
        #expect(counts.contains("\"replayed_tokens\" : 7") || counts.contains("\"replayed_tokens\":7"), "\(counts)")
        try run.plan(repository("recipes/grpo.yaml"))
        let update = try run.runUpdate(checkpoint: checkpoint),
            ratios = update.summary["first_ratios"] as? [String: Any]
        #expect(update.status == 0, "\(update.errors)")
        // Scored and trained by the same experts: products of other shapes in float32.
        #expect(try #require(ratios?["largest_log_difference"] as? Double) < 1e-5)
        let metrics = try ArrowTableReader(path: run.folder("update/metrics.arrow"), table: Tables.metrics).rows()
        // The first token's experts are recorded in one rollout alone: nothing is shared.
        #expect(metrics.map(\.expertsReplayed) == [0.875])
        // Recorded are 4 of the 12 experts of both layers; the one token whose router chooses takes up to 4 others.
        #expect((4.0 / 12...8.0 / 12).contains(try #require(metrics[0].expertsIdle)))

        // No other trainer is told of them: it would train by other experts.
        for format in ["torch", "trl"] {
            let export = try Executable("crux-plan").run([
                "export", "--quiet", "--plan", run.folder("plan"), "--format", format, "--output", run.folder(format),
            ])
            #expect(export.status == 3 && export.errors.contains("--ignore-routed-experts"), "\(export.errors)")
        }

        let free = try scored(["--ignore-routed-experts"]).map(\.oldLogprobs)
        #expect(free != replayed)
        try run.plan(repository("recipes/grpo.yaml"), to: "free-plan")
        #expect(try run.runUpdate(plan: "free-plan", to: "free", checkpoint: checkpoint).status == 0)
        let own = try ArrowTableReader(path: run.folder("free/metrics.arrow"), table: Tables.metrics).rows()
        #expect(own.map(\.expertsReplayed) == [0])
    }

    /// Numbers of experts in the least bytes that hold them, as engines have them.
    @Test(arguments: [DType.u8, .u16]) func everyTypeIsRead(_ type: DType) throws {
        let numbers: [UInt16] = [0, 1, 2, 3, 4, 5, 0, 2, 1, 5, 3, 0, 2, 1, 4, 3]
        let bytes: [UInt8] =
            type == .u8 ? numbers.map { UInt8($0) } : numbers.withUnsafeBytes { Array($0) }
        let plain = try SafetensorsBlob(rollout(0, nil).blob())
        let blob = plain.adding("routed_experts", type, [4, 2, 2], bytes)
        try writeShard(blobs: [blob, try rollout(1, nil).blob()], to: run.folder("dump.rollouts.zst"))
        try run.ingest([run.folder("dump.rollouts.zst")], to: "ingest")
        let rows = try ArrowTableReader(path: run.folder("ingest/rollouts-00000.arrow"), table: Tables.rollouts).rows()
        #expect(rows.map(\.routedExperts) == [numbers, nil])
        #expect(rows.map(\.routedExpertsShape) == [[4, 2, 2, 0], nil])
    }

    @Test(
        arguments: [
            (
                RoutedExperts(layers: 2, chosen: 2, experts: (0..<4).flatMap { _ in [0, 1, 2, 2] as [UInt16] }),
                RejectReason.invalidValue,
                "expert 2 twice for token 0 in layer 1"
            ),
            (
                RoutedExperts(layers: 2, chosen: 2, experts: (0..<6).flatMap { _ in [0, 1, 2, 3] as [UInt16] }),
                .wrongShape,
                "'routed_experts' of shape [6, 2, 2]"
            ),
        ])
    func whatIsNoRoutingCostsItsRollout(_ routes: RoutedExperts, _ reason: RejectReason, _ found: String) throws {
        try ingest([rollout(0, routes), rollout(1, nil)])
        let rejected = try ArrowTableReader(path: run.folder("ingest/rejected.arrow"), table: Tables.rejected).rows()
        #expect(rejected.map(\.reason) == [reason.rawValue])
        #expect(rejected.first?.detail.contains(found) == true, "\(rejected)")
    }

    @Test(
        arguments: [
            ("policy", [0, 1, 2, 3], "the checkpoint has no experts"),
            ("families/qwen3-moe-untied", [0, 1, 2, 6], "expert 6 of token 0 in layer 1"),
            ("families/qwen3-moe-untied", [0, 1, 0, 0], "zeros throughout in layer 1"),
        ] as [(String, [UInt16], String)])
    func anotherModelsExpertsAreRefused(_ checkpoint: String, _ list: [UInt16], _ words: String) throws {
        try ingest([rollout(0, routes(list)), rollout(1, nil)])
        let result = try Executable("crux-score").run([
            "--quiet", "--input", run.folder("ingest"), "--output", run.folder("score"), "--checkpoint",
            fixture(checkpoint),
        ])
        #expect(result.status == 3)
        #expect(result.errors.contains(words), "\(result.errors)")
        #expect(result.errors.contains("rollout 'r-0'"))
        #expect(result.errors.contains("--ignore-routed-experts"))
    }
}

/// A rollout's blob, to which a tensor can be added that no writer of ours writes so.
private struct SafetensorsBlob {
    private let header: SafetensorsHeader
    private let data: [UInt8]

    init(_ blob: [UInt8]) throws {
        let length = blob.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        header = try SafetensorsHeader(json: Data(blob[8..<8 + length]), file: "blob", place: "")
        data = Array(blob[(8 + length)...])
    }

    func adding(_ name: String, _ type: DType, _ shape: [Int], _ bytes: [UInt8]) -> [UInt8] {
        let tensors = header.tensors + [TensorInfo(name: name, dtype: type, shape: shape)]
        return SafetensorsHeader(laying: tensors, metadata: header.metadata).encoded() + data + bytes
    }
}
