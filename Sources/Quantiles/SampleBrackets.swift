import Scratch

/// The number line in brackets, as a sample says where the wanted ranks of a population lie: values of brackets that hold one
/// are to be kept, and a value that is very frequent is a bracket of its own, whose values need only be counted.
struct SampleBrackets {
    enum Content { case passedOver, kept, single }

    /// Up to the next bracket's lower end; the first begins below everything, the last is passed over.
    struct Bracket {
        let lower: Float
        let content: Content
    }

    private(set) var brackets = [Bracket(lower: -.infinity, content: .passedOver)]
    /// What the sample has where each rank is expected.
    let expected: [Float]

    /// `sample`: finite numbers, in runs of neighbours. A rank is expected within four standard deviations of where the
    /// sample has it.
    init(sample: ScratchArray<Float>, run: Int, of population: Population, space: ScratchSpace) throws {
        let rankBrackets = try Self.rankBrackets(sample, run, population, space)
        expected = rankBrackets.map(\.middle)
        let frequent = Set(rankBrackets.flatMap(\.frequent)).sorted()
        for rankBracket in Self.united(rankBrackets.map { ($0.lower, $0.end) }) { add(rankBracket, frequent) }
    }

    /// Where brackets begin, but the first.
    var edges: [Float] { brackets.dropFirst().map(\.lower) }

    /// Edges at which keeping begins or ends, as bits.
    var turns: UInt32 {
        zip(brackets, brackets.dropFirst()).enumerated().reduce(0) { turns, pair in
            (pair.element.0.content == .kept) == (pair.element.1.content == .kept)
                ? turns : turns | 1 << UInt32(pair.offset)
        }
    }

    private mutating func add(_ rankBracket: (lower: Float, end: Float), _ frequent: [Float]) {
        var start = rankBracket.lower
        for value in frequent where value >= start && value < rankBracket.end {
            if start < value { brackets.append(Bracket(lower: start, content: .kept)) }
            brackets.append(Bracket(lower: value, content: .single))
            start = value.nextUp
        }
        if start < rankBracket.end { brackets.append(Bracket(lower: start, content: .kept)) }
        brackets.append(Bracket(lower: rankBracket.end, content: .passedOver))
    }

    /// Which brackets are kept.
    var kept: [Int] { brackets.indices.filter { brackets[$0].content == .kept } }

    /// The bracket that a value lies in.
    func bracket(of value: Float) -> Int { (brackets.firstIndex { $0.lower > value } ?? brackets.count) - 1 }

    // MARK: brackets

    /// `lower`..<`end`, and which of its ends are frequent. A frequent value inside is so at an end of a bracket as
    /// well: it takes up more of the sample than a bracket does.
    private struct RankBracket {
        let lower: Float
        let middle: Float
        let end: Float
        let frequent: [Float]
    }

    private static func rankBrackets(
        _ sample: ScratchArray<Float>, _ run: Int, _ population: Population, _ space: ScratchSpace
    ) throws -> [RankBracket] {
        let middles = population.ranks.map { Int(Double(sample.count) * (Double($0) + 0.5) / Double(population.count)) }
        // Ranks often are neighbours, of which the sample knows nothing.
        let found = try statistics(middles, sample, space)
        let reaches = found.map {
            Reach($0.key, of: sample.count, deviation: deviation(sample, run, at: $0.value.value, space))
        }
        let ends = try statistics(reaches.flatMap { [$0.low, $0.high].compactMap { $0 } }, sample, space)
        let rankBrackets = zip(found, reaches).map {
            ($0.key, rankBracket($0.value.value, $1.low.flatMap { ends[$0] }, $1.high.flatMap { ends[$0] }, $1))
        }
        let byMiddle = Dictionary(uniqueKeysWithValues: rankBrackets)
        return middles.compactMap { byMiddle[$0] }
    }

    private static func rankBracket(_ middle: Float, _ low: OrderStatistic?, _ high: OrderStatistic?, _ reach: Reach)
        -> RankBracket
    {
        let frequent = [low, high].compactMap { $0 }.filter { $0.equal > reach.frequent }.map(\.value)
        return RankBracket(
            lower: low?.value ?? -.infinity, middle: middle, end: high?.value.nextUp ?? .infinity, frequent: frequent)
    }

    /// By rank of the sample.
    private static func statistics(_ ranks: [Int], _ sample: ScratchArray<Float>, _ space: ScratchSpace) throws -> [Int:
        OrderStatistic]
    {
        let ranks = Set(ranks).sorted()
        return Dictionary(uniqueKeysWithValues: zip(ranks, try BinnedSelect(sample, space).statistics(ranks)))
    }

    /// How far the number of a sample's values below one strays, or of those up to it, whichever is more: few distinct
    /// values differ much in that. By what runs differ, since neighbours may be alike; of many runs it looks at some
    /// thousands, which tell it to a few percent.
    private static func deviation(_ sample: ScratchArray<Float>, _ run: Int, at value: Float, _ space: ScratchSpace)
        -> Double
    {
        let runs = sample.count / run, step = max(1, runs / 4096)
        var below = Spread(), upTo = Spread()
        for start in stride(from: 0, to: runs * run, by: step * run) {
            let (less, equal) = sample.withElements(start..<start + run) { counts($0, about: value) }
            below.add(less)
            upTo.add(less + equal)
            // A row is as long as 16 of these.
            space.releasePages(after: step * run / 16)
        }
        return max(below.deviation(ofSumOver: runs), upTo.deviation(ofSumOver: runs))
    }

    /// How many lie below a value, and how many equal it.
    private static func counts(_ values: UnsafeBufferPointer<Float>, about value: Float) -> (less: Int, equal: Int) {
        var (less, equal) = (Int32(0), Int32(0))
        for other in values {
            less &+= other < value ? 1 : 0
            equal &+= other == value ? 1 : 0
        }
        return (Int(less), Int(equal))
    }

    /// Of numbers that are a sample themselves.
    private struct Spread {
        private var count = 0
        private var sum = 0
        private var squares = 0

        mutating func add(_ number: Int) {
            (count, sum, squares) = (count + 1, sum + number, squares + number * number)
        }

        func deviation(ofSumOver all: Int) -> Double {
            (max(0, Double(squares) - Double(sum) * Double(sum) / Double(count)) * Double(all) / Double(count))
                .squareRoot()
        }
    }

    /// A rank's bracket as ranks of the sample; nil: beyond it.
    private struct Reach {
        let low: Int?
        let high: Int?
        /// What occurs more often than this in the sample had better not be kept.
        let frequent: Int

        init(_ middle: Int, of count: Int, deviation: Double) {
            let slack = Int(4 * deviation) + 2
            (low, high) = (middle < slack ? nil : middle - slack, middle + slack >= count ? nil : middle + slack)
            frequent = max(4, slack / 4)
        }
    }

    /// Those that meet become one.
    private static func united(_ rankBrackets: [(lower: Float, end: Float)]) -> [(lower: Float, end: Float)] {
        rankBrackets.sorted { $0.lower < $1.lower }.reduce(into: []) { all, next in
            guard let last = all.last, next.lower <= last.end else { return all.append(next) }
            all[all.count - 1].end = max(last.end, next.end)
        }
    }
}
