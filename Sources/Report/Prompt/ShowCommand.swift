import ArgumentParser
import Files
import Foundation
import RunViews
import StageSupport
import Tokenizer

/// One rollout as coloured text.
struct ShowCommand: StageCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract:
            "Shows a rollout as text: how uncertain each token was, which ones a plan keeps, and whether it pushes them up or down."
    )
    static let stage = "report"

    @Argument(help: "rollout_id of the rollout.")
    var rolloutID: String

    @Option(help: "Directory of crux-ingest.")
    var input: String

    @Option(help: "Directory of crux-score that was made of --input.")
    var scores: String

    @Option(help: "Directory of crux-plan that was made of both: marks what it keeps.")
    var plan: String?

    @Option(
        help: "Checkpoint folder (or tokenizer.json): gives tokens their text; else their ids are shown.",
        transform: ModelFolder.path)
    var tokenizer: String?

    @Option(help: "Colours: auto (on a terminal, unless NO_COLOR is set), always, never.")
    var color = ColorChoice.auto

    @OptionGroup var reading: ReadingOptions
    @OptionGroup var options: StageOptions

    func runStage(_ context: StageContext) throws -> StageSummary {
        guard options.share.rank == 0 else { return StageSummary(["left_to_rank_0": true]) }
        let run = try RunView(input: input, scores: scores, plans: [plan].compactMap { $0 }, context)
        let texts = TokenText(try tokenizer.map { try Tokenizer(path: $0) })
        guard let view = try run.rollout(named: rolloutID) else {
            throw StageError(
                .invalidInput,
                "\(input): found no rollout '\(shown(rolloutID))' among its \(run.rows.count), expected one. "
                    + "crux-report trace says whether it was rejected; ids are in rollouts-*.arrow.")
        }
        let (isTerminal, environment) = TerminalStyle.ofStandardOutput
        let style = TerminalStyle.chosen(color, isTerminal: isTerminal, environment: environment)
        return reading.summary(
            RolloutText(view: view, texts: texts, style: style).text, RolloutFields.of(view))
    }
}

/// What a rollout is, for machines.
enum RolloutFields {
    static func of(_ view: RolloutView) -> [String: any Sendable] {
        let row = view.entries.first?.rows.first
        let tokens = view.trainable.map { t -> [String: any Sendable] in
            var token: [String: any Sendable] = [
                "position": t, "token_id": Int(view.rollout.tokenIDs[t]), "kept": row?.keeps(t) ?? false,
            ]
            token["entropy"] = jsonNumber(view.score.entropy?[t])
            token["advantage"] = jsonNumber(row?.advantages[t])
            token["weight"] = jsonNumber(row?.tokenWeights[t])
            return token
        }
        var fields: [String: any Sendable] = [
            "rollout_id": view.rollout.rolloutID, "group_id": view.rollout.groupID, "verdict": view.score.verdict,
            "evidence": view.evidence, "tokens": tokens,
        ]
        fields["reward"] = jsonNumber(view.score.reward)
        fields["drop_reason"] = view.entries.first?.dropReason ?? NSNull()
        return fields
    }
}
