import Arrow
import Formats
import Foundation
import TestSupport
import Testing

/// Rollouts under top-p, top-k or min-p whose dump says which tokens could be drawn.
@Suite struct SupportTests {
    private let run: Pipeline

    init() throws { run = try Pipeline() }

    /// Two rollouts of one group; each token's support is given, an empty one being all.
    private func rollout(_ index: Int, supports: [[Int32]]?) -> TinyRollout {
        var rollout = TinyRollout(id: "r-\(index)")
        rollout.frame.tokenIDs = [6, 7, 1, 2, 0]
        rollout.frame.metadata["reward"] = "\(index)"
        rollout.frame.metadata["top_p"] = "0.9"
        rollout.logits = [2, 1, 0, -1, -3, 0, 0, 0] + [0, 0, 3, 2, 1, 0, -1, -2] + [1, 0, 0, 0, 0, 0, 0, 0]
        if let supports {
            let support = SamplingSupport(supports)
            (rollout.frame.supportTokenIDs, rollout.frame.supportOffsets) = (
                support.tokenIDs, support.offsets.map { Int64($0) }
            )
        }
        return rollout
    }

    private func score(_ rollouts: [TinyRollout], _ ingest: [String] = [], _ more: [String] = []) throws -> [ScoreRow] {
        try writeShard(rollouts, to: run.folder("dump.rollouts.zst"))
        try run.ingest([run.folder("dump.rollouts.zst")], to: "ingest", ["--overwrite"] + ingest)
        try run.score(["--overwrite"] + more)
        return try ArrowTableReader(path: run.folder("score/scores-00000.arrow"), table: Tables.scores).rows()
    }

    /// log p and H over some logits, as the obvious sums have it.
    private func obvious(_ logits: [Double], _ place: Int) -> (logprob: Double, entropy: Double) {
        let sum = logits.reduce(0) { $0 + exp($1) }
        return (logits[place] - log(sum), -logits.reduce(0) { $0 + exp($1) / sum * ($1 - log(sum)) })
    }

    /// The third token's support is all: a list of none. Measured at ingest or at score, it is the same.
    @Test(arguments: [[], ["--logits", "copy"], ["--score"]]) func logprobsAndEntropiesAreOfTheTokensThatCouldBeDrawn(
        _ flags: [String]
    ) throws {
        let scored = try score([rollout(0, supports: [[0, 1], [3, 2, 7], []]), rollout(1, supports: nil)], flags)
        let expected = [
            obvious([2, 1], 1), obvious([2, 3, -2], 1), obvious([1, 0, 0, 0, 0, 0, 0, 0], 0),
        ]
        // The numbers of the specification.
        #expect(isClose(expected[0].logprob, -1.313262, absolute: 1e-6))
        #expect(isClose(expected[0].entropy, 0.582203, absolute: 1e-6))
        for (k, (logprob, entropy)) in expected.enumerated() {
            #expect(isClose(Double(try #require(scored[0].oldLogprobs)[2 + k]), logprob, absolute: 1e-6), "\(k)")
            #expect(isClose(Double(try #require(scored[0].entropy)[2 + k]), entropy, absolute: 1e-6), "\(k)")
        }
        #expect(
            isClose(
                Double(try #require(scored[1].entropy)[2]), obvious([2, 1, 0, -1, -3, 0, 0, 0], 1).entropy,
                absolute: 1e-6))
    }

    @Test func ignoredSupportsChangeNothing() throws {
        let without = try score([rollout(0, supports: nil), rollout(1, supports: nil)])
        let all = (0..<8).map { Int32($0) }
        #expect(
            try score([rollout(0, supports: [[], [], []]), rollout(1, supports: nil)]).map(\.entropy)
                == without.map(\.entropy))
        #expect(
            try score([rollout(0, supports: [all, all, all]), rollout(1, supports: nil)]).map(\.entropy)
                == without.map(\.entropy))
        let ignored = try score(
            [rollout(0, supports: [[0, 1], [2], [0]]), rollout(1, supports: nil)], [], ["--ignore-support"])
        #expect(ignored.map(\.entropy) == without.map(\.entropy))
    }

    /// One token that could be drawn: no choice, no surprise.
    @Test func aSupportOfOneTokenHasNoEntropy() throws {
        let scored = try score([rollout(0, supports: [[1], [2], [0]]), rollout(1, supports: nil)])
        #expect(scored[0].entropy == [0, 0, 0, 0, 0])
        #expect(scored[0].oldLogprobs == [0, 0, 0, 0, 0])
    }

    @Test(
        arguments: [
            (
                [[0, 1], [3], []], RejectReason.supportMissesToken, "1 tokens that could be drawn for trainable token 1"
            ),
            ([[0, 1], [2]], .lengthMismatch, "2 sets of tokens"), ([[1, 1], [2], []], .invalidValue, "a token twice"),
            ([[1, -4], [2], []], .invalidTokenID, "token id -4"),
            ([[1, 8], [2], []], .tokenOutOfVocabulary, "token id 8"),
        ] as [([[Int32]], RejectReason, String)])
    func whatIsNoSupportCostsItsRollout(_ supports: [[Int32]], _ reason: RejectReason, _ found: String) throws {
        try writeShard(
            [rollout(0, supports: supports), rollout(1, supports: nil)], to: run.folder("dump.rollouts.zst"))
        try run.ingest([run.folder("dump.rollouts.zst")], to: "ingest")
        let rejected = try ArrowTableReader(path: run.folder("ingest/rejected.arrow"), table: Tables.rejected).rows()
        #expect(rejected.map(\.reason) == [reason.rawValue])
        #expect(rejected.first?.detail.contains(found) == true, "\(rejected)")
    }

    @Test func anEnginesMaskIsRead() throws {
        let vllm =
            #"{"id":"v","prompt":"1","prompt_token_ids":[17,16],"top_p":0.9,"choices":[{"index":0,"text":"4","token_ids":[5,0],"finish_reason":"stop","stop_reason":null,"sampling_mask":[[5,6],null],"logprobs":{"token_logprobs":[-0.25,-0.5]}}],"logprobs_kind":"support"}"#
        let sglang =
            #"{"input_ids":[17,16],"text":"4","output_ids":[5,0],"top_p":0.9,"meta_info":{"id":"s","finish_reason":{"type":"stop","matched":0},"output_token_logprobs":[[-0.5,5,null],[-1,0,null]],"output_token_sampling_mask":[[5,6],[1,0]],"output_token_sampling_logprobs":[-0.25,[-3,-0.125]]}}"#
        let cut =
            #"{"input_ids":[17,16],"text":"4","output_ids":[5,0],"meta_info":{"id":"c","finish_reason":{"type":"stop","matched":0},"output_token_sampling_mask":[[5],[0]],"output_token_sampling_mask_truncated":true}}"#
        try Data([vllm, sglang, cut].joined(separator: "\n").utf8).write(
            to: URL(fileURLWithPath: run.folder("dump.jsonl")))
        try run.ingest([run.folder("dump.jsonl")], to: "ingest")
        let rows = try ArrowTableReader(path: run.folder("ingest/rollouts-00000.arrow"), table: Tables.rollouts).rows()
        #expect(rows.map(\.supportTokenIDs) == [[5, 6], [5, 6, 1, 0], nil])
        #expect(rows.map(\.supportOffsets) == [[0, 2, 2], [0, 2, 4], nil])
        #expect(rows.map(\.rolloutLogprobs) == [[0, 0, -0.25, -0.5], [0, 0, -0.25, -0.125], nil])
        #expect(rows.prefix(2).allSatisfy { $0.logprobKind == .support })
        let manifest = try String(contentsOfFile: run.folder("ingest/manifest.json"), encoding: .utf8)
        #expect(manifest.contains("remark_sampling_mask_cut"))
    }

    /// Sampled by ourselves under top-p: what the sampler wrote is what the checkpoint says over the same tokens, the
    /// first ratios are 1, and a correction is no longer biased.
    @Test(arguments: [["--top-p", "0.8"], ["--top-k", "3"], ["--top-p", "0.9", "--temperature", "0.7"]])
    func truncatedSamplingIsReplayedExactly(_ sampling: [String]) throws {
        let lines = try String(contentsOfFile: fixture("prompts-train.jsonl"), encoding: .utf8).split(separator: "\n")
        try lines.prefix(8).joined(separator: "\n").write(
            toFile: run.folder("prompts.jsonl"), atomically: true, encoding: .utf8)
        let rollouts = try Executable("crux-rollout").run(
            [
                "--quiet", "--checkpoint", fixture("policy"), "--prompts", run.folder("prompts.jsonl"), "--output",
                run.folder("rollouts"), "--group-size", "4", "--max-tokens", "48", "--seed", "3",
            ] + sampling)
        #expect(rollouts.status == 0, "\(rollouts.errors)")
        try run.ingest([run.folder("rollouts")], to: "ingest")
        try run.score(["--checkpoint", fixture("policy")])
        let rows = try ArrowTableReader(path: run.folder("ingest/rollouts-00000.arrow"), table: Tables.rollouts).rows(),
            scored = try ArrowTableReader(path: run.folder("score/scores-00000.arrow"), table: Tables.scores).rows()
        for (row, score) in zip(rows, scored) {
            // Products of other shapes in float32.
            let difference = firstDifference(
                try #require(score.oldLogprobs), try #require(row.rolloutLogprobs), absolute: 2e-5)
            #expect(difference == nil, "\(row.rolloutID)")
        }
        try run.plan(repository("recipes/dapo-tis.yaml"))
        let update = try run.runUpdate(), ratios = update.summary["first_ratios"] as? [String: Any]
        #expect(update.status == 0, "\(update.errors)")
        let largest = try #require(ratios?["largest_log_difference"] as? Double)
        #expect(largest < 1e-4)
        // The whole softmax is another one.
        try run.score(["--checkpoint", fixture("policy"), "--ignore-support"], to: "whole")
        let refused = try run.runPlan(repository("recipes/dapo-tis.yaml"), to: "biased", scores: "whole")
        #expect(refused.status == 3)
        #expect(refused.errors.contains("return_sampling_mask"), "\(refused.errors)")
    }

    /// The sampler's own are of the whole softmax: they are not taken for those over the support.
    @Test func logprobsOfAnotherSoftmaxAreNotCompared() throws {
        var rollouts = [0, 1].map { rollout($0, supports: [[0, 1], [2], []]) }
        for index in rollouts.indices {
            rollouts[index].removeLogits()
            rollouts[index].frame.metadata["logprobs_kind"] = "full"
        }
        #expect(try score(rollouts).allSatisfy { $0.oldLogprobs == nil })
        for index in rollouts.indices { rollouts[index].frame.metadata["logprobs_kind"] = "support" }
        #expect(try score(rollouts).allSatisfy { $0.oldLogprobs == [0, 0, -0.5, -0.5, -0.5] })
    }

    /// The best log-probabilities hold all that could be drawn, or the entropy is not known.
    @Test func bestLogprobsThatHoldTheSupportGiveItsEntropy() throws {
        let supports: [[[Int32]]] = [[[0, 1], [2, 3], []], [[1, 4], [2, 3], []]]
        let rollouts = supports.enumerated().map { index, supports in
            var next = rollout(index, supports: supports)
            next.removeLogits()
            next.frame.topk = 2
            next.frame.topkTokenIDs = [0, 1, 2, 3, 0, 1]
            next.frame.topkLogprobs = [-0.45, -1.45, -0.5, -1.5, -1.3, -2.3]
            next.frame.metadata["vocab_size"] = "8"
            return next
        }
        let scored = try score(rollouts)
        #expect(isClose(Double(try #require(scored[0].entropy)[2]), 0.582203, absolute: 1e-6))
        #expect(scored[0].entropyLow?[2] == scored[0].entropyHigh?[2])
        #expect(scored[1].entropy?[2] == 0 && isClose(Double(scored[1].entropyHigh?[2] ?? 0), log(2), absolute: 1e-6))
    }
}
