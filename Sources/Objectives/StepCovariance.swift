/// (A - mean A)(lp - mean lp) over the trainable tokens of a step: tokens where it is large are those that make the
/// policy's entropy fall (The Entropy Mechanism of RL for LLMs, arXiv 2505.22617).
struct StepCovariance {
    /// Trainable tokens of the step in row order.
    private(set) var places: [(row: Int, t: Int)] = []
    private(set) var values: [Double] = []

    init(_ step: [SequenceInputs]) {
        for (row, sequence) in step.enumerated() {
            for t in sequence.mask.indices where sequence.mask[t] { places.append((row, t)) }
        }
        let advantages = places.map { Double(step[$0.row].advantages[$0.t]) },
            logprobs = places.map { Double(step[$0.row].logprobs[$0.t]) }
        let count = Double(max(1, places.count)), meanA = advantages.reduce(0, +) / count,
            meanL = logprobs.reduce(0, +) / count
        values = zip(advantages, logprobs).map { ($0 - meanA) * ($1 - meanL) }
    }

    func selection(_ step: [SequenceInputs], _ chosen: [Int]) -> [[Bool]] {
        var selected = step.map { $0.mask.map { _ in false } }
        for index in chosen { selected[places[index].row][places[index].t] = true }
        return selected
    }
}
