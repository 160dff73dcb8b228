import ArgumentParser
import Formats
import Foundation
import StageSupport
import Tokenizer

/// What a teacher is told that the policy was not: put before the policy's own prompt.
enum Privileged: String, ExpressibleByArgument, CaseIterable {
    /// A right rollout of the same group, never the rollout itself.
    case demonstration
    /// The reference answer.
    case answer

    var placeholder: String { "{\(rawValue)}" }

    /// Text for which there is no better word: chat models want the marks of their own template around it.
    var template: String {
        switch self {
        case .demonstration:
            "Here is a correct solution of the task that follows:\n\n{demonstration}\n\nNow the task itself:\n\n"
        case .answer: "The answer of the task that follows is: {answer}\n\n"
        }
    }
}

/// What a teacher read in place of the policy's prompt; raw values are those of the scores' `teacher_prompt`.
enum TeacherPromptKind: String {
    /// the policy's own
    case own
    /// `teacher_prompt_ids` of the dump
    case ids
    /// `teacher_prompt` of the dump
    case text
    case demonstration, answer
}

/// Prompts that a teacher reads: the dump's own where it has any, else what was asked for, else the policy's.
struct TeacherPrompts {
    private let privileged: Privileged?
    private let template: String
    private let tokenizer: Tokenizer?
    private let demonstrations: Demonstrations?
    /// The teacher's folder, for messages.
    private let directory: String

    init(
        _ directory: String, tokenizer: Tokenizer?, _ privileged: Privileged?, template: String?,
        _ demonstrations: Demonstrations?
    ) {
        (self.directory, self.tokenizer, self.privileged) = (directory, tokenizer, privileged)
        self.template = template ?? privileged?.template ?? ""
        self.demonstrations = demonstrations
    }

    func row(_ rollout: RolloutRow) throws -> TeacherRow {
        if let ids = TeacherPrompt.ids(ofExtras: rollout.extras) {
            return TeacherRow(rollout, prompt: ids, .ids)
        }
        if let text = TeacherPrompt.text(ofExtras: rollout.extras) {
            let ids = try encoder(for: rollout).encode(text, specialTokens: .auto)
            guard !ids.isEmpty else { throw noToken(rollout) }
            return TeacherRow(rollout, prompt: ids, .text)
        }
        guard let privileged, let told = try told(rollout, privileged) else { return TeacherRow(rollout) }
        let tokenizer = try encoder(for: rollout),
            text = template.replacingOccurrences(
                of: privileged.placeholder, with: told)
        return TeacherRow(
            rollout, before: tokenizer.encode(text, addingSpecialTokens: false), leading: leading(tokenizer),
            privileged == .answer ? .answer : .demonstration)
    }

    /// nil where there is nothing to tell.
    private func told(_ rollout: RolloutRow, _ privileged: Privileged) throws -> String? {
        switch privileged {
        case .answer: return rollout.referenceAnswer.isEmpty ? nil : rollout.referenceAnswer
        case .demonstration:
            guard let shown = try demonstrations?.demonstration(for: rollout) else { return nil }
            if !shown.completion.isEmpty { return shown.completion }
            let start = shown.lossMask.firstIndex(of: true) ?? shown.tokenIDs.count
            return try encoder(for: rollout).decode(shown.tokenIDs[start...])
        }
    }

    /// What the tokenizer puts before every text; nothing may come before it.
    private func leading(_ tokenizer: Tokenizer) -> Int32? {
        tokenizer.encode("", addingSpecialTokens: true).first
    }

    private func encoder(for rollout: RolloutRow) throws -> Tokenizer {
        guard let tokenizer else {
            throw StageError(
                .invalidInput,
                "\(directory): found no tokenizer.json, expected one to write down the teacher's prompt of rollout "
                    + "'\(rollout.rolloutID)'. Save the tokenizer beside the teacher, or dump teacher_prompt_ids.")
        }
        return tokenizer
    }

    private func noToken(_ rollout: RolloutRow) -> StageError {
        StageError(
            .invalidInput,
            "rollout '\(rollout.rolloutID)': found a teacher_prompt of no token, expected at least one. Leave it out where "
                + "the teacher reads the policy's prompt.")
    }
}
