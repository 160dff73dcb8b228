import Arrow
import Formats
import Foundation
import Randomness
import StageSupport

/// Plans over many tokens of scores, beside polars on the same files, turn by turn: the plan without its table
/// (group statistics, the exact quantile, the mask), and the whole plan with its table. Before that a tenth of the tokens, for
/// what grows; after it as many in fewer rollouts.
struct PlanBench {
    let threads: Int
    /// A Python with polars; without one our own figures stand alone.
    let python: String?
    /// Tokens of the larger dump.
    let tokens: Int
    private let folder = FileManager.default.temporaryDirectory.path + "/crux-bench-plan-\(getpid())"
    private static let rounds = 3
    private static let recipe = "name: bench\nadvantage: grpo\nentropy: {mask: {top: 0.2, scope: plan}}\n"

    func run() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let small = try measure(tokens / 10, baseline: false), large = try measure(tokens, baseline: true),
            long = try measure(tokens, longer: 10, baseline: false)
        say("  \(growth(small, large)) in as many more rollouts")
        say("  \(growth(small, long)) in rollouts ten times as long")
    }

    private func growth(_ small: Figures, _ large: Figures) -> String {
        String(
            format:
                "%.1f times the tokens (without its table it takes %.1f times as long with %.2f times the memory, the whole plan %.1f times with %.2f times)",
            Double(large.tokens) / Double(small.tokens), large.figures.seconds / small.figures.seconds,
            Double(large.figures.peakBytes) / Double(small.figures.peakBytes),
            large.whole.seconds / small.whole.seconds,
            Double(large.whole.peakBytes) / Double(small.whole.peakBytes))
    }

    private struct Figures {
        let tokens: Int
        /// The plan without its table.
        let figures: ChildProcess
        let whole: ChildProcess
    }

    /// `longer`: how many times as long as usual rollouts are.
    private func measure(_ wanted: Int, longer: Int = 1, baseline: Bool) throws -> Figures {
        let root = folder + "/\(wanted)",
            dump = try ScoreTables(root: root, tokens: wanted, longer: longer, threads: threads)
        defer { try? FileManager.default.removeItem(atPath: root) }
        try Self.recipe.write(toFile: root + "/recipe.yaml", atomically: true, encoding: .utf8)
        let python =
            baseline
            ? try self.python.map { try Baseline(python: $0, ["bench/plan_polars.py", root, "\(threads)"]) } : nil
        say("plan over \(dump.tokens) tokens of \(dump.rollouts) rollouts, grpo, top 0.2 of the plan:")
        // Nobody else compares digests: that is told apart.
        let figures = try compare(
            "without its table", dump, [("as queries", "queries"), ("by columns", "columns")], python
        ) {
            try plan(root, ["--report-only", "--no-verify"])
        }
        try reportVerification(root, dump)
        let whole = try compare("whole, table included", dump, [("by columns", "whole")], python) {
            try plan(root, ["--output", root + "/plan", "--overwrite", "--no-verify"])
        }
        return Figures(tokens: dump.tokens, figures: figures, whole: whole)
    }

    /// Ours and each form of theirs, turn by turn. Returns our fastest run.
    private func compare(
        _ name: String, _ dump: ScoreTables, _ forms: [(name: String, question: String)], _ python: Baseline?,
        _ run: () throws -> ChildProcess
    ) throws -> ChildProcess {
        var ours: [ChildProcess] = [], theirs = forms.map { _ in [Double]() }
        for _ in 0..<Self.rounds {
            ours.append(try run())
            guard let python else { continue }
            for (index, form) in forms.enumerated() {
                let answer = try python.ask(form.question)
                theirs[index].append(answer[0])
                try check(ours[0], answer)
            }
        }
        report(name, ours, dump.tokens)
        for (form, seconds) in zip(forms, theirs) where !seconds.isEmpty {
            report(form.name, seconds, python?.peakBytes ?? 0, ours)
        }
        return ours.min { $0.seconds < $1.seconds }!
    }

    /// What it costs to compare the digests of all tables first, turn by turn with and without.
    private func reportVerification(_ root: String, _ dump: ScoreTables) throws {
        var with: [Double] = [], without: [Double] = []
        for _ in 0..<Self.rounds {
            without.append(try plan(root, ["--report-only", "--no-verify"]).seconds)
            with.append(try plan(root, ["--report-only"]).seconds)
        }
        let cost = Self.median(with) - Self.median(without)
        say(
            String(
                format:
                    "  the same with the tables' digests compared: %.2f s, %.2f s of it for %.2f GB of tables (%.2f GB/s)",
                Self.median(with), cost,
                Double(dump.bytes) / 1e9, Double(dump.bytes) / 1e9 / cost))
    }

    private func plan(_ root: String, _ more: [String]) throws -> ChildProcess {
        let output = more.contains("--output") ? [] : ["--output", root + "/unused"]
        return try ChildProcess(
            "crux-plan",
            [
                "--input", root + "/ingest", "--scores", root + "/score", "--recipe", root + "/recipe.yaml",
                "--threads", "\(threads)",
            ] + output + more)
    }

    private static func median(_ seconds: [Double]) -> Double { seconds.sorted()[seconds.count / 2] }

    private func report(_ name: String, _ ours: [ChildProcess], _ tokens: Int) {
        let seconds = Self.median(ours.map(\.seconds)), peak = MemorySize.text(ours.map(\.peakBytes).max() ?? 0)
        say(
            String(
                format: "  %@: %.2f s, %.0f M tokens/s, peak memory %@", name, seconds, Double(tokens) / seconds / 1e6,
                peak))
    }

    /// `peak`: of the baseline so far.
    private func report(_ form: String, _ theirs: [Double], _ peak: Int, _ ours: [ChildProcess]) {
        let other = Self.median(theirs), ratio = other / Self.median(ours.map(\.seconds))
        let range = String(format: "%.2f to %.2f", theirs.min()!, theirs.max()!)
        say(
            String(
                format: "    polars %@: %.2f s (%@) with %@: we are %.1f times as fast", form, other, range,
                MemorySize.text(peak), ratio))
    }

    /// Both must have found the same.
    private func check(_ ours: ChildProcess, _ theirs: [Double]) throws {
        guard let summary = ours.summary["summary"] as? [String: Any],
            let counts = ours.summary["counts"] as? [String: Any]
        else { return }
        let threshold = (summary["thresholds"] as? [Double])?.first ?? .nan,
            kept = (counts["kept_tokens"] as? NSNumber)?.doubleValue ?? .nan
        guard abs(threshold - theirs[1]) <= 1e-6, kept == theirs[2] else {
            throw ChildProcess.Failure(
                description:
                    "the threshold is \(threshold) with \(kept) tokens kept, polars' \(theirs[1]) with \(theirs[2])")
        }
    }
}

/// Directories of ingest and score made out of nothing: rollouts of 300 to 1,500 tokens, or some times as many, in
/// groups of eight, half of their entropies near 0.
private struct ScoreTables {
    private(set) var tokens = 0
    private(set) var rollouts = 0
    /// Of all tables.
    private(set) var bytes = 0
    private static let fileTokens = 8 << 20

    init(root: String, tokens wanted: Int, longer: Int, threads: Int) throws {
        for stage in ["ingest", "score"] {
            try FileManager.default.createDirectory(atPath: root + "/" + stage, withIntermediateDirectories: true)
        }
        let files = max(1, (wanted + Self.fileTokens / 2) / Self.fileTokens), perFile = wanted / files
        let made = try parallelMap(files, threads: threads) { try Self.file($0, root, tokens: perFile, longer: longer) }
        (tokens, rollouts) = (made.reduce(0) { $0 + $1.tokens }, made.reduce(0) { $0 + $1.rollouts })
        for (stage, prefix) in [("ingest", "rollouts"), ("score", "scores")] {
            let inputs = stage == "score" ? [try Manifest.asInput(root + "/ingest", stage: "ingest")] : []
            var manifest = Manifest(stage: stage, configuration: [:], inputs: inputs)
            manifest.outputs = try parallelMap(files, threads: threads) {
                try Manifest.describe(String(format: "%@-%05d.arrow", prefix, $0), in: root + "/" + stage)
            }
            bytes += manifest.outputs.reduce(0) { $0 + ($1.bytes ?? 0) }
            try manifest.write(to: root + "/" + stage)
        }
    }

    private static func file(_ number: Int, _ root: String, tokens wanted: Int, longer: Int) throws -> (
        tokens: Int, rollouts: Int
    ) {
        var random = SplitMix64(seed: UInt64(number)), tokens = 0, rollouts = 0
        let name = String(format: "%05d.arrow", number)
        var rolloutTable = try ArrowTableWriter(
            path: root + "/ingest/rollouts-" + name, table: Tables.rollouts, metadata: [:])
        var scoreTable = try ArrowTableWriter(path: root + "/score/scores-" + name, table: Tables.scores, metadata: [:])
        while tokens < wanted || rollouts % 8 != 0 {
            let (rollout, score) = row(
                "\(number)-\(rollouts)", group: "\(number)-\(rollouts / 8)",
                length: longer * (300 + Int(random.next() % 1200)), &random)
            try rolloutTable.append(rollout)
            try scoreTable.append(score)
            (tokens, rollouts) = (tokens + rollout.tokenIDs.count, rollouts + 1)
        }
        try rolloutTable.finish()
        try scoreTable.finish()
        return (tokens, rollouts)
    }

    private static func row(_ id: String, group: String, length: Int, _ random: inout SplitMix64) -> (
        RolloutRow, ScoreRow
    ) {
        var rollout = RolloutRow(), score = ScoreRow(), entropy = [Float](repeating: 0, count: length),
            logprobs = entropy
        rollout.tokenIDs = [Int32](repeating: 0, count: length)
        for t in 0..<length {
            let bits = random.next(), u = Float(bits >> 40) / Float(1 << 24)
            rollout.tokenIDs[t] = Int32(bits & 0x1_ffff)
            guard t >= 100 else { continue }
            entropy[t] = u < 0.5 ? u * u * u * 0.08 : u * u * 1.2
            logprobs[t] = -Float(bits >> 16 & 0xffff) / 65536
        }
        (rollout.rolloutID, rollout.groupID, rollout.finishReason, rollout.evidence) = (
            id, group, FinishReason.finished.ownWord, EntropySource.logits.rawValue
        )
        rollout.lossMask = (0..<length).map { $0 >= 100 }
        rollout.rolloutLogprobs = logprobs
        (score.rolloutID, score.evidence) = (id, EntropySource.logits.rawValue)
        score.setVerdict(.given)
        score.correct = random.next() % 5 < 2
        score.reward = score.correct == true ? 1 : 0
        (score.entropy, score.oldLogprobs) = (entropy, logprobs)
        return (rollout, score)
    }
}
