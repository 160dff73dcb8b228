import CKernels

/// The heads of a gated delta rule. Rows of q, k and v lie side by side, [q (Hk·Dk) | k (Hk·Dk) | v (Hv·Dv)]; value head h
/// reads key head h / (Hv / Hk).
package struct DeltaShape: Equatable, Sendable {
    /// Hk
    package let keyHeads: Int
    /// Hv
    package let valueHeads: Int
    /// Dk
    package let keyWidth: Int
    /// Dv
    package let valueWidth: Int

    package init(keyHeads: Int, valueHeads: Int, keyWidth: Int, valueWidth: Int) {
        precondition(
            keyHeads > 0 && valueHeads % keyHeads == 0, "\(valueHeads) value heads read \(keyHeads) key heads")
        (self.keyHeads, self.valueHeads, self.keyWidth, self.valueWidth) = (keyHeads, valueHeads, keyWidth, valueWidth)
    }

    package var keyColumns: Int { keyHeads * keyWidth }
    package var valueColumns: Int { valueHeads * valueWidth }
    /// Of q, k and v together.
    package var columns: Int { 2 * keyColumns + valueColumns }
    /// Floats of one value head's state, as the kernels lay it out.
    package var stateCount: Int { crux_delta_state_count(keyWidth, valueWidth) }

    func keyHead(of valueHead: Int) -> Int { valueHead / (valueHeads / keyHeads) }
    func valueHeads(of keyHead: Int) -> Range<Int> {
        let count = valueHeads / keyHeads
        return keyHead * count..<(keyHead + 1) * count
    }
}

/// What the rule reads of each token: q, k and v, [T, columns], q and k of unit length; by how much each head's state
/// decays, and how strongly it learns, [T, Hv] each, side by side: [T, 2·Hv].
package struct DeltaInputs: Sendable {
    package let mixed: Matrix
    package let gates: Matrix
    package let shape: DeltaShape

    package init(mixed: Matrix, gates: Matrix, shape: DeltaShape) {
        mixed.check(mixed.rows, shape.columns, "queries, keys and values")
        gates.check(mixed.rows, 2 * shape.valueHeads, "the gates")
        (self.mixed, self.gates, self.shape) = (mixed, gates, shape)
    }

    fileprivate func head(_ head: Int, token: Int) -> crux_delta_inputs {
        let row = mixed.row(token), key = shape.keyHead(of: head) * shape.keyWidth
        return crux_delta_inputs(
            q: row + key, k: row + shape.keyColumns + key,
            v: row + 2 * shape.keyColumns + head * shape.valueWidth,
            decay: gates.row(token) + head, strength: gates.row(token) + shape.valueHeads + head,
            stride: mixed.stride, gate_stride: gates.stride, keys: shape.keyWidth, values: shape.valueWidth)
    }

    /// Of the same places in arrays of the same shapes, which hold gradients.
    fileprivate func gradientHead(_ head: Int, token: Int) -> crux_delta_gradients {
        let row = mixed.row(token), key = shape.keyHead(of: head) * shape.keyWidth
        return crux_delta_gradients(
            q: row + key, k: row + shape.keyColumns + key,
            v: row + 2 * shape.keyColumns + head * shape.valueWidth,
            decay: gates.row(token) + head, strength: gates.row(token) + shape.valueHeads + head)
    }

    /// Moves a head's state over `tokens`; what is read of it goes to out [T, Hv·Dv], if anywhere.
    package func run(_ head: Int, _ tokens: Range<Int>, state: UnsafeMutablePointer<Float>, into out: Matrix?) {
        guard !tokens.isEmpty else { return }
        var inputs = self.head(head, token: tokens.lowerBound)
        let target = out.map { $0.row(tokens.lowerBound) + head * shape.valueWidth }
        crux_delta_forward(&inputs, tokens.count, state, target, out?.stride ?? 0)
    }
}

/// Tokens between two states that a backward pass keeps; within, states are computed again.
private let deltaChunk = 64

/// Floats that the rule works in beside its arguments, at most, where a path has `tokens` tokens and branches at
/// `branches` of them.
package func deltaScratchFloats(tokens: Int, branches: Int, shape: DeltaShape, threads: Int) -> Int {
    let states = tokens / deltaChunk + 1 + 3 * (branches + 1)
    return threads * (states * shape.stateCount + crux_delta_space_count(deltaChunk, shape.keyWidth))
}

/// out [T, Hv·Dv] = what each token reads of its path's state, which is zero before a root's first token.
package func deltaForward(_ inputs: DeltaInputs, _ tree: RunTree, into out: Matrix, _ compute: Compute) {
    let shape = inputs.shape, count = shape.stateCount
    out.check(inputs.mixed.rows, shape.valueColumns, "the delta rule's result")
    compute.timed(.attention) {
        compute.forEach(tree.trees.count * shape.valueHeads) { task in
            let (number, head) = task.quotientAndRemainder(dividingBy: shape.valueHeads)
            // The state behind each run of the path.
            let states = Buffer(uninitialized: (tree.depth(ofTree: number) + 1) * count)
            for run in tree.trees[number] {
                let state = states.pointer + tree.depths[run] * count
                if tree.depths[run] == 0 {
                    state.update(repeating: 0, count: count)
                } else {
                    state.update(from: state - count, count: count)
                }
                inputs.run(head, tree.runs[run].tokens, state: state, into: out)
            }
        }
    }
}

/// dout [T, Hv·Dv] → the gradients of q, k and v (`gradients.mixed`, zero before) and of the gates. Runs that follow one
/// run add their gradients of its last state.
package func deltaBackward(
    _ inputs: DeltaInputs, dout: Matrix, _ tree: RunTree, into gradients: DeltaInputs, _ compute: Compute
) {
    let shape = inputs.shape
    dout.check(inputs.mixed.rows, shape.valueColumns, "the gradient of the delta rule's result")
    gradients.mixed.check(like: inputs.mixed, "the gradient of queries, keys and values")
    compute.timed(.attention) {
        // Value heads of one key head add to the same queries and keys.
        compute.forEach(tree.trees.count * shape.keyHeads) { task in
            let (number, keyHead) = task.quotientAndRemainder(dividingBy: shape.keyHeads)
            let space = Buffer(uninitialized: crux_delta_space_count(deltaChunk, shape.keyWidth))
            for head in shape.valueHeads(of: keyHead) {
                DeltaBackward(
                    inputs: inputs, gradients: gradients, dout: dout, tree: tree, head: head, space: space
                ).visit(tree.trees[number].lowerBound, from: nil, into: nil)
            }
        }
    }
}

/// One value head's way back through a tree.
private struct DeltaBackward {
    let inputs: DeltaInputs
    let gradients: DeltaInputs
    let dout: Matrix
    let tree: RunTree
    let head: Int
    let space: Buffer

    private var count: Int { inputs.shape.stateCount }

    private func chunks(of run: Int) -> [Range<Int>] {
        let tokens = tree.runs[run].tokens
        return stride(from: tokens.lowerBound, to: tokens.upperBound, by: deltaChunk).map {
            $0..<min($0 + deltaChunk, tokens.upperBound)
        }
    }

    /// The run and all behind it. `start`: the state before it, nil at a root; the gradient of that is added to
    /// `dstart`.
    func visit(_ run: Int, from start: UnsafePointer<Float>?, into dstart: UnsafeMutablePointer<Float>?) {
        let chunks = chunks(of: run), children = tree.children[run]
        // Before each chunk, and behind the last one where runs follow.
        let states = Buffer(uninitialized: (chunks.count + (children.isEmpty ? 0 : 1)) * count), dstate = Buffer(count)
        defer { withExtendedLifetime((states, dstate)) {} }
        func state(_ number: Int) -> UnsafeMutablePointer<Float> { states.pointer + number * count }
        if let start {
            state(0).update(from: start, count: count)
        } else {
            state(0).update(repeating: 0, count: count)
        }
        for number in 1..<max(1, states.count / count) {
            state(number).update(from: state(number - 1), count: count)
            inputs.run(head, chunks[number - 1], state: state(number), into: nil)
        }
        for child in children { visit(child, from: state(chunks.count), into: dstate.pointer) }
        for (number, chunk) in chunks.enumerated().reversed() {
            var x = inputs.head(head, token: chunk.lowerBound),
                d = gradients.gradientHead(head, token: chunk.lowerBound)
            crux_delta_backward(
                &x, chunk.count, state(number), dout.row(chunk.lowerBound) + head * inputs.shape.valueWidth,
                dout.stride, dstate.pointer, &d, space.pointer)
        }
        if let dstart { crux_add(dstart, dstate.pointer, count) }
    }
}
