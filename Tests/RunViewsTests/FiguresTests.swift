import Formats
import RunViews
import TestSupport
import Testing

/// Sums over a run beside the slow way: all rows in memory, one question at a time.
@Suite struct FiguresTests {
    private static let tokens = 40

    /// Rollouts with everything that figures are made of, drawn by a fixed seed. `plans`: how many plans they have.
    private static func views(_ count: Int, plans: Int) -> [RolloutView] {
        var random = SplitMix(seed: 7)
        return (0..<count).map { number in view(number, plans: plans, &random) }
    }

    private static func view(_ number: Int, plans: Int, _ random: inout SplitMix) -> RolloutView {
        var rollout = RolloutRow(), score = ScoreRow()
        let length = Int.random(in: 5...tokens, using: &random), start = 3
        rollout.rolloutID = "r-\(number)"
        rollout.groupID = "g-\(number / 4)"
        rollout.dataSource = number % 3 == 0 ? "math" : "gsm8k"
        rollout.finishReason = number % 5 == 0 ? "length" : "stop"
        rollout.tokenIDs = (0..<length).map { _ in Int32.random(in: 0..<6, using: &random) }
        rollout.lossMask = (0..<length).map { $0 >= start }
        rollout.rolloutLogprobs = (0..<length).map { $0 < start ? 0 : Float.random(in: -3...0, using: &random) }
        score.rolloutID = rollout.rolloutID
        score.correct = [true, false, false, nil][number % 4]
        score.setVerdict(score.correct == true ? .correct : .wrong)
        score.reward = score.correct.map { $0 ? 1 : 0 }
        score.entropy =
            number % 11 == 10 ? nil : (0..<length).map { $0 < start ? 0 : .random(in: 0...4, using: &random) }
        score.oldLogprobs = rollout.rolloutLogprobs?.map { $0 * 0.75 }
        let entries = (0..<plans).map { entry(rollout, plan: $0, number, &random) }
        return RolloutView(number: number, rollout: rollout, score: score, trainer: .known, entries: entries)
    }

    private static func entry(_ rollout: RolloutRow, plan: Int, _ number: Int, _ random: inout SplitMix) -> PlanEntry {
        if number % 7 == 3 + plan { return .dropped(reason: "degenerate_group") }
        if number % 7 == 5 { return .missing }
        var row = PlanRow()
        row.rolloutID = rollout.rolloutID
        (row.tokenIDs, row.lossMask, row.step) = (rollout.tokenIDs, rollout.lossMask, Int32(number / 10))
        row.advantages = rollout.lossMask.map { $0 ? [-1, 0, 0.5].randomElement(using: &random) ?? 0 : 0 }
        row.entropyMask = rollout.lossMask.map { $0 && Bool.random(using: &random) }
        row.tokenWeights = row.entropyMask.map { $0 ? .random(in: 0.1...1, using: &random) : 0 }
        row.reward = Float(number % 2)
        return .kept([row])
    }

    /// Every trainable token: its rollout, its position.
    private static func places(_ views: [RolloutView]) -> [(view: RolloutView, t: Int)] {
        views.flatMap { view in view.rollout.lossMask.indices.filter { view.rollout.lossMask[$0] }.map { (view, $0) } }
    }

    /// The same sums whether rows are added one by one or batch by batch.
    private static func summed<Tally>(
        _ views: [RolloutView], _ empty: Tally, _ add: (inout Tally, RolloutView) -> Void,
        _ merge: (inout Tally, Tally) -> Void
    ) -> Tally {
        stride(from: 0, to: views.count, by: 9).reduce(into: empty) { all, start in
            var part = empty
            for view in views[start..<min(start + 9, views.count)] { add(&part, view) }
            merge(&all, part)
        }
    }

    @Test func dumpTallyCountsWhatIsThere() {
        let views = Self.views(60, plans: 0), places = Self.places(views)
        let tally = Self.summed(views, DumpTally(), { $0.add($1) }, { $0.add($1) })
        #expect(tally.rollouts == 60 && tally.tokens == places.count)
        #expect(tally.sources["math"]?.rollouts == 20)
        #expect(
            tally.sources["math"]?.judgements[.right] == views.count { $0.number % 3 == 0 && $0.score.correct == true })
        #expect(tally.finishReasons == ["length": 12, "stop": 48])
        let known = places.filter { $0.view.score.entropy != nil }.map { ($0.view, $0.view.score.entropy?[$0.t] ?? 0) }
        #expect(tally.entropy.count == known.count)
        #expect(isNear(tally.entropy.sum, known.reduce(0) { $0 + Double($1.1) }))
        for judgement in Judgement.allCases {
            let own = known.filter { Judgement($0.0.score.correct) == judgement }.map(\.1)
            let bins = tally.entropyBins[judgement]?.values ?? [], steps = tally.entropySteps[judgement]?.values ?? []
            for (bin, edges) in zip(EntropyBins.edges, EntropyBins.edges.dropFirst()).enumerated() {
                #expect(bins[bin + 1] == own.count { Double($0) >= edges.0 && Double($0) < edges.1 })
            }
            #expect(bins[0] == own.count { Double($0) < EntropyBins.edges[0] })
            #expect(steps[10] == own.count { Double($0) >= 0.5 && Double($0) < 0.55 })
        }
        let differences = places.map { place in
            abs((place.view.score.oldLogprobs?[place.t] ?? 0) - (place.view.rollout.rolloutLogprobs?[place.t] ?? 0))
        }
        #expect(tally.largestSamplerDifference == differences.max())
        #expect(isNear(tally.samplerDifference.sum, differences.reduce(0) { $0 + Double($1) }))
    }

    @Test func entropyByPlaceIsAMeanOfItsTwentieth() {
        let views = Self.views(30, plans: 0)
        let tally = Self.summed(views, DumpTally(), { $0.add($1) }, { $0.add($1) })
        var sums = [Double](repeating: 0, count: DumpTally.places), counts = sums
        for view in views where view.score.correct == true {
            guard let entropy = view.score.entropy else { continue }
            let places = view.trainable
            for (n, t) in places.enumerated() {
                sums[n * DumpTally.places / places.count] += Double(entropy[t])
                counts[n * DumpTally.places / places.count] += 1
            }
        }
        let found = tally.entropyByPlace[.right] ?? []
        for place in sums.indices {
            #expect(isNear(found[place].sum, sums[place]) && Double(found[place].count) == counts[place])
        }
    }

    @Test func planTallyCountsWhatIsKept() {
        let views = Self.views(70, plans: 1)
        let tally = Self.summed(views, PlanTally(), { $0.add($1, $1.entries[0]) }, { $0.add($1) })
        let rows = views.compactMap { view in view.entries[0].rows.first.map { (view, $0) } }
        let tokens = rows.flatMap { view, row in view.trainable.map { (view: view, row: row, t: $0) } }
        let kept = tokens.filter { $0.row.entropyMask[$0.t] }
        #expect(tally.rollouts == rows.count && tally.missing == 10 && tally.dropped == ["degenerate_group": 10])
        #expect(tally.trainableTokens == tokens.count && tally.keptTokens == kept.count)
        #expect(tally.positive == tokens.count { $0.row.advantages[$0.t] > 0 })
        #expect(tally.negative == tokens.count { $0.row.advantages[$0.t] < 0 })
        #expect(tally.positive + tally.negative + tally.zero == tokens.count)
        #expect(isNear(tally.weight, kept.reduce(0) { $0 + Double($1.row.tokenWeights[$1.t]) }))
        let banded = kept.filter { $0.view.score.entropy != nil }
        #expect(tally.bands.kept.total == banded.count)
        #expect(isNear(tally.bands.weight.total, banded.reduce(0) { $0 + Double($1.row.tokenWeights[$1.t]) }))
        for (step, cut) in tally.cuts {
            let own = tokens.filter { $0.row.step == step && $0.view.score.entropy != nil }
            let entropies = own.map { (isKept: $0.row.entropyMask[$0.t], value: $0.view.score.entropy?[$0.t] ?? 0) }
            #expect(cut.lowestKept == entropies.filter(\.isKept).map(\.value).min())
            #expect(cut.highestLeft == entropies.filter { !$0.isKept }.map(\.value).max())
        }
    }

    @Test func comparisonCountsWhereTwoPlansPart() {
        let views = Self.views(70, plans: 2)
        let tally = Self.summed(
            views, PlanComparisonTally(), { $0.add($1, $1.entries[0], $1.entries[1]) }, { $0.add($1) })
        func keeps(_ place: (view: RolloutView, t: Int), _ plan: Int) -> Bool {
            place.view.entries[plan].rows.first?.entropyMask[place.t] ?? false
        }
        let places = Self.places(views), both = places.filter { keeps($0, 0) && keeps($0, 1) }
        let onlyFirst = places.filter { keeps($0, 0) && !keeps($0, 1) }
        let onlySecond = places.filter { !keeps($0, 0) && keeps($0, 1) }
        #expect(tally.tokens.both == both.count && tally.tokens.onlyFirst == onlyFirst.count)
        #expect(tally.tokens.onlySecond == onlySecond.count)
        #expect(tally.tokens.neither == places.count - both.count - onlyFirst.count - onlySecond.count)
        #expect(tally.onlyFirst.total == onlyFirst.count { $0.view.score.entropy != nil })
        #expect(tally.rollouts.both == views.count { !$0.entries[0].rows.isEmpty && !$0.entries[1].rows.isEmpty })
        let signs = both.count { place in
            let advantages = place.view.entries.compactMap { $0.rows.first?.advantages[place.t] }
            return advantages.min() == -1 && advantages.max() == 0.5
        }
        #expect(tally.signsDiffer == signs && signs > 0)
        #expect(tally.largestAdvantageDifference == 1.5)
    }

    @Test func tokenTableIsSortedByMeanEntropy() {
        let views = Self.views(50, plans: 1), places = Self.places(views).filter { $0.view.score.entropy != nil }
        let tally = Self.summed(views, TokenTally(), { $0.add($1) }, { $0.add($1) })
        let table = tally.table(minimumCount: 0)
        #expect(table.count == 6)
        #expect(
            table.map { $0.figures.entropy.value ?? 0 } == table.map { $0.figures.entropy.value ?? 0 }.sorted(by: >))
        for (token, figures) in table {
            let own = places.filter { $0.view.rollout.tokenIDs[$0.t] == token }
            #expect(figures.entropy.count == own.count)
            #expect(isNear(figures.entropy.sum, own.reduce(0) { $0 + Double($1.view.score.entropy?[$1.t] ?? 0) }))
            #expect(figures.kept == own.count { $0.view.entries[0].rows.first?.entropyMask[$0.t] ?? false })
            #expect(figures.right == own.count { $0.view.score.correct == true })
            #expect(figures.places.count == min(own.count, TokenFigures.mostPlaces))
            for place in figures.places { #expect(views[place.row].rollout.tokenIDs[place.position] == token) }
        }
        #expect(tally.table(minimumCount: 1_000).isEmpty)
    }

    /// Places are drawn by lot, not from the dump's beginning, and how batches are cut changes nothing.
    @Test func placesDependOnNothingButTheDump() {
        let views = Self.views(50, plans: 0)
        var whole = TokenTally()
        for view in views { whole.add(view) }
        let parts = Self.summed(views, TokenTally(), { $0.add($1) }, { $0.add($1) })
        #expect(whole.tokens.mapValues(\.places) == parts.tokens.mapValues(\.places))
        #expect(whole.tokens.values.contains { figures in figures.places.contains { $0.row > 25 } })
    }

    // MARK: sample

    private static func sample(_ views: [RolloutView], limit: Int) -> RolloutSample {
        summed(views, RolloutSample(limit: limit), { $0.add($1) }, { $0.add($1) })
    }

    @Test func smallDumpsAreThereAsAWhole() {
        let views = Self.views(40, plans: 0)
        #expect(Self.sample(views, limit: 40).rows(tokens: .max) == Array(0..<40))
    }

    @Test func eachFilterHasMembers() {
        let views = Self.views(400, plans: 2), rows = Self.sample(views, limit: 24).rows(tokens: .max)
        let chosen = rows.map { views[$0] }
        #expect(rows.count == 24 && rows == rows.sorted() && Set(rows).count == 24)
        for judgement in Judgement.allCases {
            #expect(chosen.contains { Judgement($0.score.correct) == judgement }, "\(judgement)")
        }
        #expect(chosen.contains { $0.entries[0].dropReason != nil })
        let longest = views.max { $0.rollout.tokenIDs.count < $1.rollout.tokenIDs.count }
        #expect(chosen.map(\.rollout.tokenIDs.count).max() == longest?.rollout.tokenIDs.count)
        #expect(chosen.compactMap(\.meanEntropy).max() == views.compactMap(\.meanEntropy).max())
        let differences = { (views: [RolloutView]) in views.compactMap { $0.samplerDifferences.max() }.max() }
        #expect(differences(chosen) == differences(views))
        let parted = { (view: RolloutView) in
            PlanComparisonTally.differingTokens(view, view.entries[0], view.entries[1])
        }
        #expect(chosen.map(parted).max() == views.map(parted).max())
        #expect(chosen.contains { one in chosen.count { $0.rollout.groupID == one.rollout.groupID } > 1 })
    }

    @Test func sampleDependsOnNothingButTheDump() {
        let views = Self.views(300, plans: 1)
        var whole = RolloutSample(limit: 20)
        for view in views { whole.add(view) }
        #expect(whole.rows(tokens: .max) == Self.sample(views, limit: 20).rows(tokens: .max))
    }

    @Test func sampleKeepsToItsTokens() {
        let views = Self.views(300, plans: 0), rows = Self.sample(views, limit: 100).rows(tokens: 500)
        #expect(rows.reduce(0) { $0 + views[$1].rollout.tokenIDs.count } <= 500)
        #expect(rows.count > 5)
        #expect(Self.sample(views, limit: 100).rows(tokens: 1).count == 1)
    }

    // MARK: bins

    @Test func edgesBelongToTheBinThatTheyBegin() {
        for (number, edge) in EntropyBins.edges.enumerated() {
            let rounded = Float(edge), bin = EntropyBins.bin(of: rounded)
            #expect(bin == (Double(rounded) < edge ? number : number + 1), "\(edge)")
        }
        #expect(EntropyBins.bin(of: 0) == 0 && EntropyBins.bin(of: 1000) == EntropyBins.count - 1)
        #expect(EntropySteps.bin(of: 0) == 0 && EntropySteps.bin(of: 99) == EntropySteps.count - 1)
    }

    private func isNear(_ one: Double, _ two: Double) -> Bool { isClose(one, two, absolute: 1e-9, relative: 1e-9) }
}
