import Arrow
import Formats
import Foundation
import TestSupport
import Testing

@Suite struct ExportTests {
    static let formats = ["nemo_rl", "tinker", "torch", "trl", "verl"]

    /// A plan of the fixture dump by a recipe of recipes/, or by the text of one.
    private func planned(_ recipe: String, _ set: [String] = []) throws -> Pipeline {
        let run = try Pipeline()
        try run.ingest()
        try run.score(["--reference", fixture("policy")])
        let few = ["schedule.groups_per_step=4"]
        try run.plan(repository("recipes/\(recipe).yaml"), (few + set).flatMap { ["--set", $0] })
        return run
    }

    private func export(_ run: Pipeline, _ format: String, to name: String? = nil) throws -> Executable.Result {
        try Executable("crux-plan").run(
            [
                "export", "--quiet", "--plan", run.folder("plan"), "--format", format, "--output",
                run.folder(name ?? format),
            ])
    }

    private func rows(_ run: Pipeline) throws -> [PlanRow] {
        try ArrowTableReader(path: run.folder("plan/plan.arrow"), table: Tables.plan).rows()
            .enumerated().sorted { ($0.element.step, $0.offset) < ($1.element.step, $1.offset) }.map(\.element)
    }

    @Test(arguments: formats) func everyFormatIsWrittenTheSameTwiceAndSaysWhatToTellTheTrainer(_ format: String) throws
    {
        let run = try planned("dapo-top20", ["objective.clip_dual=null"])
        for name in ["a", "b"] {
            let result = try export(run, format, to: name)
            #expect(result.status == 0, "\(result.errors)")
        }
        #expect(try contents(of: run.folder("a")) == contents(of: run.folder("b")))
        #expect(try export(run, format, to: "a").output.contains("already_done"))
        let settings = try json(run.folder("a/export.json"))
        #expect(settings["format"] as? String == format)
        #expect((settings["steps"] as? [Any])?.count == 6)
        #expect((settings["loss"] as? [String: Any])?.isEmpty == (format == "torch"))
    }

    private func json(_ path: String) throws -> [String: Any] {
        let object = try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: path)))
        return try #require(object as? [String: Any])
    }

    @Test func datumsAreShiftedByOneTokenAndHaveTheWeightsInTheirAdvantages() throws {
        let run = try planned("dapo-top20", ["objective.clip_dual=null"])
        #expect(try export(run, "tinker").status == 0)
        let row = try #require(try rows(run).first)
        let text = try String(contentsOfFile: run.folder("tinker/step-000000.jsonl"), encoding: .utf8)
        let line = try #require(text.split(separator: "\n").first)
        let datum = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        let input = try #require(datum["model_input"] as? [String: Any]),
            chunk = try #require((input["chunks"] as? [[String: Any]])?.first),
            inputs = try #require(datum["loss_fn_inputs"] as? [String: [String: Any]])
        #expect(chunk["tokens"] as? [Int] == row.tokenIDs.dropLast().map { Int($0) })
        #expect(inputs["target_tokens"]?["data"] as? [Int] == row.tokenIDs.dropFirst().map { Int($0) })
        #expect(inputs["target_tokens"]?["shape"] as? [Int] == [row.tokenIDs.count - 1])
        let advantages = try #require(inputs["advantages"]?["data"] as? [Double])
        for t in 1..<row.tokenIDs.count {
            let expected = Double(row.advantages[t]) * Double(row.tokenWeights[t])
            #expect(abs(advantages[t - 1] - expected) <= 1e-7 * abs(expected), "\(t)")
        }
        #expect(Set(inputs.keys) == ["target_tokens", "logprobs", "advantages"])
    }

    @Test func tensorsHoldEveryRowBehindTheOther() throws {
        let run = try planned("dapo-top20", ["objective.clip_dual=null"])
        #expect(try export(run, "torch").status == 0)
        let all = try rows(run), first = all.filter { $0.step == all[0].step }
        let file = try SafetensorsFile(path: run.folder("torch/step-000000.safetensors"))
        func floats(_ name: String) throws -> [Float] {
            file.bytes(of: try file.tensor(name)).withMemoryRebound(to: UInt8.self) { bytes in
                let raw = UnsafeRawBufferPointer(bytes)
                return (0..<raw.count / 4).map { raw.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
            }
        }
        #expect(try floats("advantages") == first.flatMap(\.advantages))
        #expect(try floats("token_weights") == first.flatMap(\.tokenWeights))
        #expect(file.header["offsets"]?.elementCount == first.count + 1)
        #expect(file.header["returns"] == nil && file.header["support_offsets"] == nil)
    }

    /// What a trainer can't be told is named, with what it can, and nothing is written.
    @Test(arguments: [
        ("verl", "grpo-kl", [], "a KL term by k3"), ("tinker", "grpo-kl", [], "a KL term by k3"),
        ("nemo_rl", "cispo", [], "objective cispo"), ("trl", "h-dpo", [], "objective h_dpo"),
        ("tinker", "dapo", ["objective.clip_dual=10"], "ppo_clip with clip_dual"),
        ("trl", "dapo", ["objective.clip_dual=1.1"], "clip_dual 1.1"),
        ("trl", "cispo", ["objective.clip_low=0.5"], "cispo with a lower bound"),
        ("verl", "dapo-top20-current", [], "entropy.mask.policy current"), ("verl", "kl-cov", [], "objective kl_cov"),
        ("verl", "ppo-critic", [], "objective value"), ("verl", "sdpo", [], "advantage.teacher.policy current"),
    ])
    func whatATrainerCantBeToldIsRefused(_ format: String, _ recipe: String, _ set: [String], _ found: String) throws {
        let run = try Pipeline()
        try run.ingest()
        try run.score(["--reference", fixture("policy"), "--critic", fixture("policy")])
        try run.plan(repository("recipes/\(recipe).yaml"), set.flatMap { ["--set", $0] })
        let refused = try export(run, format)
        #expect(refused.status == 3)
        #expect(refused.errors.contains("found \(found)"), "\(refused.errors)")
        #expect(!FileManager.default.fileExists(atPath: run.folder(format)))
        #expect(try export(run, "torch").status == 0)
    }

    /// Whoever computes the plan's losses elsewhere holds the teacher against the policy as it stands, too.
    @Test func aTeachersLogProbabilitiesAreHandedOver() throws {
        let run = try Pipeline()
        try run.ingest()
        try run.score(["--reference", fixture("policy")])
        try run.plan(repository("recipes/sdpo.yaml"))
        #expect(try export(run, "torch").status == 0)
        let header = try SafetensorsFile(path: run.folder("torch/step-000000.safetensors")).header
        #expect(header["teacher_logprobs"]?.elementCount == header["advantages"]?.elementCount)
    }

    @Test func anUnknownFormatIsNamedWithTheKnownOnes() throws {
        let run = try Pipeline(), result = try export(run, "llama")
        #expect(result.status == 2)
        #expect(result.errors.contains("known: " + Self.formats.joined(separator: ", ")))
    }

    /// The mean over a step's tokens can't have other shares of a KL term.
    @Test func aKLTermOfOtherWeightsIsRefusedWhereItIsAMeanOverTokens() throws {
        let run = try planned("grpo-kl", ["aggregation={type: sequence_mean_token_mean}"])
        let refused = try export(run, "trl")
        #expect(refused.status == 3)
        #expect(refused.errors.contains("found a KL weight of"), "\(refused.errors)")
    }
}
