import Tensors

/// What the layers with a delta rule remember of a sequence after its newest token: a state of each head, and what their
/// convolutions have yet to see. Of a fixed size, however long the sequence; a step back from it there is none.
///
/// It begins as a copy of another one, layer by layer, when its own first token is computed: rollouts of one prompt go on
/// from the prompt's.
final class RecurrentState {
    private let shape: DeltaShape
    /// K − 1
    private let seen: Int
    /// Per layer, its place among the layers with a delta rule; -1 elsewhere.
    private let places: [Int]
    /// Per such layer, [Hv, state].
    private let states: Buffer
    /// Per such layer, [K − 1, columns].
    private let inputs: Buffer
    private var origin: RecurrentState?
    private var hasBegun: [Bool]

    /// After `origin`, or at a sequence's beginning. nil where no layer has a delta rule.
    init?(_ a: DecoderArchitecture, after origin: RecurrentState?) {
        guard let net = a.deltaNet, !a.deltaLayers.isEmpty else { return nil }
        (shape, seen, self.origin) = (net.shape, net.taps - 1, origin)
        var count = 0
        places = (0..<a.layers).map { layer in
            guard a.deltaLayers.contains(layer) else { return -1 }
            count += 1
            return count - 1
        }
        hasBegun = [Bool](repeating: false, count: count)
        states = Buffer(uninitialized: count * net.shape.valueHeads * net.shape.stateCount)
        inputs = Buffer(uninitialized: count * seen * net.shape.columns)
    }

    func hasBegun(layer: Int) -> Bool { hasBegun[places[layer]] }

    /// The layer's part is its own from here on.
    func begin(layer: Int) {
        hasBegun[places[layer]] = true
        if hasBegun.allSatisfy({ $0 }) { origin = nil }
    }

    func state(layer: Int, head: Int) -> UnsafeMutablePointer<Float> {
        states.pointer + (places[layer] * shape.valueHeads + head) * shape.stateCount
    }

    /// [K − 1, columns], the oldest first.
    func inputs(layer: Int) -> Matrix {
        Matrix(
            inputs.pointer + places[layer] * seen * shape.columns, rows: seen, columns: shape.columns)
    }

    /// One head's state as it was where this one goes on.
    func takeState(layer: Int, head: Int) {
        let target = state(layer: layer, head: head)
        if let origin {
            target.update(from: origin.state(layer: layer, head: head), count: shape.stateCount)
        } else {
            target.update(repeating: 0, count: shape.stateCount)
        }
    }

    /// The same of some columns of what the convolution reads.
    func takeInputs(layer: Int, columns: Range<Int>) {
        let target = inputs(layer: layer)
        for row in 0..<seen {
            let place = target.row(row) + columns.lowerBound
            if let origin {
                place.update(from: origin.inputs(layer: layer).row(row) + columns.lowerBound, count: columns.count)
            } else {
                place.update(repeating: 0, count: columns.count)
            }
        }
    }
}

/// Consecutive rows of a pass that go on from one state.
struct StateRows {
    let state: RecurrentState
    let rows: Range<Int>
    /// Whether the layer's part of it is yet to be taken from where it goes on.
    let begins: Bool

    /// Of rows that all have a state, in their order.
    static func all(_ rows: [DecodingRow], layer: Int) -> [StateRows] {
        var groups: [StateRows] = [], start = 0
        for end in 1..<rows.count + 1 where end == rows.count || rows[end].state !== rows[start].state {
            guard let state = rows[start].state else { preconditionFailure("a row without a state") }
            groups.append(
                StateRows(state: state, rows: start..<end, begins: !state.hasBegun(layer: layer)))
            start = end
        }
        return groups
    }
}
