import Tensors

/// Where a pass puts the activations of layers that it doesn't keep in memory: what is written after a layer's forward
/// half is read before its backward half, the same bytes that would be computed again.
package protocol ActivationStore: AnyObject {
    func write(_ arrays: [Buffer], layer: Int) throws
    /// What was written last of this layer, into arrays of the same sizes.
    func read(into arrays: [Buffer], layer: Int) throws
}
