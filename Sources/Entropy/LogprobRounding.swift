import Foundation

/// How log-probabilities were rounded before somebody wrote them down, as far as the numbers themselves betray it: to
/// 16 bits, to decimals or to significant digits. What they may have been is then a range of known width.
package struct LogprobRounding: Equatable, Sendable {
    package enum Form: Hashable, Sendable, CustomStringConvertible {
        case float16, bfloat16
        /// Behind the point.
        case decimals(Int)
        /// Significant ones.
        case digits(Int)

        /// Largest error of a logarithm by its size: half a unit in the last place, for half precision also half of the
        /// smallest number.
        func error(_ logprob: Double) -> Double {
            switch self {
            case .float16: abs(logprob) * 0x1p-11 + 0x1p-25
            case .bfloat16: abs(logprob) * 0x1p-8
            case .decimals(let count): 0.5 * pow(10, -Double(count))
            case .digits(let count): 0.5 * pow(10, Self.magnitude(logprob) - Double(count - 1))
            }
        }

        /// Exponent of ten.
        fileprivate static func magnitude(_ logprob: Double) -> Double {
            logprob == 0 ? -.infinity : log10(abs(logprob) * (1 + 1e-6)).rounded(.down)
        }

        /// Whether it can have been rounded in this way: up to what float32 makes of a decimal, and arithmetic in
        /// float32 on the way to it.
        fileprivate func allows(_ logprob: Float) -> Bool {
            switch self {
            case .bfloat16: return logprob.bitPattern & 0xffff == 0
            case .float16: return logprob.bitPattern & 0x1fff == 0
            case .decimals(let count): return Self.isWhole(Double(logprob), in: pow(10, Double(count)))
            case .digits(let count):
                return logprob == 0
                    || Self.isWhole(Double(logprob), in: pow(10, Double(count - 1) - Self.magnitude(Double(logprob))))
            }
        }

        private static func isWhole(_ value: Double, in units: Double) -> Bool {
            let scaled = abs(value) * units
            return abs(scaled - scaled.rounded()) <= scaled * 0x1p-23
        }

        package var description: String {
            switch self {
            case .float16: "float16"
            case .bfloat16: "bfloat16"
            case .decimals(let count): "\(count) decimals"
            case .digits(let count): "\(count) digits"
            }
        }
    }

    /// Several where the numbers don't tell which it was: the largest of their errors counts.
    package let forms: [Form]

    package init(_ forms: [Form]) { self.forms = forms }

    /// float32, whose own rounding is below what intervals are widened by anyway.
    package static let none = LogprobRounding([])

    /// What is looked for, the coarsest of each kind first. Seven decimals are as good as float32.
    package static let candidates: [[Form]] = [
        [.bfloat16, .float16], (2...6).map { .decimals($0) }, (3...6).map { .digits($0) },
    ]

    /// Below it stands what engines fill up with where they know nothing.
    package static let leastLogprob: Float = -9000

    /// Of numbers of one source, a whole rollout's: of each kind the coarsest form that all of them allow. A false
    /// alarm is either unlikely, since a number of float32 is one of d decimals once in 10⁷ / 10ᵈ times, or harmless,
    /// since then d is so large that it widens nothing.
    package init(of logprobs: some Collection<Float>) {
        let known = logprobs.filter { $0 > Self.leastLogprob && $0.isFinite }
        forms = known.isEmpty ? [] : Self.candidates.compactMap { $0.first { form in known.allSatisfy(form.allows) } }
    }

    /// Largest error of a log-probability.
    package func error(_ logprob: Double) -> Double { forms.reduce(0) { max($0, $1.error(logprob)) } }
}
