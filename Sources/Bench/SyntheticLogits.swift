import CKernels
import Tensors

/// Logits like a model's: hidden states of 32 numbers times a head, no row twice, in bfloat16. zstd finds in them what
/// it finds in real ones: the high bytes repeat, the low bytes are noise (it shrinks them to three quarters, and no
/// further by looking harder).
final class SyntheticLogits {
    let vocabulary: Int
    private let head: Buffer
    private var state: UInt64
    private static let rank = 32

    init(vocabulary: Int, seed: UInt64 = 1) {
        (self.vocabulary, state) = (vocabulary, seed)
        head = Buffer(vocabulary * Self.rank)
        for i in 0..<head.count { head.pointer[i] = normal() }
    }

    /// [count, vocabulary]; the spread changes from row to row, so that some are sure of a token and others are not.
    func rows(_ count: Int) -> [UInt16] {
        let hidden = Buffer(count * Self.rank), logits = Buffer(count * vocabulary)
        for row in 0..<count {
            let scale = (2 + 2 * uniform()) / Float(Self.rank).squareRoot()
            for i in 0..<Self.rank { hidden.pointer[row * Self.rank + i] = scale * normal() }
        }
        multiplyTransposed(hidden.matrix(rows: count), head.matrix(rows: vocabulary), into: logits.matrix(rows: count))
        return [UInt16](unsafeUninitializedCapacity: logits.count) { half, filled in
            crux_f32_to_bf16(logits.pointer, half.baseAddress, logits.count)
            filled = logits.count
        }
    }

    private func uniform() -> Float {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Float(state >> 40) / Float(1 << 24)
    }

    /// Twelve uniform numbers: near enough.
    private func normal() -> Float { (0..<12).reduce(-6) { sum, _ in sum + uniform() } }
}
