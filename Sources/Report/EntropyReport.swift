import Credit
import Entropy
import Files
import Foundation
import RunViews
import StageSupport
import Tokenizer

/// Entropy figures and token tables of a scored dump, as Markdown for reading and JSON for whatever comes next.
struct EntropyReport {
    let input: String
    let scores: String
    /// Scores of the same rollouts by another policy.
    let against: String?
    let tokenizer: Tokenizer?
    let minimumCount: Int
    let tableRows: Int
    let context: StageContext

    /// What the JSON holds.
    private struct Content: Encodable {
        struct Entry: Encodable {
            let token: Int32
            let text: String?
            let count: Int
            let mean: Double
        }

        let statistics: EntropyStatistics
        /// Rollouts by what their entropies came from.
        let evidence: [String: Int]
        let highest: [Entry]
        let lowest: [Entry]
        let comparison: EntropyComparison?
    }

    func write(to output: String) throws -> Int {
        let rows = try self.rows(of: scores)
        var sample = EntropySample(), evidence: [String: Int] = [:]
        for number in 0..<rows.count {
            let row = try rows.row(number)
            evidence[row.evidence, default: 0] += 1
            guard let entropy = row.score.entropy else { continue }
            sample.add(
                entropy: entropy, tokens: row.rollout.tokenIDs, mask: row.rollout.lossMask, correct: row.score.correct,
                finish: row.rollout.finishReason)
        }
        guard let statistics = EntropyStatistics(sample) else {
            throw StageError(
                .invalidInput,
                "\(scores): found no entropies, expected them. Dump logits, or score with --checkpoint DIR.")
        }
        let table = TokenEntropy.table(sample, minimumCount: minimumCount).map {
            Content.Entry(token: $0.token, text: text($0.token), count: $0.count, mean: $0.mean)
        }
        let content = Content(
            statistics: statistics,
            evidence: evidence,
            highest: Array(table.prefix(tableRows)),
            lowest: Array(table.reversed().prefix(tableRows)),
            comparison: try against.map { try compare(rows, $0) })
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        try AtomicFile.write(String(decoding: try encoder.encode(content), as: UTF8.self) + "\n", to: output + ".json")
        try AtomicFile.write(markdown(content), to: output + ".md")
        return statistics.tokens
    }

    private func text(_ token: Int32) -> String? { tokenizer.map { $0.decode([token], skippingSpecialTokens: false) } }

    // MARK: reading

    /// The dump's rows with one directory's scores of them.
    private func rows(of scores: String) throws -> ScoredRows {
        let manifests = try RunView.manifests(input: input, scores: scores)
        return try ScoredRows(ingest: input, manifests.ingest, scores: scores, manifests.score, context)
    }

    private func compare(_ rows: ScoredRows, _ other: String) throws -> EntropyComparison {
        let others = try self.rows(of: other)
        var before: [Float] = [], after: [Float] = [], logprobs = (before: [Float](), after: [Float]())
        for number in 0..<rows.count {
            let row = try rows.row(number), rollout = row.rollout, score = row.score,
                mark = try others.row(number).score
            guard let entropy = score.entropy, let otherEntropy = mark.entropy else { continue }
            for t in rollout.lossMask.indices where rollout.lossMask[t] {
                before.append(entropy[t])
                after.append(otherEntropy[t])
                if let a = score.oldLogprobs, let b = mark.oldLogprobs {
                    logprobs.before.append(a[t])
                    logprobs.after.append(b[t])
                }
            }
        }
        guard !before.isEmpty else {
            throw StageError(
                .invalidInput,
                "\(other): found no entropies of the rollouts of \(input), expected scores of the same dump")
        }
        return EntropyComparison(
            before: before, after: after, logprobs: logprobs.before.count == before.count ? logprobs : nil)
    }

    // MARK: Markdown

    private func markdown(_ content: Content) -> String {
        let s = content.statistics
        func number(_ value: Double?) -> String { value.map { String(format: "%.4g", $0) } ?? "-" }
        func percent(_ value: Double) -> String { String(format: "%.2f %%", 100 * value) }
        func table(_ header: [String], _ rows: [[String]]) -> String {
            ([header, header.map { _ in "---" }] + rows).map { "| " + $0.joined(separator: " | ") + " |" }.joined(
                separator: "\n")
        }
        func nats(_ value: Double?) -> String { value.map { number($0) + " nats" } ?? "-" }
        let figures =
            [["tokens", "\(s.tokens)"], ["mean entropy", nats(s.mean)]]
            + [
                ["share of tokens below 0.01 nats", percent(s.shareBelow001)],
                ["share of tokens above 0.672 nats", percent(s.shareAbove0672)],
            ]
            + content.evidence.sorted { $0.key < $1.key }.map { ["rollouts known by \($0.key)", "\($0.value)"] }
            + s.thresholds.sorted { $0.key < $1.key }.map { ["threshold of the top \($0.key)", nats($0.value)] }
            + s.meanByOutcome.sorted { $0.key < $1.key }.map { ["mean entropy, \($0.key)", nats($0.value)] }
            + s.meanByFinish.sorted { $0.key < $1.key }.map { ["mean entropy, finished by \($0.key)", nats($0.value)] }
        var parts = [
            "# Entropy of \(scores)", table(["figure", "value"], figures),
            table(["quantile", "entropy (nats)"], s.quantiles.enumerated().map { ["\(5 * $0) %", number($1)] }),
            table(
                ["tenth of the response", "mean entropy (nats)"],
                s.meanByDecile.enumerated().map { ["\($0 + 1)", number($1)] }),
        ]
        for (title, entries) in [("Highest", content.highest), ("Lowest", content.lowest)] {
            parts += ["## \(title) mean entropy, tokens seen more than \(minimumCount) times"]
            parts.append(
                table(
                    ["token", "id", "count", "mean entropy (nats)"],
                    entries.map { [escaped($0.text), "\($0.token)", "\($0.count)", number($0.mean)] }))
        }
        if let c = content.comparison {
            parts += ["## Against \(against ?? "")"]
            parts.append(
                table(
                    ["top share", "overlap", "Jaccard"],
                    c.overlaps.map { ["\($0.share)", percent($0.overlap), number($0.jaccard)] }))
            parts.append(
                table(
                    ["twentieth of the first entropies", "mean change (nats)"],
                    c.changeByBin.enumerated().map { ["\($0 + 1)", number($1)] }))
            if let clip = c.clipping {
                parts.append(
                    table(
                        ["ratio", "top 20 %", "the rest"],
                        [
                            ["below 0.8", percent(clip.lowKept), percent(clip.lowRest)],
                            ["above 1.28", percent(clip.highKept), percent(clip.highRest)],
                        ]))
            }
        }
        return parts.joined(separator: "\n\n") + "\n"
    }

    /// As code, whatever characters a token is made of.
    private func escaped(_ text: String?) -> String {
        guard let text else { return "" }
        return "`"
            + text.replacingOccurrences(of: "\n", with: "\\n").replacingOccurrences(of: "|", with: "\\|")
            .replacingOccurrences(of: "`", with: "'") + "`"
    }
}
