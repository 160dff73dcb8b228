/// Compares numbers exactly. The answer is the last `\boxed{…}` (or `\fbox{…}`), else what follows the last `####`,
/// else the last `Answer:` line, else the last number of the text with what belongs to it.
///
/// What is a number: `NumberText`. An answer is judged only where the whole of it is one number and so is the
/// reference; formulas, lists, ranges, dates, times, other units and what is out of bounds are `undecided`, unless
/// both texts are the same. A percentage equals its fraction and, as MATH's references have it, the number before
/// its sign.
package struct NumericReward: RewardFunction {
    package static let name = "numeric"
    package static let source = "exact rationals, with an undecided verdict"

    package init() {}

    package func judge(_ input: RewardInput) -> RewardOutcome {
        let reference = AnswerText.trimmed(PythonText(input.referenceAnswer))
        if reference.isEmpty { return .open(.noReference) }
        guard let found = AnswerText.extract(PythonText(input.completion)) else { return .noAnswer }
        let answer = AnswerText.trimmed(found)
        if answer.isEmpty { return .noAnswer }
        if answer == reference { return .judged(true, answer.string) }
        guard let value = NumberText.parse(answer), let expected = NumberText.parse(reference),
            let isEqual = value.equals(expected)
        else { return .open(.undecided, answer.string) }
        return .judged(isEqual, answer.string)
    }
}
