/// Goes back to where paragraphs begin: the other mode of FR3E's code. A paragraph ends behind its blank line; the last
/// one, where the answer stands, is left whole. More paragraphs than anchors are put together evenly, the longer shares
/// first.
///
/// A rollout without a blank line is no base. The code sends prefixes as text; here a cut falls on the first token that
/// starts behind the blank line, so a token across it stays in the prefix.
package enum BlankLineAnchors: AnchorRule {
    package static let name = "blank_lines"
    package static let source = "code Zheng0428/FR3E, without separate_by_prob"
    package static let readsText = true

    private static let separator = "\n\n"

    package static func opens(_ base: BaseRollout) -> Bool { base.text?.firstRange(of: separator) != nil }

    /// The answer's tokens need no sparing: nothing is cut within the last paragraph, and its start is a fork like
    /// others.
    package static func positions(in base: BaseRollout, count: Int, gap: Int, answer: Range<Int>) -> [Int] {
        guard let text = base.text else { return [] }
        var positions: [Int] = []
        for end in evenly(paragraphEnds(text), count) {
            let position = base.responseStart + text.token(startingAt: end)
            guard base.content.dropFirst().contains(position), base.mask[position] else { continue }
            if position >= (positions.last ?? base.responseStart) + gap { positions.append(position) }
        }
        return positions
    }

    /// Bytes behind each blank line. Of three newlines the first two are one.
    private static func paragraphEnds(_ text: ResponseText) -> [Int] {
        var ends: [Int] = []
        while let found = text.firstRange(of: separator, from: ends.last ?? 0) { ends.append(found.upperBound) }
        return ends
    }

    /// Ends of `count` shares of the paragraphs, whose sizes differ by one at most.
    private static func evenly(_ ends: [Int], _ count: Int) -> [Int] {
        guard ends.count > count else { return ends }
        guard count > 0 else { return [] }
        let (size, larger) = ends.count.quotientAndRemainder(dividingBy: count)
        return (1...count).map { ends[$0 * size + min($0, larger) - 1] }
    }
}
