import Foundation

/// Which elements of a head a rotation takes for a pair.
package enum RotaryPairs: Sendable {
    /// i and i + R/2, R being the rotated width (Hugging Face's `rotate_half`).
    case halves
    /// 2i and 2i + 1.
    case neighbours
}

/// Cosines and sines of rotary position embedding for positions below `positions`. The first R elements of a head are
/// rotated, the others are left alone.
package final class RotaryTable: Sendable {
    private let cosines: Buffer
    private let sines: Buffer
    private let half: Int
    private let headWidth: Int
    private let pairs: RotaryPairs
    private let positions: Int

    /// Positions from 0 on that turn at the same rates.
    package struct Stretch: Sendable {
        /// [R/2], radians per position.
        package let inverseFrequencies: [Float]
        package let positions: Int

        package init(inverseFrequencies: [Float], positions: Int) {
            (self.inverseFrequencies, self.positions) = (inverseFrequencies, positions)
        }
    }

    /// - Parameters:
    ///   - inverseFrequencies: [R/2], radians per position.
    ///   - attentionFactor: multiplies cosines and sines (YaRN's temperature; 1 elsewhere).
    ///   - positions: how many positions, from 0, are made ready.
    ///   - headWidth: D, at least R; nil is R.
    package convenience init(
        inverseFrequencies: [Float], attentionFactor: Float, positions: Int, headWidth: Int? = nil,
        pairs: RotaryPairs = .halves
    ) {
        self.init(
            [Stretch(inverseFrequencies: inverseFrequencies, positions: positions)], attentionFactor: attentionFactor,
            headWidth: headWidth, pairs: pairs)
    }

    /// `stretches`: one behind the other. A position of the second one is looked up behind the first one's.
    package init(
        _ stretches: [Stretch], attentionFactor: Float, headWidth: Int? = nil, pairs: RotaryPairs = .halves
    ) {
        half = stretches.first?.inverseFrequencies.count ?? 0
        positions = stretches.reduce(0) { $0 + $1.positions }
        self.headWidth = headWidth ?? 2 * half
        self.pairs = pairs
        precondition(2 * half <= self.headWidth, "\(2 * half) rotated elements of a head of \(self.headWidth)")
        cosines = Buffer(positions * half)
        sines = Buffer(positions * half)
        var row = 0
        for stretch in stretches {
            for position in 0..<stretch.positions {
                fill(row + position, position, stretch.inverseFrequencies, attentionFactor)
            }
            row += stretch.positions
        }
    }

    private func fill(_ row: Int, _ position: Int, _ inverseFrequencies: [Float], _ attentionFactor: Float) {
        for (i, frequency) in inverseFrequencies.enumerated() {
            // The product is rounded to float32 first, as the reference does: at large positions the angle's
            // rounding is visible in the log-probabilities.
            let angle = Double(Float(position) * frequency)
            cosines.pointer[row * half + i] = Float(cos(angle)) * attentionFactor
            sines.pointer[row * half + i] = Float(sin(angle)) * attentionFactor
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
        precondition(
            x.rows == positions.count && (x.rows == 0 || x.columns % headWidth == 0),
            "[\(x.rows), \(x.columns)] is rotated by \(positions.count) positions and heads of \(headWidth)")
        precondition(
            positions.allSatisfy { $0 >= 0 && $0 < self.positions }, "a position outside of 0..<\(self.positions)")
        compute.timed(.rotary) {
            compute.forEachBlock(rows: x.rows) { _, rows in
                for row in rows {
                    let angle = Int(positions[row]) * half
                    for head in 0..<x.columns / headWidth {
                        rotateHead(x.row(row) + head * headWidth, cosines.pointer + angle, sines.pointer + angle, sign)
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
        guard pairs == .halves else { return rotateNeighbours(x, cosine, sine, sign) }
        for i in 0..<half {
            let first = x[i], second = x[i + half], s = sign * sine[i]
            x[i] = first * cosine[i] - second * s
            x[i + half] = second * cosine[i] + first * s
        }
    }

    private func rotateNeighbours(
        _ x: UnsafeMutablePointer<Float>, _ cosine: UnsafeMutablePointer<Float>, _ sine: UnsafeMutablePointer<Float>,
        _ sign: Float
    ) {
        for i in 0..<half {
            let first = x[2 * i], second = x[2 * i + 1], s = sign * sine[i]
            x[2 * i] = first * cosine[i] - second * s
            x[2 * i + 1] = second * cosine[i] + first * s
        }
    }
}
