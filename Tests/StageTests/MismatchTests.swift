import Arrow
import Formats
import Foundation
import TestSupport
import Testing

/// `crux-report mismatch`: trainer against sampler, and a run against what a trainer wrote.
@Suite struct MismatchTests {
    private let run: Pipeline

    init() throws { run = try Pipeline() }

    private func mismatch(_ more: [String] = []) throws -> Executable.Result {
        try Executable("crux-report").run(
            ["mismatch", "--quiet", "--json", "--input", run.folder("ingest"), "--scores", run.folder("score")] + more)
    }

    @Test func differencesAreThoseOfTheTables() throws {
        try run.ingest([fixture("cases/F12-first-ratio-not-1/dump")], to: "ingest")
        try run.score(["--reward", "given", "--checkpoint", fixture("policy")])
        let result = try mismatch(["--output", run.folder("mismatch"), "--minimum-count", "0"])
        #expect(result.status == 0, "\(result.errors)")
        let rows = try ArrowTableReader(path: run.folder("ingest/rollouts-00000.arrow"), table: Tables.rollouts).rows()
        let scores = try ArrowTableReader(path: run.folder("score/scores-00000.arrow"), table: Tables.scores).rows()
        var differences: [Double] = [], largest = (size: 0.0, id: "", position: 0)
        for (row, score) in zip(rows, scores) {
            let (trainer, sampler) = (try #require(score.oldLogprobs), try #require(row.rolloutLogprobs))
            for t in row.lossMask.indices where row.lossMask[t] {
                differences.append(Double(trainer[t]) - Double(sampler[t]))
                if abs(differences.last ?? 0) > largest.size {
                    largest = (abs(differences.last ?? 0), row.rolloutID, t)
                }
            }
        }
        let all = try #require(result.summary["all"] as? [String: Any]), count = Double(differences.count)
        #expect(all["tokens"] as? Int == differences.count && largest.size > 0)
        let wanted = [
            "mean": differences.reduce(0, +) / count, "mean_absolute": differences.reduce(0) { $0 + abs($1) } / count,
            "kl_k3": differences.reduce(0) { $0 + exp($1) - 1 - $1 } / count,
        ]
        for (name, figure) in wanted {
            let found = try #require(all[name] as? Double)
            #expect(isClose(found, figure, relative: 1e-9), "\(name)")
        }
        #expect(all["rollout_id"] as? String == largest.id && all["position"] as? Int == largest.position)
        // Every kind of group holds all tokens.
        let groups = try #require(result.summary["groups"] as? [[String: Any]])
        let sums = Dictionary(grouping: groups) { $0["by"] as? String ?? "" }.mapValues {
            $0.reduce(0) { $0 + ($1["tokens"] as? Int ?? 0) }
        }
        #expect(sums.count == 5 && sums.values.allSatisfy { $0 == differences.count }, "\(sums)")
        #expect(
            try String(contentsOfFile: run.folder("mismatch.csv"), encoding: .utf8).split(separator: "\n").count
                == groups.count + 2)
    }

    @Test func theSamplersOwnNumbersAreNoTrainers() throws {
        try run.ingest()
        try run.score()
        let refused = try mismatch()
        #expect(refused.status == 3 && refused.errors.contains("the sampler's own"), "\(refused.errors)")
    }

    private static let export = [
        #"{"schema_version":1,"export_step":7,"rank":0,"export_sequence_idx":0,"token_ids":[17,16,5,0],"loss_mask":[false,false,true,true],"rewards":[1.0,1.0,1.0,1.0],"#
            + #""inference_logprobs":[0.0,0.0,-0.25,-0.5],"trainer_logprobs":[0.0,-1.0,TRAINER],"advantages":[0.0,0.0,ADVANTAGES],"entropy":[null,null,null,null]}"#,
        #"{"schema_version":1,"export_step":7,"rank":0,"export_sequence_idx":1,"token_ids":[17,16,6,0],"loss_mask":[false,false,true,true],"rewards":[0.0,0.0,0.0,0.0],"#
            + #""inference_logprobs":[0.0,0.0,-1.5,-0.5]}"#,
    ]

    /// The first number that differs, in the order of the lines and of the tokens.
    @Test func theFirstDivergenceFromATrainerIsFound() throws {
        try Self.export.joined(separator: "\n").appending("\n").replacingOccurrences(of: "TRAINER", with: "0,0")
            .replacingOccurrences(of: "ADVANTAGES", with: "0,0")
            .write(toFile: run.folder("export.jsonl"), atomically: true, encoding: .utf8)
        try run.ingest([run.folder("export.jsonl")], to: "ingest")
        try run.score(["--reward", "given", "--checkpoint", fixture("policy")])
        try run.plan(repositoryRoot + "/recipes/grpo.yaml")
        let score = try ArrowTableReader(path: run.folder("score/scores-00000.arrow"), table: Tables.scores).rows()[0]
        let row = try #require(
            try ArrowTableReader(path: run.folder("plan/plan.arrow"), table: Tables.plan).rows().first {
                $0.rolloutID == "step-7-rank-0-0"
            })
        let logprobs = try #require(score.oldLogprobs)
        let trainer = "\(logprobs[2]),\(logprobs[3] - 0.5)",
            advantages = "\(row.advantages[2]),\(row.advantages[3] + 2)"
        let stranger = Self.export[1].replacingOccurrences(of: "idx\":1", with: "idx\":5")
        let lines =
            Self.export + [stranger.replacingOccurrences(of: "}", with: #","trainer_logprobs":[0,0,-1,-1]}"#), "{}"]
        try lines.joined(separator: "\n").appending("\n").replacingOccurrences(of: "TRAINER", with: trainer)
            .replacingOccurrences(of: "ADVANTAGES", with: advantages)
            .write(toFile: run.folder("trainer.jsonl"), atomically: true, encoding: .utf8)
        let result = try mismatch(["--plan", run.folder("plan"), "--trainer", run.folder("trainer.jsonl")])
        #expect(result.status == 0, "\(result.errors)")
        let found = try #require(result.summary["trainer"] as? [String: Any])
        #expect(found["lines"] as? Int == 4 && found["unread"] as? Int == 1 && found["unknown"] as? Int == 1)
        let first = try #require(found["first"] as? [String: Any])
        #expect(first["column"] as? String == "trainer_logprobs" && first["position"] as? Int == 3)
        #expect(first["rollout_id"] as? String == "step-7-rank-0-0" && first["line"] as? Int == 1)
        let columns = try #require(found["columns"] as? [String: [String: Any]])
        #expect(columns["loss_mask"]?["differing"] as? Int == 0 && columns["loss_mask"]?["tokens"] as? Int == 8)
        #expect(columns["trainer_logprobs"]?["differing"] as? Int == 1)
        let advantage = try #require(columns["advantages"]?["largest"] as? [String: Any])
        let (theirs, ours) = (try #require(advantage["trainer"] as? Double), try #require(advantage["run"] as? Double))
        #expect(isClose(theirs - ours, 2, absolute: 1e-5))
        #expect(columns["entropy"] == nil)
    }
}
