import Credit
import Foundation
import Quantiles
import Randomness
import TestSupport
import Testing

/// A response of `length` tokens behind a prompt of two; text token by token where given.
private func base(
    _ id: String = "b", length: Int, reward: Double = 0, correct: Bool? = nil, truncated: Bool = false,
    text: [String]? = nil
) -> BaseRollout {
    var base = BaseRollout()
    (base.id, base.groupID) = (id, "g")
    base.tokenIDs = (0..<Int32(length + 2)).map { $0 }
    base.mask = (0..<length + 2).map { $0 >= 2 }
    base.entropy = base.mask.map { _ in 0 }
    base.logprobs = base.mask.map { _ in 0 }
    (base.reward, base.correct, base.isTruncated) = (reward, correct, truncated)
    base.text = text.map { ResponseText(tokens: $0.map { Array($0.utf8) }) }
    return base
}

private func noTokens(_ text: String) -> [Int32] { [] }

/// Outcomes of states, rows numbered on, three tokens each of which the last is trained.
private func outcomes(_ rewards: [[Double]]) -> [[Outcome]] {
    var row = 0
    return rewards.map { rewards in
        rewards.map { reward in
            defer { row += 1 }
            return Outcome(row: row, reward: reward, correct: reward > 0, mask: [false, false, true])
        }
    }
}

@Suite struct FR3ETests {
    private func expanded(_ rewards: [[Double]], positions: [Int] = [2, 3, 4]) -> ExpandedBase {
        ExpandedBase(
            base: base(length: 6), row: 99,
            states: positions.prefix(rewards.count).map { ExpansionState(position: $0) }, outcomes: outcomes(rewards))
    }

    private func advantages(_ credit: ExpansionCredit, state: Int) -> [Double] {
        credit.rows.filter { $0.groupID == "b/\(state)" }.map { $0.advantages[2] }
    }

    @Test func theWorkedExample() {
        let credit = FR3E().credit(expanded([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]))
        #expect(credit.values == [0.25, 0.5, 0.75])
        #expect(firstDifference(credit.factors, [0.472367, 0.778801, 0.778801], absolute: 1e-6) == nil)
        #expect(
            firstDifference(advantages(credit, state: 0), [0.354275, -0.118092, -0.118092, -0.118092], absolute: 1e-6)
                == nil)
        #expect(
            firstDifference(advantages(credit, state: 1), [0.3894, 0.3894, -0.3894, -0.3894], absolute: 1e-6) == nil)
        #expect(
            firstDifference(advantages(credit, state: 2), [0.1947, 0.1947, 0.1947, -0.584101], absolute: 1e-6) == nil)
    }

    @Test func sharpenedAndRegressingFactors() {
        var sharpened = FR3E()
        sharpened.sharpen = 1.5
        #expect(
            firstDifference(
                sharpened.factors(values: [0.25, 0.5, 0.75], survives: [true, true, true]),
                [0.485744, 0.87026, 0.87026], absolute: 1e-6) == nil)
        #expect(
            firstDifference(
                FR3E().factors(values: [0.5, 0.25], survives: [true, true]), [0.606531, 1.284025], absolute: 1e-6)
                == nil)
        // Nothing changed anywhere: no division by zero.
        #expect(sharpened.factors(values: [1, 1], survives: [false, false]) == [1, 1])
        var neutral = FR3E()
        neutral.root = .neutral
        #expect(neutral.factors(values: [0.25, 0.25], survives: [true, true]) == [1, 1])
    }

    /// The same numbers by the definition, written out.
    @Test func agreesWithBruteForceOnRandomOutcomes() {
        var random = SplitMix64(seed: 4)
        for _ in 0..<200 {
            let rewards = (0..<3).map { _ in
                (0..<Int.random(in: 0...5, using: &random)).map { _ in Double(Bool.random(using: &random) ? 1 : 0) }
            }
            let credit = FR3E().credit(expanded(rewards))
            var before: Double?, expected: [Double] = []
            for (state, values) in rewards.enumerated() where !values.isEmpty {
                let value = values.reduce(0, +) / Double(values.count)
                let delta = before.map { value - $0 } ?? (state == 0 ? 1 - value : 0)
                before = value
                if Set(values).count > 1 { expected += values.map { exp(-delta) * ($0 - value) } }
            }
            #expect(firstDifference(credit.rows.map { $0.advantages[2] }, expected, absolute: 1e-12) == nil)
            #expect(credit.rows.count + credit.dropped.count == rewards.reduce(0) { $0 + $1.count })
            #expect(credit.rows.allSatisfy { $0.advantages[0] == 0 && $0.advantages[1] == 0 })
        }
    }

    @Test func aDegenerateStateIsDroppedButItsValueCounts() {
        let rewards: [[Double]] = [[1, 0], [1, 1], [1, 0]]
        let credit = FR3E().credit(expanded(rewards))
        #expect(credit.dropped.map(\.row) == [2, 3] && credit.dropped.allSatisfy { $0.reason == .degenerateState })
        #expect(firstDifference(credit.factors, [exp(-0.5), exp(-0.5), exp(0.5)], absolute: 1e-12) == nil)
        var parity = FR3E()
        parity.previous = .surviving
        #expect(
            firstDifference(parity.credit(expanded(rewards)).factors, [exp(-0.5), exp(-0.5), 1], absolute: 1e-12) == nil
        )
        // A single continuation has nothing to be compared with.
        #expect(FR3E().credit(expanded([[1]])).rows.isEmpty)
    }

    @Test func anchorsAreTheMostUncertainTokensInOrderOfPosition() {
        var one = base(length: 8)
        // The first token repeats the prompt, the last ends the text.
        one.entropy = [0, 0, 9, 0.1, 0.9, 0.5, 0.9, 0.2, 0.3, 9]
        var method = FR3E()
        method.anchors = 3
        let states = method.states(of: one, seed: 0, encode: noTokens)
        #expect(states.map(\.position) == [2, 4, 5, 6])
        #expect(states.map(\.anchorEntropy) == [nil, 0.9, 0.5, 0.9])
        method.minimumGap = 2
        #expect(method.states(of: one, seed: 0, encode: noTokens).map(\.position) == [2, 4, 6, 8])
        method.anchorScore = MemberName(SurprisalAnchors.name)
        one.logprobs = [0, 0, -9, -3, 0, 0, -1, 0, -2, -9]
        #expect(method.states(of: one, seed: 0, encode: noTokens).map(\.position) == [2, 3, 6, 8])
    }

    @Test func fewTokensGiveFewAnchors() {
        let positions = { (length: Int) in
            FR3E().states(of: base(length: length, truncated: true), seed: 0, encode: noTokens).map(\.position)
        }
        #expect(positions(1) == [2])
        #expect(positions(3) == [2, 3, 4])
        // Ties: lower positions first.
        #expect(positions(9) == [2, 3, 4, 5, 6])
    }

    @Test func theAnswersOwnTokensAreSpared() {
        var one = base(length: 6, text: ["so", " #### ", "1", "42", "\n", ""])
        one.entropy = [0, 0, 1, 2, 9, 8, 3, 0]
        one.answer = "142"
        #expect(FR3E().states(of: one, seed: 0, encode: noTokens).map(\.position) == [2, 3, 6])
        var method = FR3E()
        method.excludeAnswer = false
        #expect(method.states(of: one, seed: 0, encode: noTokens).map(\.position) == [2, 3, 4, 5, 6])
    }

    private func byBlankLines(anchors: Int) -> FR3E {
        var method = FR3E()
        (method.anchors, method.anchorScore) = (anchors, MemberName(BlankLineAnchors.name))
        return method
    }

    private func positions(_ method: FR3E, _ text: [String]) -> [Int] {
        method.states(of: base(length: text.count, text: text), seed: 0, encode: noTokens).map(\.position)
    }

    /// What the code does with "A\n\nB\n\nC\n\nD": states behind A, B and C, at most K of them, and the prompt. D is
    /// the answer.
    @Test func blankLinesEndParagraphs() {
        let text = ["A", "\n\n", "B", " b", "\n\n", "C", "\n\n", "D", ""]
        #expect(positions(byBlankLines(anchors: 4), text) == [2, 4, 7, 9])
        // Three paragraphs in two shares: A and B, then C.
        #expect(positions(byBlankLines(anchors: 2), text) == [2, 7, 9])
        #expect(positions(byBlankLines(anchors: 1), text) == [2, 9])
        #expect(positions(byBlankLines(anchors: 0), text) == [2])
        #expect(
            byBlankLines(anchors: 4).readsText && !byBlankLines(anchors: 4).readsEntropy
                && !byBlankLines(anchors: 4).readsLogprobs)
        // The last paragraph's start counts although the answer stands there; the score-based rules would spare it.
        var one = base(length: 4, text: ["so", "\n\n", "42", ""])
        one.answer = "42"
        #expect(byBlankLines(anchors: 4).states(of: one, seed: 0, encode: noTokens).map(\.position) == [2, 4])
    }

    /// A prefix is whole tokens: one that begins with the newlines' last and ends in text belongs to what comes before.
    @Test func tokensAcrossABlankLineStayInThePrefix() {
        #expect(positions(byBlankLines(anchors: 4), ["A.\n", "\nB", " b", "\n\nC", "\n\n", "D", ""]) == [2, 4, 6, 7])
        // Of three newlines the first two are the blank line; a pair more is an empty paragraph, as in the code.
        #expect(positions(byBlankLines(anchors: 4), ["A", "\n\n", "\n", "B", "c"]) == [2, 4])
        #expect(positions(byBlankLines(anchors: 4), ["A", "\n\n", "\n\n", "B", "c"]) == [2, 4, 5])
        #expect(positions(byBlankLines(anchors: 4), ["A", "\n\n\n\n", "B", "c"]) == [2, 4])
        // Nothing is left to sample behind the end; a start at the first token is the prompt.
        #expect(positions(byBlankLines(anchors: 4), ["A", "\n\n", ""]) == [2])
        #expect(positions(byBlankLines(anchors: 4), ["", "A", "\n\n"]) == [2])
    }

    @Test func aRolloutWithoutABlankLineIsNoBase() {
        let group = [
            base("a", length: 2, correct: true, text: ["A\n", "B"]),
            base("b", length: 2, correct: true, text: ["A\n\n", "B"]),
            base("c", length: 2, correct: false, text: ["A\n\n", "B"]),
        ]
        // As in the code, the chosen one is passed over, not replaced.
        #expect(byBlankLines(anchors: 4).bases(among: group) == [2])
        #expect(FR3E().bases(among: group) == [0, 2])
    }

    /// The code's way with texts, on random ones: split, last piece off, evenly joined, prefixes with their blank line
    /// behind.
    @Test func blankLinesAgreeWithTheCodeOnRandomTexts() {
        var random = SplitMix64(seed: 12)
        for _ in 0..<300 {
            let text = (0..<Int.random(in: 2...30, using: &random)).map { _ in
                ["a", "\n", "b "].randomElement(using: &random) ?? ""
            }
            let limit = Int.random(in: 1...5, using: &random)
            var pieces = text.joined().components(separatedBy: "\n\n")
            guard pieces.count > 1 else { continue }
            pieces.removeLast()
            let share = pieces.count / limit, more = pieces.count % limit
            let sizes = pieces.count <= limit ? pieces.map { _ in 1 } : (0..<limit).map { share + ($0 < more ? 1 : 0) }
            var length = 0, next = 0, expected: [Int] = []
            for size in sizes {
                length += pieces[next..<next + size].reduce(0) { $0 + $1.utf8.count + 2 }
                next += size
                var place = 0
                let token = text.firstIndex { piece in
                    defer { place += piece.utf8.count }
                    return place >= length
                }
                // The last token of the base ends its text.
                if let token, token > 0, token < text.count - 1, expected.last != 2 + token {
                    expected.append(2 + token)
                }
            }
            #expect(
                positions(byBlankLines(anchors: limit), text) == [2] + expected.prefix(max(0, text.count - 1)),
                "\(text)")
        }
    }

    @Test(arguments: AnchorRegistry.names) func everyRuleGivesPlacesWithinTheResponse(_ name: String) {
        var one = base(length: 9, text: ["A", "\n\n", "B", "\n\n", "C", " c", "\n\n", "D", ""])
        one.entropy = [0, 0, 9, 0.1, 0.9, 0.5, 0.9, 0.2, 0.3, 9, 7]
        one.logprobs = one.entropy.map { -$0 }
        let rule = AnchorRegistry.named(MemberName(name))
        #expect(rule.opens(one) && !rule.source.isEmpty && (rule.readsEntropy || rule.readsLogprobs || rule.readsText))
        for (count, gap) in [(0, 1), (1, 1), (3, 1), (3, 3), (20, 2)] {
            let positions = rule.positions(in: one, count: count, gap: gap, answer: 0..<0)
            #expect(positions.count <= count && positions.allSatisfy { (3..<10).contains($0) })
            #expect(zip(positions, positions.dropFirst()).allSatisfy { $1 - $0 >= gap })
            #expect(count == 0 || !positions.isEmpty)
        }
        #expect(rule.positions(in: base(length: 9), count: 3, gap: 1, answer: 0..<0).isEmpty == rule.readsText)
    }

    @Test func oneCorrectAndOneWrongBaseEachTheSmallestID() {
        let group = [
            base("c", length: 4, correct: false), base("a", length: 4, correct: false),
            base("d", length: 4, correct: true), base("b", length: 4, correct: true),
        ]
        #expect(FR3E().bases(among: group) == [1, 3])
        #expect(FR3E().bases(among: Array(group.prefix(2))) == [1])
        var all = FR3E()
        all.bases = .all
        #expect(all.bases(among: group) == [0, 1, 2, 3])
    }
}

@Suite struct VinePPOTests {
    @Test func theWorkedExamples() {
        #expect(VinePPO.advantages(values: [0.5, 0.25, 0.75], reward: 1) == [-0.25, 0.5, 0.25])
        #expect(VinePPO.advantages(values: [0.5, 0.25, nil, nil], reward: 1) == [-0.25, 0.75, 0, 0])
        #expect(VinePPO.advantages(values: [0.5, nil, 0.75], reward: 1) == nil)
        #expect(VinePPO.advantages(values: [nil], reward: 1) == nil)
        #expect(VinePPO.advantages(values: [0.25], reward: 1) == [0.75])
    }

    @Test func stepAdvantagesSumToTheRewardMinusTheFirstValue() {
        var random = SplitMix64(seed: 8)
        for _ in 0..<200 {
            let values = (0..<Int.random(in: 1...9, using: &random)).map { _ in random.uniform() },
                reward = Double(Int.random(in: 0...1, using: &random))
            let known = Int.random(in: 1...values.count, using: &random)
            let given = values.enumerated().map { $0 < known ? $1 : nil }
            let sum = (VinePPO.advantages(values: given, reward: reward) ?? []).reduce(0, +)
            #expect(isClose(sum, reward - values[0], absolute: 1e-12))
        }
    }

    private let lines = ["one two", " three\n", "four", " five six seven", " eight\n", "#### 4\n", ""]

    @Test func statesStandWhereStepsBegin() {
        var method = VinePPO()
        method.minimumStepCharacters = 1
        #expect(
            method.states(of: base(length: 7, text: lines), seed: 0, encode: noTokens).map(\.position) == [2, 4, 7])
        // Short pieces join the next; the short last one joins the step before it.
        method.minimumStepCharacters = 20
        #expect(method.states(of: base(length: 7, text: lines), seed: 0, encode: noTokens).map(\.position) == [2])
        method.minimumStepCharacters = 13
        #expect(method.states(of: base(length: 7, text: lines), seed: 0, encode: noTokens).map(\.position) == [2, 4])
    }

    @Test func mathStepsEndWithSentencesAndFormulas() {
        var method = VinePPO()
        method.segmentation = MemberName(MathSegmentation.name)
        let text = [
            "The sum of all terms is", " $a + b.$", " So we", " have é more terms", ". ", "Then the",
            " answer follows.", "\n", "It is $4$", ", as was to be shown", "",
        ]
        // Behind the formula with its full stop, behind the sentence (within a token), before the newline.
        #expect(
            method.states(of: base(length: 11, text: text), seed: 0, encode: noTokens).map(\.position) == [2, 4, 7, 9])
    }

    @Test func aTokenAcrossABorderBelongsToTheStepBefore() {
        var method = VinePPO()
        method.minimumStepCharacters = 1
        let states = method.states(
            of: base(length: 4, text: ["one", "\ntwo", " three\n", ""]), seed: 0, encode: noTokens)
        #expect(states.map(\.position) == [2, 4])
    }

    @Test func tokensTakeTheAdvantageOfTheirStep() {
        var method = VinePPO()
        method.minimumStepCharacters = 1
        let one = base(length: 7, reward: 1, text: lines), states = method.states(of: one, seed: 0, encode: noTokens)
        let credit = method.credit(
            ExpandedBase(
                base: one, row: 5, states: states, outcomes: outcomes([[1, 0], [1, 0, 0, 0], [1, 1, 1, 0]])))
        #expect(credit.rows.count == 1 && credit.rows[0].row == 5)
        #expect(credit.rows[0].advantages == [0, 0, -0.25, -0.25, 0.5, 0.5, 0.5, 0.25, 0.25])
        let gap = method.credit(
            ExpandedBase(base: one, row: 5, states: states, outcomes: outcomes([[1, 0], [], [1]])))
        #expect(gap.rows.isEmpty && gap.dropped.map(\.reason) == [.missingValue])
    }
}

@Suite struct SegmentationTests {
    private struct Case: Decodable {
        let text: String
        /// In characters, as the original gives them; nil where it stops with a failed assertion.
        let cuts: [Int]?
    }

    private static let cases: [Case] = {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
            "../../fixtures/segmentation.json")
        return (try? JSONDecoder().decode([Case].self, from: Data(contentsOf: path))) ?? []
    }()

    @Test func mathStepsAreThoseOfTheOriginal() {
        let known = Self.cases.filter { $0.cuts != nil }
        #expect(known.count >= 300)
        for one in known {
            #expect(
                MathSegmentation().cuts(in: Array(one.text.unicodeScalars)) == one.cuts, "\(one.text.debugDescription)")
        }
    }

    @Test func whereTheOriginalFailsStepsStillCoverTheText() {
        let failed = Self.cases.filter { $0.cuts == nil }
        #expect(failed.count >= 20)
        for one in failed {
            let cuts = MathSegmentation().cuts(in: Array(one.text.unicodeScalars))
            #expect(
                cuts.first == 0 && cuts.last == one.text.unicodeScalars.count && cuts == Set(cuts).sorted(),
                "\(one.text.debugDescription)")
        }
        // A few characters are one step; an environment is one formula, whatever is in it.
        #expect(MathSegmentation().cuts(in: Array("4".unicodeScalars)) == [0, 1])
        let nested =
            #"We add the two lines: \begin{align} a. \text{Then $b$. So} \end{align} and get what was to be found."#
        #expect(MathSegmentation().cuts(in: Array(nested.unicodeScalars)) == [0, nested.count])
    }

    /// Whatever the text, steps start at 0 and at whole characters, each behind the one before.
    @Test(arguments: SegmentationRegistry.names) func everySegmentationStartsStepsAtCharacters(_ name: String) {
        var random = SplitMix64(seed: 21)
        let segmentation = SegmentationRegistry.named(MemberName(name)).init(
            SegmentationSettings(separators: ["\n"], minimumCharacters: 20))
        #expect(segmentation.problems.isEmpty && !type(of: segmentation).source.isEmpty)
        let pieces = ["é is", "Ω. ", "x = 1\n", " $a, b$", "🙂 and so on. ", "\n\n", "Then ", #"\[ y"#, #"\] "#, ", "]
        for _ in 0..<200 {
            let text = Array(
                (0..<Int.random(in: 0...40, using: &random)).map { _ in pieces.randomElement(using: &random) ?? "" }
                    .joined().utf8)
            let starts = segmentation.starts(in: text)
            #expect(starts.first == 0 && starts == Set(starts).sorted())
            #expect(starts.allSatisfy { $0 == 0 || $0 < text.count && text[$0] & 0xc0 != 0x80 })
        }
        // Bytes that are no text: half a character, then a line.
        let broken =
            Array("Twenty characters and more".utf8) + [0xe2, 0x82] + Array("\nAnother line of some length".utf8)
        #expect(segmentation.starts(in: broken) == [0, name == LineSegmentation.name ? 29 : 28])
    }
}

@Suite struct SerialEarlyExitTests {
    @Test func theWorkedExample() {
        let rewards = SGRPO.rewards(correct: [false, true, false, true, true])
        #expect(rewards == [0, 1, 0, 0.5, 0.25])
        let mean = rewards.reduce(0, +) / 5
        #expect(firstDifference(rewards.map { $0 - mean }, [-0.35, 0.65, -0.35, 0.15, -0.10], absolute: 1e-12) == nil)
    }

    private let text = ["think", " more", " still", " on", "</think>", " 42", "\n", ""]

    private func credited(
        _ exits: [Bool], base isCorrect: Bool, closed: Bool = true, trained: SGRPO.Trained = .thoughtAndAnswer
    ) -> ExpansionCredit {
        var method = SGRPO()
        method.trained = trained
        var one = base(length: 8, correct: isCorrect, text: closed ? text : text.map { $0 == "</think>" ? "" : $0 })
        one.thoughtEnd = method.thoughtEnd(of: one)
        let states = exits.indices.map { ExpansionState(position: 3 + $0, injected: [100]) }
        let outcomes = exits.enumerated().map { index, isRight in
            [
                Outcome(
                    row: index, reward: isRight ? 1 : 0, correct: isRight,
                    mask: (0..<3 + index + 3).map { $0 >= 3 + index + 1 })
            ]
        }
        return method.credit(ExpandedBase(base: one, row: 9, states: states, outcomes: outcomes))
    }

    @Test func exitsAndTheFullResponseAreOneGroup() {
        let credit = credited([false, true], base: true)
        #expect(credit.rows.map(\.row) == [0, 1, 9])
        #expect(firstDifference(credit.rows.map { $0.advantages.last ?? 0 }, [-0.5, 0.5, 0], absolute: 1e-12) == nil)
        // The thinking before the cut is trained, the injected token is not, the answer is.
        #expect(credit.rows[1].mask == [false, false, true, true, false, true, true])
        #expect(
            credited([false, true], base: true, trained: .answer).rows[1].mask == [
                false, false, false, false, false, true, true,
            ])
        #expect(
            credited([false, true], base: true, trained: .answer).rows[2].mask == [
                false, false, false, false, false, false, true, true, true, true,
            ])
    }

    @Test func aResponseWhoseThinkingNeverEndedIsWrong() {
        #expect(credited([false], base: true, closed: false).rows.map(\.reward) == [0, 0])
        #expect(credited([false], base: true, closed: true).rows.map(\.reward) == [0, 1])
    }

    @Test func oneCorrectExitGetsTheSameWhereverItSits() {
        for place in 0..<4 {
            let credit = credited((0..<3).map { $0 == place }, base: place == 3)
            for (index, row) in credit.rows.enumerated() {
                #expect(row.advantages.last == (index == place ? 0.75 : -0.25))
            }
        }
        #expect(credited([false, false], base: false).rows.allSatisfy { $0.advantages.allSatisfy { $0 == 0 } })
    }

    @Test(arguments: SGRPO.Positions.allCases) func cutsLieInsideTheThinking(
        _ positions: SGRPO.Positions
    ) {
        var method = SGRPO()
        (method.positions, method.exits, method.thoughtEnd) = (positions, 8, "END")
        for length in 1...40 {
            let words = (0..<length).map { _ in "w" } + ["END", "a", ""]
            let states = method.states(of: base(length: words.count, text: words), seed: UInt64(length)) { _ in [7, 8] }
            #expect(
                states.allSatisfy { $0.position > 2 && $0.position < 2 + length && $0.injected == [7, 8] }, "\(length)")
            #expect(states.map(\.position) == Set(states.map(\.position)).sorted())
            #expect(length > 8 ? (1...8).contains(states.count) : states.count == length - 1)
            if positions == .stratified, length > 8 { #expect(states.count == 8) }
        }
    }
}

@Suite struct TreeSearchTests {
    /// Two rollouts of a prompt: one of 6 tokens that ends with `own` and has two branches from its fourth, and one
    /// without a branch.
    private func group(_ own: Double, _ branch: [Double], _ other: Double) -> [ExpandedBase] {
        let forked = ExpandedBase(
            base: base(length: 6, reward: own), row: 10, states: [ExpansionState(position: 5)],
            outcomes: [branch.enumerated().map { outcome($0, $1, from: 5) }])
        return [forked, ExpandedBase(base: base("c", length: 3, reward: other), row: 11, states: [], outcomes: [])]
    }

    private func outcome(_ row: Int, _ reward: Double, from start: Int) -> Outcome {
        Outcome(row: row, reward: reward, correct: reward > 0, mask: (0..<8).map { $0 >= start })
    }

    private func advantages(_ credits: [ExpansionCredit], _ row: Int) -> [Double] {
        credits.flatMap(\.rows).first { $0.row == row }?.advantages ?? []
    }

    /// Leaves 1 and 0 below A, 1 beside it: .5, -1, .5; V(A) is -.25.
    @Test func theWorkedExample() {
        let credits = TreeSearch().credit(group: group(1, [0], 1))
        #expect(credits[0].values == [-0.25])
        #expect(advantages(credits, 10) == [0, 0, -0.5, -0.5, -0.5, 1.25, 1.25, 1.25])
        #expect(advantages(credits, 0) == [0, 0, -0.5, -0.5, -0.5, -1.75, -1.75, -1.75])
        #expect(advantages(credits, 11) == [0, 0, 1, 1, 1])
        #expect(credits.flatMap(\.rows).allSatisfy { $0.groupID == "g" })
    }

    @Test(
        arguments: [
            (TreeSearch.Credit.local, [0, 0, -0.25, -0.25, -0.25, 0.75, 0.75, 0.75]),
            (.global, [0, 0, -0.25, -0.25, -0.25, 0.5, 0.5, 0.5]),
        ] as [(TreeSearch.Credit, [Double])]) func creditsArePartsOfTheWhole(
            _ kind: TreeSearch.Credit, _ expected: [Double]
        )
    {
        var method = TreeSearch()
        method.credit = kind
        #expect(advantages(method.credit(group: group(1, [0], 1)), 10) == expected)
    }

    /// The stretch before the fork is in two rows.
    @Test(arguments: [(TreeSearch.LeafWeight.uniform, 2.0), (.sqrt, 2.0.squareRoot())])
    func sharedTokensAreWeighed(_ weight: TreeSearch.LeafWeight, _ divisor: Double) {
        var method = TreeSearch()
        method.leafWeight = weight
        let found = advantages(method.credit(group: group(1, [0], 1)), 10)
        #expect(isClose(found[2], -0.5 / divisor, absolute: 1e-12) && found[7] == 1.25)
    }

    @Test func leavesThatAreAlikeTeachNothing() {
        for group in [group(1, [1, 1], 1), [group(1, [], 1)[1]]] {
            let credits = TreeSearch().credit(group: group)
            #expect(credits.allSatisfy { $0.rows.isEmpty })
            #expect(credits.flatMap(\.dropped).allSatisfy { $0.reason == .degenerateState })
            #expect(credits.flatMap(\.dropped).count == group.flatMap(\.leafCount).count)
        }
    }

    /// A base that is left out is no leaf, and what came back from it still is one.
    @Test func aBaseThatIsLeftOutIsNoLeaf() {
        var group = group(1, [0, 1], 0)
        group[0].isBaseRejected = true
        let credits = TreeSearch().credit(group: group)
        #expect(credits.flatMap(\.rows).map(\.row) == [0, 1, 11])
        // Leaves 0, 1 and 0: -.5, 1, -.5.
        #expect(credits[0].values == [0.25])
    }
}

@Suite struct BranchRoundTests {
    /// A rollout that an earlier round sampled from another's tokens.
    private func branch(_ id: String, of parent: String, at position: Int, length: Int, reward: Double) -> BaseRollout {
        var one = base(id, length: length, reward: reward)
        one.branch = BaseRollout.Branch(parent: parent, position: position)
        return one
    }

    private func rounds(_ edit: (inout TreeSearch) -> Void = { _ in }) -> TreeSearch {
        var method = TreeSearch()
        method.rounds = 2
        edit(&method)
        return method
    }

    /// The least likely tokens of the whole tree, but not those that were chosen before, nor a branch's first, nor what a
    /// branch has of its parent.
    @Test func theSecondRoundGoesBackIntoAnyRowOfTheTree() {
        var root = base("a", length: 6), child = branch("b", of: "a", at: 5, length: 7, reward: 0)
        var other = base("c", length: 6)
        root.logprobs = [0, 0, -1, -2, -3, -9, -4, 0]
        child.logprobs = [0, 0, -1, -2, -30, -30, -5, -6, 0]
        other.logprobs = [0, 0, -1, -2, -3, -2, -1, 0]
        let plan = rounds().branches(of: [root, child, other], round: 2, seeds: [1, 2, 3], encode: noTokens)
        #expect(plan.states.map { $0.map(\.position) } == [[], [6, 7], [3, 4]])
        // In the first round every rollout has its own.
        let first = rounds().branches(of: [root, other], round: 1, seeds: [1, 3], encode: noTokens)
        #expect(first.states.map { $0.map(\.position) } == [[5, 6], [3, 4]])
        child.logprobs = child.logprobs.map { _ in 0 }
        let back = rounds().branches(of: [root, child, other], round: 2, seeds: [1, 2, 3], encode: noTokens)
        #expect(back.states.map { $0.map(\.position) } == [[4, 6], [], [3, 4]])
    }

    @Test func rulesThatDoNotRankTokensHaveOneRound() {
        let method = rounds { $0.anchorScore = MemberName(BlankLineAnchors.name) }
        #expect(method.problems.count == 1 && method.problems[0].contains("expansion.rounds is 2"))
        #expect(rounds().problems.isEmpty)
    }

    /// Base a (leaf 1) with a branch b at its fourth token (leaf 0), which has one at its own second (leaf 1); c (leaf 0)
    /// beside them. Leave-one-out: a and the last 2/3, b and c -2/3. Below b's node: 0; below a's: (2/3 - 2/3 + 2/3) / 3.
    private var nested: [ExpandedBase] {
        let a = base("a", length: 6, reward: 1), b = branch("b", of: "a", at: 5, length: 6, reward: 0)
        let again = Outcome(row: 0, reward: 1, correct: true, mask: (0..<8).map { $0 >= 6 })
        return [
            ExpandedBase(base: a, row: 10, states: [], outcomes: []),
            ExpandedBase(base: b, row: 11, states: [ExpansionState(position: 6)], outcomes: [[again]]),
            ExpandedBase(base: base("c", length: 3, reward: 0), row: 12, states: [], outcomes: []),
        ]
    }

    @Test func creditRunsThroughBranchesOfBranches() {
        let credits = rounds { $0.credit = .global }.credit(group: nested), third = 2.0 / 3
        func advantages(_ row: Int) -> [Double] { credits.flatMap(\.rows).first { $0.row == row }?.advantages ?? [] }
        let shared = [Double](repeating: third / 3, count: 3)
        let expected = [
            10: [0, 0] + shared + [third, third, third], 11: [0, 0] + shared + [0, -third, -third],
            0: [0, 0] + shared + [0, third, third], 12: [0, 0, -third, -third, -third],
        ]
        for (row, values) in expected {
            #expect(firstDifference(advantages(row), values, absolute: 1e-12) == nil, "row \(row)")
        }
        #expect(credits[1].values.count == 1 && isClose(credits[1].values[0] ?? 9, 0, absolute: 1e-12))
        #expect(credits[0].values.isEmpty)
        // The same by what each is worth against its parent: sums along a path telescope to the leaf's.
        let local = rounds { $0.credit = .local }.credit(group: nested)
        for row in local.flatMap(\.rows) {
            let whole = advantages(row.row)
            var total = row.advantages[2]
            for t in 3..<row.advantages.count where whole[t] != whole[t - 1] { total += row.advantages[t] }
            #expect(isClose(total, whole.last ?? 9, absolute: 1e-12))
        }
    }

    /// Tokens count once in all rows together.
    @Test func tokensOfSeveralRowsCountOnceWhereTheyAreWeighed() {
        let plain = rounds { $0.credit = .global }.credit(group: nested).flatMap(\.rows),
            weighed = rounds { ($0.credit, $0.leafWeight) = (.global, .uniform) }.credit(group: nested).flatMap(\.rows)
        let three = weighed.filter { $0.row != 12 }
        #expect(isClose(three.reduce(0) { $0 + $1.advantages[3] }, plain[0].advantages[3], absolute: 1e-12))
    }

    /// A parent that is left out is no leaf; its branches stay where they are.
    @Test func aParentThatIsLeftOutIsNoLeaf() {
        var group = nested
        group[0].isBaseRejected = true
        let credits = rounds { $0.credit = .global }.credit(group: group)
        #expect(credits.flatMap(\.rows).map(\.row) == [0, 11, 12])
        // Leaves 0, 1, 0: -.5, 1, -.5; below a's node -.5 and 1.
        #expect(isClose(credits[1].rows[0].advantages[3], 0.25, absolute: 1e-12))
    }
}

@Suite struct TreePOTests {
    /// The numbers of the specification.
    @Test func theWorkedExample() {
        let surprise = [[-0.1, -0.2], [-1, -1.2], [-0.5]].map { TreePO.surprise($0) }
        #expect(firstDifference(surprise, [0.254230, 0.729312, 0.303265], absolute: 1e-6) == nil)
        let weights = TreePO.softmax(surprise)
        #expect(firstDifference(weights, [0.273343, 0.439576, 0.287081], absolute: 1e-6) == nil)
        #expect(TreePO.shares(weights, of: 4, most: 4) == [1, 2, 1])
        #expect(TreePO.shares(weights, of: 4, most: 1) == [1, 1, 1])
        #expect(TreePO.shares(weights, of: 2, most: 1) == [0, 1, 1])
    }

    @Test func sharesSpendTheBudgetAndKeepTheBound() {
        var random = SplitMix64(seed: 5)
        for _ in 0..<200 {
            let weights = TreePO.softmax((0..<Int.random(in: 1...6, using: &random)).map { _ in random.uniform() * 4 })
            let budget = Int.random(in: 0...12, using: &random), most = Int.random(in: 1...4, using: &random)
            let shares = TreePO.shares(weights, of: budget, most: most)
            #expect(shares.allSatisfy { (0...most).contains($0) })
            #expect(shares.reduce(0, +) == min(budget, most * weights.count))
        }
        #expect(TreePO.shares([], of: 3, most: 2) == [])
    }

    private func method(_ edit: (inout TreePO) -> Void = { _ in }) -> TreePO {
        var method = TreePO()
        (method.segment, method.width, method.rounds) = (3, 6, 3)
        edit(&method)
        return method
    }

    private func group() -> [BaseRollout] {
        var group = [base("a", length: 8), base("b", length: 5), base("c", length: 3)]
        group[0].logprobs = [0, 0, -0.1, -0.2, 0, 0, 0, 0, 0, 0]
        group[1].logprobs = [0, 0, -1, -1.2, 0, 0, 0]
        return group
    }

    /// The third rollout has ended with its first segment.
    @Test func onlyWhoGoesOnIsSampledAnew() {
        let plan = method { $0.perBranch = 2 }.branches(of: group(), round: 1, seeds: [0, 0, 0], encode: noTokens)
        #expect(plan.states.map { $0.map(\.position) } == [[5], [5], []])
        #expect(plan.states.map { $0.map { $0.replicates ?? 0 } } == [[1], [2], []] && plan.unspent == 0)
        let few = method().branches(of: group(), round: 1, seeds: [0, 0, 0], encode: noTokens)
        #expect(few.unspent == 1)
        // A full prompt has no budget.
        let full = method { $0.width = 2 }.branches(of: group(), round: 1, seeds: [0, 0, 0], encode: noTokens)
        #expect(full.states.allSatisfy(\.isEmpty) && full.unspent == 0)
    }

    @Test func aLaterRoundBranchesAtTheNextSegmentsEnd() {
        var back = base("d", length: 8)
        back.branch = BaseRollout.Branch(parent: "a", position: 5)
        let plan = method().branches(of: group() + [back], round: 2, seeds: [0, 0, 0, 0], encode: noTokens)
        #expect(plan.states.map { $0.map(\.position) } == [[8], [], [], [8]])
        // What was cut right at a segment's end is another's up to there.
        back.branch = BaseRollout.Branch(parent: "a", position: 8)
        let cut = method().branches(of: group() + [back], round: 2, seeds: [0, 0, 0, 0], encode: noTokens)
        #expect(cut.states.map { $0.map(\.position) } == [[8], [], [], []] || cut.states[3].map(\.position) == [9])
    }

    @Test func evenlyItReadsNoLogprobs() {
        let even = method { $0.weighting = .even }
        #expect(!even.readsLogprobs && method().readsLogprobs)
        let plan = even.branches(of: group(), round: 1, seeds: [0, 0, 0], encode: noTokens)
        #expect(plan.states.map(\.count) == [1, 1, 0])
    }
}

extension ExpandedBase {
    fileprivate var leafCount: [Int] { outcomes.flatMap { $0.map(\.row) } + [row] }
}

@Suite struct ARPOTests {
    /// The numbers of the specification: probabilities .53 and .46.
    @Test func theMoreUncertainTheAnswerLeavesItTheMoreReadilyItBranches() {
        let method = ARPO()
        #expect(method.isTaken(0.529, change: 0.15) && !method.isTaken(0.531, change: 0.15))
        #expect(method.isTaken(0.459, change: -0.2) && !method.isTaken(0.461, change: -0.2))
        var always = ARPO()
        always.probability = 1
        #expect(always.isTaken(0.999, change: -1))
    }

    /// prompt, policy, tool, policy, tool, policy: it may go on behind each answer, and nowhere else.
    private func agent() -> BaseRollout {
        var one = base(length: 8, reward: 1)
        one.roles = [.other, .other, .policy, .policy, .tool, .policy, .tool, .other, .policy, .policy]
        one.mask = one.roles.map { $0 == .policy }
        one.entropy = [0, 0, 0.2, 0.4, 0, 0.9, 0, 0, 0.1, 0.1]
        one.vocabulary = 100
        return one
    }

    @Test func branchesBeginBehindAnswersOfTools() {
        var method = ARPO()
        method.probability = 1
        let states = method.states(of: agent(), seed: 3, encode: noTokens)
        #expect(states.map(\.position) == [5, 8])
        #expect(states.map(\.anchorEntropy) == [0.9, 0.1])
        method.branches = 1
        #expect(method.states(of: agent(), seed: 3, encode: noTokens).map(\.position) == [5])
        (method.probability, method.entropyWeight) = (0, 0)
        #expect(method.states(of: agent(), seed: 3, encode: noTokens).isEmpty)
    }

    private func method(_ edit: (inout ARPO) -> Void) -> ARPO {
        var method = ARPO()
        method.probability = 1
        edit(&method)
        return method
    }

    private func plan(_ method: any Expansion, _ rows: Int) -> BranchPlan {
        method.branches(
            of: (0..<rows).map { _ in agent() }, round: 1, seeds: (0..<rows).map { UInt64($0) }, encode: noTokens)
    }

    private func positions(_ plan: BranchPlan) -> [[Int]] { plan.states.map { $0.map(\.position) } }

    /// Everybody's first answer comes before anybody's second; what a prompt may still have is sampled afresh.
    @Test func aPromptHasSoManyRows() {
        let few = plan(method { $0.perGroup = 5 }, 2)
        #expect(positions(few) == [[5, 8], [5]] && few.unpaid == 1 && few.fresh == 0)
        let many = plan(method { $0.perGroup = 8 }, 2)
        #expect(positions(many) == [[2, 5, 8], [5, 8]] && many.fresh == 2 && many.states[0][0].replicates == 2)
        let twice = plan(method { ($0.perGroup, $0.replicates) = (5, 2) }, 2)
        #expect(positions(twice) == [[2, 5], []] && twice.unpaid == 6 && twice.fresh == 1)
        #expect(positions(plan(method { $0.perGroup = 2 }, 3)) == [[], [], []])
        #expect(positions(plan(method { ($0.perGroup, $0.branches) = (4, 1) }, 2)) == [[5], [5]])
        #expect(positions(plan(method { _ in }, 2)) == [[5, 8], [5, 8]])
    }

    /// The number of the specification: of 16 rows 9.579 from the prompt.
    @Test func rootsAndBranchesAreBalanced() {
        var balanced = AEPO()
        #expect(isClose(balanced.roots(rootEntropy: 0.6, toolEntropy: 0.2), 9.579, absolute: 5e-4))
        #expect(balanced.roots(rootEntropy: 0.3, toolEntropy: 0.3) == 8)
        (balanced.perGroup, balanced.probability) = (8, 1)
        // The policy is about as uncertain at first as behind answers: 4 of 8 from the prompt, 2 of them the dump's.
        let two = plan(balanced, 2)
        #expect(positions(two) == [[2, 5, 8], [5, 8]] && two.fresh == 2 && two.states[0][0].replicates == 2)
        // A dump's own rollouts are kept, though they are more.
        let six = plan(balanced, 6)
        #expect(positions(six) == [[5], [5], [], [], [], []] && six.fresh == 0 && six.unpaid == 10)
        balanced.balance = 1000
        #expect(plan(balanced, 1).states[0].map(\.position) != [])
        // No answer of a tool, no branch: all from the prompt.
        var silent = agent()
        silent.roles = silent.roles.map { $0 == .tool ? .other : $0 }
        let fresh = balanced.branches(of: [silent], round: 1, seeds: [0], encode: noTokens)
        #expect(fresh.states == [[ExpansionState(position: 2, replicates: 7)]] && fresh.fresh == 7)
    }

    /// No answer, no branch; no vocabulary, nothing to measure by.
    @Test func withoutToolsItBranchesNowhere() {
        var method = ARPO(), one = agent()
        method.probability = 1
        one.roles = one.roles.map { $0 == .tool ? .other : $0 }
        #expect(method.states(of: one, seed: 3, encode: noTokens).isEmpty)
        #expect(method.readsVocabulary)
        method.vocabulary = 1000
        #expect(!method.readsVocabulary)
    }

    @Test func allRowsOfAPromptAreComparedAsGRPODoes() {
        let one = agent(), mask = one.mask.indices.map { $0 >= 8 }
        let group = [
            ExpandedBase(
                base: one, row: 7, states: [ExpansionState(position: 8)],
                outcomes: [[Outcome(row: 1, reward: 0, correct: false, mask: mask)]]),
            ExpandedBase(base: agent(), row: 8, states: [], outcomes: []),
        ]
        let rows = ARPO().credit(group: group).flatMap(\.rows)
        #expect(rows.map(\.row) == [1, 7, 8])
        let expected = GRPO().advantages(rewards: [0, 1, 1]).compactMap { $0 }
        // Tokens before the cut are the base's, and count in both rows.
        #expect(rows[0].mask == one.mask)
        for (row, advantage) in zip(rows, expected) {
            #expect(row.advantages == row.mask.map { $0 ? advantage : 0 })
        }
    }
}

@Suite struct ExpansionRegistryTests {
    /// Every method, on the same base: rows name their tokens, masked tokens get nothing, states come in order.
    @Test func everyMethodKeepsTheRules() {
        #expect(ExpansionRegistry.all.map { $0.name } == ExpansionRegistry.all.map { $0.name }.sorted())
        let words = ["a b", " c\n", "d e", " f\n", "</think>", "4", ""]
        var one = base(length: 7, reward: 1, correct: true, text: words)
        one.entropy = [0, 0, 0.1, 0.7, 0.3, 0.9, 0.2, 0.5, 0]
        (one.roles, one.vocabulary) = ([.other, .other, .policy] + [BaseRollout.Role](repeating: .tool, count: 6), 50)
        for type in ExpansionRegistry.all {
            var method: any Expansion = type.init()
            if var tree = method as? TreePO {
                tree.segment = 2
                method = tree
            }
            #expect(method.problems.isEmpty && method.replicates >= 1, "\(type.name)")
            one.thoughtEnd = method.thoughtEnd(of: one)
            let states = method.states(of: one, seed: 1) { _ in [50] }
            #expect(!states.isEmpty && states.map(\.position) == states.map(\.position).sorted(), "\(type.name)")
            #expect(method.states(of: one, seed: 1) { _ in [50] } == states, "\(type.name)")
            var row = 0
            let outcomes = states.map { state in
                (0..<max(2, method.replicates)).map { replicate in
                    row += 1
                    let length = state.position + state.injected.count
                    return Outcome(
                        row: row, reward: Double(replicate % 2), correct: replicate % 2 == 1,
                        mask: (0..<length + 2).map { $0 >= length })
                }
            }
            let credit = method.credit(ExpandedBase(base: one, row: 0, states: states, outcomes: outcomes))
            #expect(!credit.rows.isEmpty, "\(type.name)")
            for row in credit.rows {
                #expect(
                    row.mask.count == row.advantages.count
                        && zip(row.mask, row.advantages).allSatisfy { $0 || $1 == 0 }, "\(type.name)")
            }
            let none = method.credit(ExpandedBase(base: one, row: 0, states: states, outcomes: states.map { _ in [] }))
            #expect(
                none.rows.allSatisfy { $0.advantages.allSatisfy { $0 == 0 } }, "\(type.name) makes something of nothing"
            )
        }
    }

    /// VinePPO's penalty is the mean over rollouts of a rollout's sum, whatever the loss divides by; the others' goes
    /// with the loss.
    @Test(arguments: ExpansionRegistry.all.map { $0.name }) func aPenaltyHasTheDenominatorOfItsMethod(_ name: String) {
        let method = ExpansionRegistry.all.first { $0.name == name }!.init()
        var policy = CreditRecipe(), credit = ExpansionCredit()
        policy.expansion = method
        let bases = [2, 6].enumerated().map { base("r\($0)", length: $1, reward: 1, truncated: true) }
        for (row, one) in bases.enumerated() {
            let outcomes = [[Outcome(row: 9, reward: 0, correct: nil, mask: [])]]
            credit.rows +=
                VinePPO().credit(
                    ExpandedBase(base: one, row: row, states: [ExpansionState(position: 2)], outcomes: outcomes)
                ).rows
        }
        let inputs = bases.map {
            CreditInput(groupID: "g", reward: 1, correct: nil, isTruncated: false, mask: $0.mask, entropy: [])
        }
        let plan = policy.assign(credited: credit, inputs, seed: 0)
        #expect(plan.kept.allSatisfy { $0.weights[2] == 1.0 / 8 })
        #expect(plan.kept.allSatisfy { $0.unmaskedWeight == (name == "vineppo" ? 1.0 / 2 : 1.0 / 8) })
    }

    @Test func aBaseThatIsLeftOutSetsNoBaseline() {
        let method = SGRPO()
        var one = base(length: 6, reward: 1, correct: true)
        one.thoughtEnd = 5
        let states = [ExpansionState(position: 4)],
            outcomes = [[Outcome(row: 1, reward: 1, correct: true, mask: [Bool](repeating: true, count: 6))]]
        var expanded = ExpandedBase(base: one, row: 0, states: states, outcomes: outcomes)
        #expect(method.credit(expanded).rows.map(\.reward) == [1, 0.5])
        expanded.isBaseRejected = true
        #expect(
            method.credit(expanded).rows.map(\.row) == [1]
                && method.credit(expanded).rows[0].advantages.allSatisfy { $0 == 0 })
        #expect(VinePPO().credit(expanded).rows.isEmpty)
    }

    @Test func whitenedAdvantagesHaveMeanZeroAndDeviationOne() {
        var policy = CreditRecipe()
        policy.expansion = VinePPO()
        let rows = [[1.0, 2, 3], [-2, 0.5]]
        var credit = ExpansionCredit()
        let method = VinePPO()
        for (index, advantages) in rows.enumerated() {
            // One state per token makes per-token advantages.
            let one = base("r\(index)", length: advantages.count, reward: 0, truncated: true)
            let states = advantages.indices.map { ExpansionState(position: 2 + $0) }
            var values = [0.0]
            for advantage in advantages.reversed() { values.insert(values[0] - advantage, at: 0) }
            let made = method.credit(
                ExpandedBase(
                    base: one, row: index, states: states,
                    outcomes: values.dropLast().map { [Outcome(row: 9, reward: $0, correct: nil, mask: [])] }))
            credit.rows += made.rows
        }
        let inputs = rows.enumerated().map { index, advantages in
            CreditInput(
                groupID: "g\(index)", reward: 0, correct: nil, isTruncated: false,
                mask: [false, false] + advantages.map { _ in true }, entropy: [])
        }
        let plan = policy.assign(credited: credit, inputs, seed: 0)
        let
            whitened = plan.kept.flatMap { row in
                row.advantages.indices.filter { row.mask[$0] }.map { row.advantages[$0] }
            }, flat = rows.flatMap { $0 }
        let mean = flat.reduce(0, +) / 5,
            deviation = (flat.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 4 + 1e-8).squareRoot()
        #expect(firstDifference(whitened, flat.map { ($0 - mean) / deviation }, absolute: 1e-9) == nil)
        #expect(plan.kept.allSatisfy { zip($0.mask, $0.advantages).allSatisfy { $0 || $1 == 0 } })
    }
}

@Suite struct MaskRuleTests {
    private let entropies: [Float] = [0.02, 1.2, 0, 0.7, 0.01, 0.1, 2.0, 0.05, 0.3, 0.5]

    private func mask(_ edit: (inout EntropyMask) -> Void) -> EntropyMask {
        var mask = EntropyMask()
        edit(&mask)
        return mask
    }

    @Test func bottomKeepsWhatTopLeavesOut() {
        let top = mask { $0.top = 0.2 }.keep(entropies), bottom = mask { $0.bottom = 0.8 }.keep(entropies)
        #expect(bottom.kept == top.kept.map { !$0 })
        #expect(isClose(bottom.threshold ?? 0, 0.8, absolute: 1e-6))
        let exact = mask { ($0.bottom, $0.ties) = (0.8, .exactCount) }.keep([0, 0, 0, 0, 0])
        #expect(exact.kept == [true, true, true, true, false])
    }

    @Test func randomKeepsAnExactShareAndEveryTokenAsOften() {
        let selection = mask { $0.random = 0.2 }
        var times = [Int](repeating: 0, count: 10)
        for seed in 0..<5000 as Range<UInt64> {
            let kept = selection.keep(entropies, seed: seed).kept
            #expect(kept.count { $0 } == 2)
            for index in kept.indices where kept[index] { times[index] += 1 }
        }
        // 5,000 draws at 0.2: five standard deviations are 141.
        #expect(times.allSatisfy { abs($0 - 1000) < 141 }, "\(times)")
        #expect(selection.keep(entropies, seed: 3).kept == selection.keep(entropies, seed: 3).kept)
        #expect(mask { $0.random = 0.25 }.keep([1, 2, 3, 4, 5]).kept.count { $0 } == 2)
    }

    @Test func everySelectionKeepsAllWithAShareOfOne() {
        let selections: [(String, WritableKeyPath<EntropyMask, Share?>)] = [
            ("top", \.top), ("bottom", \.bottom), ("random", \.random),
        ]
        #expect(selections.map(\.0).sorted() == MaskRegistry.all.map { $0.name }.sorted())
        for (name, share) in selections {
            for ties in EntropyMask.Ties.allCases {
                #expect(
                    mask { ($0[keyPath: share], $0.ties) = (1, ties) }.keep(entropies).kept.allSatisfy { $0 }, "\(name)"
                )
                #expect(mask { ($0[keyPath: share], $0.ties) = (0.1, ties) }.keep([0.5]).kept == [true], "\(name)")
            }
        }
    }

    @Test func onlyOneSelectionAtATime() {
        #expect(EntropyMask().problems.isEmpty && EntropyMask().spelledOut.top == 0.2)
        #expect(mask { ($0.top, $0.random) = (0.2, 0.2) }.problems.count == 1)
        #expect(mask { $0.bottom = 1.5 }.problems == ["entropy.mask.bottom is 1.5; expected 0 to 1"])
    }
}
