/// H ≥ τ, or H ≤ τ, with τ between two entropies of the population: compared with the one of them that is kept, which
/// is the same question and knows no rounding.
struct Cut: TokenSelector {
    let threshold: Double?
    private var lowest = -Float.infinity
    private var highest = Float.infinity

    /// `threshold`: τ.
    init(atLeast lowest: Float, threshold: Double) { (self.lowest, self.threshold) = (lowest, threshold) }

    init(atMost highest: Float, threshold: Double) { (self.highest, self.threshold) = (highest, threshold) }

    /// Without a branch per token, so that many are done at a time.
    func marks(_ entropy: [Float], _ mask: [Bool]) -> [Bool] {
        precondition(entropy.count == mask.count, "a row's columns have one length")
        let (lowest, highest) = (lowest, highest)
        var marks = mask
        entropy.withUnsafeBufferPointer { entropy in
            marks.withUnsafeMutableBytes { marks in
                for t in 0..<entropy.count {
                    let within: UInt8 = entropy[t] >= lowest ? 1 : 0, below: UInt8 = entropy[t] <= highest ? 1 : 0
                    marks[t] = within & below & marks[t]
                }
            }
        }
        return marks
    }

    func census(_ entropy: UnsafeBufferPointer<Float>) -> TokenCensus {
        // A local copy of the bounds, and 32-bit sums of 0 and 1: what a compiler makes vectors of.
        let (lowest, highest) = (lowest, highest)
        var count: UInt32 = 0
        for value in entropy {
            let within: UInt32 = value >= lowest ? 1 : 0, below: UInt32 = value <= highest ? 1 : 0
            count &+= within & below
        }
        return TokenCensus(tokens: entropy.count, kept: Int(count))
    }

    func census(_ near: UnsafeBufferPointer<Float>, above: Int, below: Int) -> TokenCensus {
        let census = census(near), beyond = (highest == .infinity ? above : 0) + (lowest == -.infinity ? below : 0)
        return TokenCensus(tokens: near.count + above + below, kept: census.kept + beyond)
    }

    func count(_ row: TokenCensus) -> Int { row.kept }
}

/// Everything beyond a value, and of what equals it the first few.
struct CountedTies: TokenSelector {
    let value: Float
    let keepsAbove: Bool
    var ties: Int

    var threshold: Double? { Double(value) }

    var memory: SelectorMemory? {
        get { SelectorMemory(left: ties) }
        set { if let newValue { ties = newValue.left } }
    }

    mutating func marks(_ entropy: [Float], _ mask: [Bool]) -> [Bool] {
        var marks = mask
        for t in mask.indices where mask[t] { marks[t] = keeps(entropy[t]) }
        return marks
    }

    func census(_ entropy: UnsafeBufferPointer<Float>) -> TokenCensus {
        let (value, keepsAbove) = (value, keepsAbove)
        var equal: UInt32 = 0, above: UInt32 = 0
        for entropy in entropy {
            equal &+= entropy == value ? 1 : 0
            above &+= entropy > value ? 1 : 0
        }
        return TokenCensus(
            tokens: entropy.count, kept: keepsAbove ? Int(above) : entropy.count - Int(above &+ equal), ties: Int(equal)
        )
    }

    func census(_ near: UnsafeBufferPointer<Float>, above: Int, below: Int) -> TokenCensus {
        let census = census(near)
        return TokenCensus(
            tokens: near.count + above + below, kept: census.kept + (keepsAbove ? above : below), ties: census.ties)
    }

    mutating func count(_ row: TokenCensus) -> Int {
        let kept = row.kept + min(max(0, ties), row.ties)
        ties -= row.ties
        return kept
    }

    private mutating func keeps(_ entropy: Float) -> Bool {
        guard entropy == value else { return (entropy > value) == keepsAbove }
        ties -= 1
        return ties >= 0
    }
}
