/// One rollout's Δ = log π_trainer - log π_sampler of the sampled tokens; arrays of length L, 0 outside the mask.
struct LogRatios {
    let trainer: [Float]
    let sampler: [Float]
    let mask: [Bool]
    let differences: [Double]
    let sum: Double
    /// 0 where there is no trainable token.
    let mean: Double

    init(trainer: [Float], sampler: [Float], mask: [Bool]) {
        (self.trainer, self.sampler, self.mask) = (trainer, sampler, mask)
        differences = mask.indices.map { mask[$0] ? Double(trainer[$0]) - Double(sampler[$0]) : 0 }
        sum = differences.reduce(0, +)
        mean = sum / Double(max(1, mask.count { $0 }))
    }

    /// Beyond ±20 a ratio is as good as infinite.
    static func bounded(_ logRatio: Double) -> Double { min(max(logRatio, -20), 20) }

    /// At each token the mean over the unbroken run of trainable tokens that it stands in.
    var runMeans: [Double] {
        var means = differences, start = 0
        while start < mask.count {
            guard mask[start] else {
                start += 1
                continue
            }
            let end = mask[start...].firstIndex(of: false) ?? mask.count
            let mean = differences[start..<end].reduce(0, +) / Double(end - start)
            for t in start..<end { means[t] = mean }
            start = end
        }
        return means
    }
}
