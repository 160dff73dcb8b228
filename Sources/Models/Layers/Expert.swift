import Tensors

/// One expert: down(activation(gate(x)) · up(x)). In the gradient's copy the same fields point at the gradients.
struct Expert: Sendable {
    var inputs: ExpertInputs
    var down: LinearWeights

    /// Each of its linear layers changed.
    func map(_ change: (LinearWeights) -> LinearWeights) -> Expert {
        Expert(inputs: inputs.map(change), down: change(down))
    }
}

/// What makes an expert's gate and up projection.
enum ExpertInputs: Sendable {
    case apart(gate: LinearWeights, up: LinearWeights)
    /// One layer whose outputs are a gate's and an up projection's in turns.
    case interleaved(LinearWeights)

    /// x [n, C] → gate, up [n, I]. `both` [n, 2I] is scratch.
    func forward(_ x: Matrix, gate: Matrix, up: Matrix, both: Matrix, _ compute: Compute) {
        switch self {
        case .apart(let gateWeights, let upWeights):
            linearForward(x, gateWeights, into: gate, compute)
            linearForward(x, upWeights, into: up, compute)
        case .interleaved(let weights):
            linearForward(x, weights, into: both, compute)
            compute.forEachBlock(rows: x.rows, blockRows: 8) { _, rows in
                for row in rows {
                    for i in 0..<gate.columns {
                        gate.row(row)[i] = both.row(row)[2 * i]
                        up.row(row)[i] = both.row(row)[2 * i + 1]
                    }
                }
            }
        }
    }

    /// dgate, dup [n, I] → dx [n, C] and the gradients. `both` [n, 2I] is scratch.
    func backward(
        dgate: Matrix, dup: Matrix, x: Matrix, gradients: [any LinearGradient], into dx: Matrix, both: Matrix,
        _ compute: Compute
    ) {
        switch self {
        case .apart(let gate, let up):
            linearBackward(dgate, x: x, gate, gradient: gradients[0], into: dx, compute)
            linearBackward(dup, x: x, up, gradient: gradients[1], into: dx, adding: true, compute)
        case .interleaved(let weights):
            compute.forEachBlock(rows: x.rows, blockRows: 8) { _, rows in
                for row in rows {
                    for i in 0..<dgate.columns {
                        both.row(row)[2 * i] = dgate.row(row)[i]
                        both.row(row)[2 * i + 1] = dup.row(row)[i]
                    }
                }
            }
            linearBackward(both, x: x, weights, gradient: gradients[0], into: dx, compute)
        }
    }

    func map(_ change: (LinearWeights) -> LinearWeights) -> ExpertInputs {
        switch self {
        case .apart(let gate, let up): .apart(gate: change(gate), up: change(up))
        case .interleaved(let weights): .interleaved(change(weights))
        }
    }

    var linears: [LinearWeights] {
        switch self {
        case .apart(let gate, let up): [gate, up]
        case .interleaved(let weights): [weights]
        }
    }
}

/// Where the gradients of a mixture go.
struct ExpertGradients: Sendable {
    let router: any LinearGradient
    /// Of each expert; empty where all stand still.
    private let experts: [(inputs: [any LinearGradient], down: any LinearGradient)]

    /// Nothing is trained.
    init() { (router, experts) = (NoLinearGradient(), []) }

    init(full gradients: ExpertBlock) {
        router = FullLinearGradient(gradients.router.weights)
        experts = gradients.experts.map { expert in
            (expert.inputs.linears.map { FullLinearGradient($0) }, FullLinearGradient(expert.down))
        }
    }

    func inputs(_ expert: Int) -> [any LinearGradient] {
        experts.isEmpty ? [NoLinearGradient(), NoLinearGradient()] : experts[expert].inputs
    }
    func down(_ expert: Int) -> any LinearGradient { experts.isEmpty ? NoLinearGradient() : experts[expert].down }
}
