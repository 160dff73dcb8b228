/// GSM8K's rule as verl scores it: in the last 300 characters, the last `#### ` followed by a number (an optional
/// minus, then digits, points and commas), with commas and dollar signs removed, must equal the reference to the
/// letter. `flexible` takes the last number of any kind instead.
package struct GSM8K: RewardFunction {
    package static let name = "gsm8k"
    package static let source = "verl gsm8k, strict"

    /// Characters are Unicode scalars, as in Python: a Swift `Character` can hold several.
    private static let window = 300

    private let flexible: Bool

    package init() { self.init(flexible: false) }

    package init(flexible: Bool) { self.flexible = flexible }

    package func judge(_ input: RewardInput) -> RewardOutcome {
        if input.referenceAnswer.isEmpty { return .open(.noReference) }
        guard let answer = extract(Array(input.completion.unicodeScalars.suffix(Self.window))) else { return .noAnswer }
        return .judged(answer == input.referenceAnswer, answer)
    }

    private func extract(_ text: [Unicode.Scalar]) -> String? {
        guard flexible else {
            return numbers(text, after: Array("#### ".unicodeScalars)).last.map { $0.filter { $0 != "," && $0 != "$" } }
        }
        // verl goes back from the last one until it meets one that is not a point alone; where all are, it ends at the
        // first.
        let found = numbers(text)
        return found.last { $0 != "." } ?? found.first
    }

    /// Non-overlapping matches of `prefix(-?[0-9.,]+)` from left to right.
    private func numbers(_ text: [Unicode.Scalar], after prefix: [Unicode.Scalar] = []) -> [String] {
        var found: [String] = [], position = 0
        while position + prefix.count < text.count {
            if let end = match(text, position, prefix) {
                found.append(String(String.UnicodeScalarView(text[(position + prefix.count)..<end])))
                position = end
            } else {
                position += 1
            }
        }
        return found
    }

    private func match(_ text: [Unicode.Scalar], _ start: Int, _ prefix: [Unicode.Scalar]) -> Int? {
        guard text[start...].starts(with: prefix) else { return nil }
        var position = start + prefix.count
        if position < text.count, text[position] == "-" { position += 1 }
        let digits = position
        while position < text.count, isNumberScalar(text[position]) { position += 1 }
        return position > digits ? position : nil
    }

    private func isNumberScalar(_ scalar: Unicode.Scalar) -> Bool {
        ("0"..."9").contains(scalar) || scalar == "." || scalar == ","
    }
}
