import Foundation
import LearningCurves
import RunViews
import StageSupport

/// What `crux-report mismatch` says.
struct MismatchReport {
    let tally: MismatchTally
    let comparison: TrainerComparison?
    let isTrainerKnown: Bool
    let texts: TokenText
    let minimumCount: Int

    private typealias Group = MismatchTally.Group

    // MARK: table

    /// Every group of tokens with its differences.
    var table: TextTable {
        var table = Self.emptyTable
        add("all", "", tally.all, to: &table)
        for (kind, name, difference) in named { add(kind, name, difference, to: &table) }
        return table
    }

    private static var emptyTable: TextTable {
        TextTable([
            "by", "value", "tokens", "mean", "mean |difference|", "KL (k3)", "largest", "rollout", "position",
        ])
    }

    private func add(_ kind: String, _ name: String, _ found: LogprobDifference, to table: inout TextTable) {
        table.add([
            .text(kind), .text(name), .count(found.tokens), .number(found.mean), .number(found.meanAbsolute),
            .number(found.meanDivergence), .number(found.largest), .text(found.rolloutID), .count(found.position),
        ])
    }

    /// In the order in which they are told; tokens by how far they part, the furthest first.
    private var named: [(kind: String, name: String, difference: LogprobDifference)] {
        let ordered = tally.groups.sorted { one, two in
            let (a, b) = (rank(one.key), rank(two.key))
            return a == b ? isBefore(one, two) : a < b
        }
        return ordered.filter { group, difference in
            if case .token = group { difference.tokens > minimumCount } else { true }
        }.map { (kind($0.key), name($0.key), $0.value) }
    }

    private func rank(_ group: Group) -> Int {
        switch group {
        case .policyVersion: 0
        case .temperature: 1
        case .place: 2
        case .entropy: 3
        case .token: 4
        }
    }

    private func isBefore(_ one: (key: Group, value: LogprobDifference), _ two: (key: Group, value: LogprobDifference))
        -> Bool
    {
        switch (one.key, two.key) {
        case (.policyVersion(let a), .policyVersion(let b)): a < b
        case (.temperature(let a), .temperature(let b)): a < b
        case (.place(let a), .place(let b)), (.entropy(let a), .entropy(let b)): a < b
        case (.token(let a), .token(let b)):
            one.value.meanAbsolute == two.value.meanAbsolute
                ? a < b : (one.value.meanAbsolute ?? 0) > (two.value.meanAbsolute ?? 0)
        default: false
        }
    }

    private func kind(_ group: Group) -> String {
        switch group {
        case .policyVersion: "policy version"
        case .temperature: "temperature"
        case .place: "tenth of the response"
        case .entropy: "entropy from (nats)"
        case .token: "token"
        }
    }

    private func name(_ group: Group) -> String {
        switch group {
        case .policyVersion(let version): version.isEmpty ? "(not said)" : version
        case .temperature(let temperature): short(temperature)
        case .place(let place): "\(place + 1)"
        case .entropy(let level): level == 0 ? "0" : short(EntropyLevel.edges[level - 1])
        case .token(let id): texts.text(id)
        }
    }

    // MARK: picture

    /// Mean |difference| and KL over the response, and over entropy where that is known.
    var svg: String {
        func line(_ points: [(Double, LogprobDifference)], _ value: (LogprobDifference) -> Double?) -> [ChartLine] {
            let known = points.sorted { $0.0 < $1.0 }.compactMap { x, found in value(found).map { (x: x, y: $0) } }
            return known.isEmpty ? [] : [ChartLine(name: "trainer - sampler", points: known)]
        }
        let places = tally.groups.compactMap { group, found -> (Double, LogprobDifference)? in
            if case .place(let place) = group { (Double(place + 1), found) } else { nil }
        }
        let levels = tally.groups.compactMap { group, found -> (Double, LogprobDifference)? in
            guard case .entropy(let level) = group else { return nil }
            return (level == 0 ? 0 : Double(EntropyLevel.edges[level - 1]), found)
        }
        let panels = [
            ChartPanel(title: "mean |difference| (nats) by tenth of the response", lines: line(places, \.meanAbsolute)),
            ChartPanel(title: "KL (k3) by tenth of the response", lines: line(places, \.meanDivergence)),
            ChartPanel(title: "mean |difference| (nats) by entropy (nats)", lines: line(levels, \.meanAbsolute)),
            ChartPanel(title: "KL (k3) by entropy (nats)", lines: line(levels, \.meanDivergence)),
        ]
        return LineChart.svg(
            title: "trainer against sampler", xLabel: "", panels: panels.filter { !$0.lines.isEmpty })
    }

    /// The files `OUTPUT.md`, `OUTPUT.csv` and `OUTPUT.svg`.
    func files(_ output: String) -> [ReportFile] {
        table.files(output) + [ReportFile(path: output + ".svg", text: svg)]
    }

    // MARK: text

    func text(rows: Int, output: String?) -> String {
        let parts = [isTrainerKnown ? samplerText(rows: rows) : unknownTrainer, comparison.map(trainerText) ?? ""]
        return parts.filter { !$0.isEmpty }.joined(separator: "\n")
            + (output.map { "The whole table: \($0).md and \($0).csv; a picture: \($0).svg\n" } ?? "")
    }

    private var unknownTrainer: String {
        "trainer against sampler: not known, because the scores' old_logprobs are the sampler's own "
            + "(crux-score --checkpoint DIR computes the trainer's)\n"
    }

    private func samplerText(rows: Int) -> String {
        var table = Self.emptyTable, tokens = 0
        add("all", "", tally.all, to: &table)
        for (kind, name, difference) in named {
            let isToken = kind == self.kind(.token(0))
            tokens += isToken ? 1 : 0
            if !isToken || tokens <= rows { add(kind, name, difference, to: &table) }
        }
        return "log-probability of the trainer (old_logprobs) less that of the sampler (rollout_logprobs), in nats: "
            + "\(tally.rollouts - tally.unknown) of \(tally.rollouts) rollouts have both\n\n" + table.aligned
            + (tokens > rows ? "… \(tokens - rows) more tokens\n" : "")
    }

    private func trainerText(_ found: TrainerComparison) -> String {
        var table = TextTable(["number", "tokens", "differ", "first at", "trainer wrote", "here", "largest difference"])
        for column in TrainerColumn.allCases {
            guard let sum = found.columns[column] else { continue }
            table.add([
                .text(column.key), .count(sum.tokens), .count(sum.differing), .text(sum.first.map(place) ?? "nowhere"),
                .number(sum.first?.trainer), .number(sum.first?.ours), .number(sum.largest?.size ?? 0),
            ])
        }
        let left = [
            (found.unread, "have no numbers of a trainer"),
            (found.unknown, "are of rollouts that the run doesn't have"),
            (found.otherTokens, "have other tokens than the run"),
        ].filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }
        let first = found.first.map {
            "first divergence: \($0.column.key) of \(place($0)) (\(shown($0.file)), line \($0.line)): the trainer wrote "
                + "\(short($0.trainer)), the run has \(short($0.ours)), \(short($0.size)) apart"
        }
        return "against what a trainer wrote, \(found.lines) lines"
            + (left.isEmpty ? "" : ", of which " + left.joined(separator: ", "))
            + "; tolerance \(short(found.tolerance))\n"
            + (first ?? "no number that both have differs") + "\n\n" + table.aligned
    }

    private func place(_ found: TrainerDivergence) -> String {
        "rollout \(shown(found.rolloutID)), position \(found.position)"
    }

    // MARK: JSON

    var fields: [String: any Sendable] {
        let groups = named.map { kind, name, difference in
            fields(difference).merging(["by": kind, "value": name]) { $1 }
        }
        return [
            "rollouts": tally.rollouts, "rollouts_unknown": tally.unknown, "trainer_known": isTrainerKnown,
            "all": fields(tally.all), "groups": groups, "trainer": comparison.map(fields) ?? NSNull(),
        ]
    }

    private func fields(_ found: LogprobDifference) -> [String: any Sendable] {
        [
            "tokens": found.tokens, "mean": found.mean ?? NSNull(), "mean_absolute": found.meanAbsolute ?? NSNull(),
            "kl_k3": found.meanDivergence ?? NSNull(), "largest": found.largest, "rollout_id": found.rolloutID,
            "position": found.position,
        ]
    }

    private func fields(_ found: TrainerComparison) -> [String: any Sendable] {
        let columns = found.columns.map { column, sum in
            (
                column.key,
                [
                    "tokens": sum.tokens, "differing": sum.differing, "first": sum.first.map(fields) ?? NSNull(),
                    "largest": sum.largest.map(fields) ?? NSNull(),
                ] as [String: any Sendable]
            )
        }
        return [
            "lines": found.lines, "unread": found.unread, "unknown": found.unknown, "other_tokens": found.otherTokens,
            "first": found.first.map(fields) ?? NSNull(), "columns": Dictionary(uniqueKeysWithValues: columns),
        ]
    }

    private func fields(_ found: TrainerDivergence) -> [String: any Sendable] {
        [
            "column": found.column.key, "rollout_id": found.rolloutID, "line": found.line, "position": found.position,
            "trainer": jsonNumber(found.trainer), "run": jsonNumber(found.ours),
        ]
    }
}
