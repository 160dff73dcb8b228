import Catalog
import Foundation

/// A run for people and as JSON.
struct RunReport {
    private let run: RunDetails
    private let jobs: [(job: CatalogedJob, state: String)]?

    init(_ run: RunDetails, jobs: [(CatalogedJob, String)]?) { (self.run, self.jobs) = (run, jobs) }

    var text: String {
        let head = AlignedText.of(
            [["run", "\(run.id)"], ["directory", run.path], ["stage", "\(run.stage), Crux \(run.version)"]]
                + [["state", run.state], ["recipe", run.recipe], ["manifest", run.manifestSHA256]].compactMap(
                    Self.known))
        return head + section("attempts", attempts) + section("inputs", run.inputs.map(file))
            + section("outputs", run.outputs.map(file)) + section("figures", run.figures.map(figure))
            + run.recipes.map { section("recipe (\($0.role))", recipe($0)) }.joined() + section("metrics", metrics)
            + section("jobs", run.jobs.sorted { $0.key < $1.key }.map { [$0.key, "\($0.value)"] })
            + section("each job", (jobs ?? []).map(job))
    }

    private static func known(_ line: [String?]) -> [String]? {
        let words = line.compactMap { $0 }
        return words.count == line.count ? words : nil
    }

    private func section(_ title: String, _ rows: [[String]]) -> String {
        guard !rows.isEmpty else { return "" }
        let lines = AlignedText.of(rows).split(separator: "\n").map { "  \($0)\n" }.joined()
        return "\(title)\n\(lines)"
    }

    private var attempts: [[String]] {
        run.attempts.map { attempt in
            let end = attempt.status.map { "exit \($0)" } ?? (attempt.ended == nil ? "no end known" : "ended")
            return [
                attempt.started, attempt.seconds.map { String(format: "%.1f s", $0) } ?? "–", end,
                "rank \(attempt.rank) of \(attempt.tasks)", "\(attempt.host):\(attempt.process)",
                attempt.scheduler.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " "),
                attempt.command.joined(separator: " "), "in \(attempt.folder)",
            ]
        }
    }

    private func file(_ file: CatalogedFile) -> [String] {
        let digest = file.digest.map { $0.prefix(16) + "…" } ?? "–"
        return [file.path, digest, file.bytes.map { "\($0) bytes" } ?? "", file.rows.map { "\($0) rows" } ?? ""]
    }

    private func figure(_ figure: CatalogedFigure) -> [String] {
        [figure.kind.rawValue, figure.name, figure.value.shown]
    }

    private func recipe(_ recipe: CatalogedRecipe) -> [[String]] {
        recipe.values.sorted { $0.key < $1.key }.map { [$0.key, $0.value.shown] }
    }

    /// The first and the last step of each.
    private var metrics: [[String]] {
        let byName = Dictionary(grouping: run.metrics, by: \.name)
        return byName.keys.sorted().compactMap { name in
            guard let first = byName[name]?.first, let last = byName[name]?.last else { return nil }
            return [name] + [first, last].map { "\($0.step): \(CatalogValue.real($0.value).shown)" }
        }
    }

    private func job(_ entry: (job: CatalogedJob, state: String)) -> [String] {
        [entry.job.jobID, entry.state, entry.job.customID]
    }

    // MARK: JSON

    var json: [String: any Sendable] {
        var fields: [String: any Sendable] = [
            "id": Int(run.id), "path": run.path, "run_stage": run.stage, "version": run.version, "state": run.state,
            "attempts": run.attempts.map(Self.json), "inputs": run.inputs.map(Self.json),
            "outputs": run.outputs.map(Self.json), "jobs": run.jobs,
        ]
        fields["recipe"] = run.recipe
        fields["manifest_sha256"] = run.manifestSHA256
        for kind in NameKind.allCases {
            let own = run.figures.filter { $0.kind == kind }
            guard !own.isEmpty else { continue }
            fields["\(kind.rawValue)s"] = Dictionary(own.map { ($0.name, $0.value.json) }) { first, _ in first }
        }
        fields["recipes"] = Dictionary(run.recipes.map { ($0.role, $0.values.mapValues(\.json)) }) { first, _ in first }
        fields["metrics"] = Dictionary(grouping: run.metrics, by: \.name).mapValues { steps in
            steps.map { [Double($0.step), $0.value] }
        }
        if let jobs {
            fields["each_job"] = jobs.map { entry -> [String: any Sendable] in
                [
                    "job_id": entry.job.jobID, "custom_id": entry.job.customID, "state": entry.state,
                    "base_rollout_id": entry.job.baseRolloutID, "state_index": entry.job.stateIndex,
                    "replicate": entry.job.replicate,
                ]
            }
        }
        return fields
    }

    private static func json(_ attempt: CatalogedAttempt) -> [String: any Sendable] {
        var fields: [String: any Sendable] = [
            "rank": attempt.rank, "tasks": attempt.tasks, "host": attempt.host, "process": attempt.process,
            "started": attempt.started, "command": attempt.command, "folder": attempt.folder,
            "scheduler": attempt.scheduler,
        ]
        fields["ended"] = attempt.ended
        fields["seconds"] = attempt.seconds
        fields["status"] = attempt.status
        return fields
    }

    private static func json(_ file: CatalogedFile) -> [String: any Sendable] {
        var fields: [String: any Sendable] = ["path": file.path]
        fields["bytes"] = file.bytes
        fields["digest"] = file.digest
        fields["rows"] = file.rows
        return fields
    }
}
