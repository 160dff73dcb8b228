/// MATH's rule as verl's `math_reward` scores it: the last boxed answer and the reference, both normalised in
/// Hendrycks' way, must be the same text.
package struct MathReward: RewardFunction {
    package static let name = "math"
    package static let source = "verl math_reward"

    package init() {}

    package func judge(_ input: RewardInput) -> RewardOutcome {
        if input.referenceAnswer.isEmpty { return .open(.noReference) }
        guard let boxed = Self.lastBoxed(PythonText(input.completion)), let answer = Self.content(boxed) else {
            return .noAnswer
        }
        return .judged(Self.areEquivalent(answer, PythonText(input.referenceAnswer)), answer.string)
    }

    /// The last \boxed{…} or \boxed …$; without one the last \fbox{…}.
    private static func lastBoxed(_ text: PythonText) -> PythonText? {
        if text.contains("\\boxed "), let tail = text.split("\\boxed ").last, let answer = tail.split("$").first {
            return PythonText(Array("\\boxed ".unicodeScalars) + answer.scalars)
        }
        guard let start = text.findLast("\\boxed") ?? text.findLast("\\fbox") else { return nil }
        return text.bracedRun(from: start)
    }

    /// nil for what is no box after all, an \fbox for example: verl gives it 0.
    private static func content(_ boxed: PythonText) -> PythonText? {
        if boxed.contains("\\boxed ") {
            return boxed.hasPrefix("\\boxed ") ? PythonText(boxed.scalars.dropFirst(7)) : nil
        }
        guard boxed.hasPrefix("\\boxed{"), boxed.scalars.last == "}" else { return nil }
        return PythonText(boxed.scalars.dropFirst(7).dropLast())
    }

    /// Texts that the normalisation trips over are compared as they are.
    private static func areEquivalent(_ a: PythonText, _ b: PythonText) -> Bool {
        guard let first = normalised(a), let second = normalised(b) else { return a == b }
        return first == second
    }

    private static let removals: [(String, String)] = [
        ("\n", ""), ("\\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\left", ""), ("\\right", ""),
        ("^{\\circ}", ""), ("^\\circ", ""),
        ("\\$", ""),
    ]

    /// nil where the original raises.
    private static func normalised(_ text: PythonText) -> PythonText? {
        let plain = removals.reduce(text) { $0.replacing($1.0, $1.1) }
        guard var text = withoutUnits(plain) else { return nil }
        for (part, other) in [("\\\\%", ""), ("\\%", ""), (" .", " 0."), ("{.", "{0.")] {
            text = text.replacing(part, other)
        }
        if text.isEmpty { return text }
        if text.scalars[0] == "." { text.scalars.insert("0", at: 0) }
        let sides = text.split("=")
        if sides.count == 2, sides[0].count <= 2 { text = sides[1] }
        guard let rooted = withBracedRoots(text), let fractioned = withBracedFractions(rooted.replacing(" ", "")) else {
            return nil
        }
        return withLatexFraction(fractioned == PythonText("0.5") ? PythonText("\\frac{1}{2}") : fractioned)
    }

    private static func withoutUnits(_ text: PythonText) -> PythonText? {
        let parts = text.split("\\text{ ")
        return parts.count == 1 ? text : parts.count == 2 ? parts[0] : nil
    }

    /// \sqrt3 → \sqrt{3}
    private static func withBracedRoots(_ text: PythonText) -> PythonText? {
        let parts = text.split("\\sqrt")
        var result = parts[0].scalars
        for part in parts.dropFirst() {
            guard let first = part.scalars.first else { return nil }
            result +=
                Array("\\sqrt".unicodeScalars)
                + (first == "{" ? part.scalars : ["{", first, "}"] + part.scalars.dropFirst())
        }
        return PythonText(result)
    }

    /// \frac12 → \frac{1}{2}, \frac1{72} → \frac{1}{72}
    private static func withBracedFractions(_ text: PythonText) -> PythonText? {
        let parts = text.split("\\frac")
        var result = parts[0].scalars
        for part in parts.dropFirst() {
            let s = part.scalars
            guard let first = s.first else { return nil }
            result += Array("\\frac".unicodeScalars)
            if first == "{" {
                result += s
            } else {
                guard s.count >= 2 else { return text }
                result += ["{", first, "}"] + (s[1] == "{" ? [s[1]] : ["{", s[1], "}"]) + s.dropFirst(2)
            }
        }
        return PythonText(result)
    }

    /// 3/4 → \frac{3}{4}, for whole numbers written plainly.
    private static func withLatexFraction(_ text: PythonText) -> PythonText {
        let parts = text.split("/")
        guard parts.count == 2, isPlainInteger(parts[0]), isPlainInteger(parts[1]) else { return text }
        return PythonText("\\frac{\(parts[0].string)}{\(parts[1].string)}")
    }

    /// Exactly what Python prints of an int.
    private static func isPlainInteger(_ text: PythonText) -> Bool {
        let digits = text.scalars.first == "-" ? text.scalars.dropFirst() : text.scalars[...]
        guard let first = digits.first, digits.allSatisfy({ ("0"..."9").contains($0) }), digits.count <= 4300 else {
            return false
        }
        return first != "0" || digits.count == 1 && digits.count == text.count
    }
}
