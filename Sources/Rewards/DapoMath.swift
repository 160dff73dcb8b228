/// DAPO's rule as verl's `math_dapo` scores it: in the last 300 characters the last `Answer: …` line, normalised in
/// Minerva's way, must equal the reference normalised alike; where there is no such line, the last \boxed{…} of the
/// last 100 characters must be the reference to the letter. Right is +1, wrong -1.
package struct DapoMath: RewardFunction {
    package static let name = "dapo_math"
    package static let source = "verl math_dapo"

    package init() {}

    package func judge(_ input: RewardInput) -> RewardOutcome {
        if input.referenceAnswer.isEmpty { return .open(.noReference) }
        let text = PythonText(input.completion).suffix(300), reference = PythonText(input.referenceAnswer)
        let answer = MinervaAnswer.normalised(MinervaAnswer.last(in: text) ?? PythonText("[INVALID]"))
        if answer == PythonText("[INVALID]"), let boxed = DapoMathStrict.boxed(text) {
            return DapoMathStrict.outcome(boxed == reference, boxed)
        }
        return DapoMathStrict.outcome(
            answer == MinervaAnswer.normalised(reference), answer == PythonText("[INVALID]") ? nil : answer)
    }
}
