import Formats
import RunViews

/// A rollout for a terminal: its tokens by entropy, those that a plan keeps, and which way the plan pushes them.
struct RolloutText {
    let view: RolloutView
    let texts: TokenText
    let style: TerminalStyle

    var text: String {
        ([head] + plans + ["", "prompt:", prompt, "", "response:", response, ""] + dumpedText + [legend])
            .joined(separator: "\n") + "\n"
    }

    // MARK: what is known of it

    private var head: String {
        let row = view.rollout, score = view.score
        let about = [
            ("group", shown(row.groupID)), ("sample", "\(row.sampleIndex)"),
            ("policy version", shown(row.policyVersion)), ("data source", shown(row.dataSource)),
            ("finish reason", shown(row.finishReason)), ("temperature", short(row.temperature)),
            ("evidence", shown(view.evidence)),
        ]
        let verdict = [
            ("verdict", shown(score.verdict)), ("reward", score.reward.map(short) ?? "none"),
            ("answer found", shown(score.extracted)), ("reference answer", shown(row.referenceAnswer)),
        ]
        return "rollout \(shown(row.rolloutID))\n" + line(about) + "\n" + line(verdict)
    }

    private func line(_ parts: [(String, String)]) -> String {
        parts.filter { !$0.1.isEmpty }.map { "\($0.0) \($0.1)" }.joined(separator: ", ")
    }

    private var plans: [String] {
        view.entries.flatMap { entry -> [String] in
            switch entry {
            case .missing: ["plan: not in it"]
            case .dropped(let reason): ["plan: dropped, \(shown(reason))\(WordMeanings.ofDropReason(reason))"]
            case .kept(let rows): rows.map(planned)
            }
        }
    }

    private func planned(_ row: PlanRow) -> String {
        let kept = row.lossMask.indices.filter { row.keeps($0) }, values = Set(kept.map { row.advantages[$0] })
        let advantage =
            values.count == 1
            ? "advantage \(short(values.first ?? 0))"
            : "advantages \(short(values.min() ?? 0)) to \(short(values.max() ?? 0))"
        return "plan: step \(row.step), reward \(short(row.reward)), "
            + "\(kept.count) of \(row.lossMask.count { $0 }) tokens kept" + (kept.isEmpty ? "" : ", " + advantage)
    }

    // MARK: tokens

    private var responseStart: Int { view.rollout.lossMask.firstIndex(of: true) ?? view.rollout.tokenIDs.count }

    private var prompt: String {
        guard texts.knowsTexts || view.rollout.prompt.isEmpty else { return TokenText.visible(view.rollout.prompt) }
        return view.rollout.tokenIDs[..<responseStart].map(texts.text).joined()
    }

    /// The response as the dump has it, where its tokens are shown by their ids.
    private var dumpedText: [String] {
        guard !texts.knowsTexts, !view.rollout.completion.isEmpty else { return [] }
        return ["response as text:", TokenText.visible(view.rollout.completion), ""]
    }

    private var response: String {
        (responseStart..<view.rollout.tokenIDs.count).map(token).joined()
    }

    private func token(_ t: Int) -> String {
        let text = texts.text(view.rollout.tokenIDs[t])
        // What the policy didn't sample, such as an environment's answer between its turns.
        guard view.rollout.lossMask[t] else { return "‹" + text + "›" }
        let row = view.entries.first?.rows.first, isKept = row?.keeps(t) ?? false
        let level = view.score.entropy.map { EntropyLevel.level(of: $0[t]) } ?? 0
        guard style == .plain else {
            return style.painted(text, level: level, isUnderlined: isKept) + (isKept ? Self.sign(row, t) : "")
        }
        return EntropyLevel.bar(level) + (isKept ? "[" + text + "]" + Self.sign(row, t) : text)
    }

    /// Which way the plan pushes the token.
    private static func sign(_ row: PlanRow?, _ t: Int) -> String {
        guard let advantage = row?.advantages[t] else { return "" }
        return advantage > 0 ? "⁺" : advantage < 0 ? "⁻" : "⁰"
    }

    // MARK: legend

    private var legend: String {
        let entropy = view.score.entropy == nil ? "entropy: not known of this rollout" : "entropy in nats:  " + levels
        let kept = style == .plain ? "[token]" : style.painted("token", level: 0, isUnderlined: true)
        let signs = "⁺ advantage above 0, ⁻ below, ⁰ none"
        return entropy + "\n" + (view.entries.isEmpty ? "" : "\(kept) kept by the plan: \(signs);  ")
            + "‹token› not sampled by the policy"
    }

    private var levels: String {
        let names = ["below \(short(EntropyLevel.edges[0]))"] + EntropyLevel.edges.map { "from \(short($0))" }
        return names.enumerated().map { level, name in
            style == .plain
                ? [EntropyLevel.bar(level), name].filter { !$0.isEmpty }.joined(separator: " ")
                : style.painted(" \(name) ", level: level, isUnderlined: false)
        }.joined(separator: style == .plain ? "  " : "")
    }
}
