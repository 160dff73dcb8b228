/// `DapoMath` with `strict_box_verify`: only the last \boxed{…} of the last 100 characters, to the letter.
package struct DapoMathStrict: RewardFunction {
    package static let name = "dapo_math_strict"
    package static let source = "verl math_dapo, strict box"

    package init() {}

    package func judge(_ input: RewardInput) -> RewardOutcome {
        if input.referenceAnswer.isEmpty { return .open(.noReference) }
        let boxed = Self.boxed(PythonText(input.completion).suffix(300))
        return Self.outcome(boxed == PythonText(input.referenceAnswer), boxed)
    }

    static func boxed(_ text: PythonText) -> PythonText? {
        let end = text.suffix(100)
        guard let start = end.findLast("\\boxed{"), let run = end.bracedRun(from: start) else { return nil }
        return PythonText(run.scalars.dropFirst(7).dropLast())
    }

    static func outcome(_ isCorrect: Bool, _ answer: PythonText?) -> RewardOutcome {
        RewardOutcome(
            reward: isCorrect ? 1 : -1, correct: isCorrect,
            verdict: isCorrect ? .correct : answer == nil ? .noAnswer : .wrong, extracted: answer?.string ?? "")
    }
}
