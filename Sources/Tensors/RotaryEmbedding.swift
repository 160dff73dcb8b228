import Foundation

/// Cosines and sines of rotary position embedding for positions below `positions`, half-split layout (Hugging Face's
/// `rotate_half`): element i pairs with i + D/2, not with its neighbour.
package final class RotaryTable: Sendable {
    private let cosines: Buffer
    private let sines: Buffer
    private let half: Int

    /// - Parameters:
    ///   - inverseFrequencies: [D/2], radians per position.
    ///   - attentionFactor: multiplies cosines and sines (YaRN's temperature; 1 elsewhere).
    package init(inverseFrequencies: [Float], attentionFactor: Float, positions: Int) {
        half = inverseFrequencies.count
        cosines = Buffer(positions * half)
        sines = Buffer(positions * half)
        for position in 0..<positions {
            for (i, frequency) in inverseFrequencies.enumerated() {
                // The product is rounded to float32 first, as the reference does: at large positions the angle's
                // rounding is visible in the log-probabilities.
                let angle = Double(Float(position) * frequency)
                cosines.pointer[position * half + i] = Float(cos(angle)) * attentionFactor
                sines.pointer[position * half + i] = Float(sin(angle)) * attentionFactor
            }
        }
    }

    /// Rotates every head of x [T, heads·D] in place by its token's position.
    package func forward(_ x: Matrix, positions: [Int32], _ compute: Compute) {
        rotate(x, positions, sign: 1, compute)
    }

    /// The transpose of `forward`: rotates gradients back by the same angle. (A rotation's transpose is its inverse; a
    /// factor on both cosine and sine carries over unchanged.)
    package func backward(_ dx: Matrix, positions: [Int32], _ compute: Compute) {
        rotate(dx, positions, sign: -1, compute)
    }

    private func rotate(_ x: Matrix, _ positions: [Int32], sign: Float, _ compute: Compute) {
        compute.timed(.rotary) {
            compute.forEachBlock(rows: x.rows) { _, rows in
                for row in rows {
                    let angle = Int(positions[row]) * half
                    for head in 0..<x.columns / (2 * half) {
                        rotateHead(x.row(row) + head * 2 * half, cosines.pointer + angle, sines.pointer + angle, sign)
                    }
                }
            }
        }
    }

    @inline(__always)
    private func rotateHead(
        _ x: UnsafeMutablePointer<Float>, _ cosine: UnsafeMutablePointer<Float>, _ sine: UnsafeMutablePointer<Float>,
        _ sign: Float
    ) {
        for i in 0..<half {
            let first = x[i], second = x[i + half], s = sign * sine[i]
            x[i] = first * cosine[i] - second * s
            x[i + half] = second * cosine[i] + first * s
        }
    }
}
