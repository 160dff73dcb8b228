/// The type that trained weights are written in.
package enum WeightType: String, CaseIterable, Sendable {
    /// As the checkpoint has them.
    case stored
    /// Float32: nothing of a step is rounded away, and the files are the masters.
    case f32
}
