/// An exact fraction of 128-bit integers. Operations that would overflow give nil: an answer is then undecided, never
/// wrongly judged.
struct Rational: Equatable, Sendable {
    let numerator: Int128
    let denominator: Int128

    init?(_ numerator: Int128, over denominator: Int128 = 1) {
        guard denominator != 0, numerator != .min, denominator != .min else { return nil }
        let divisor = Self.greatestCommonDivisor(numerator.magnitude, denominator.magnitude)
        let sign: Int128 = denominator < 0 ? -1 : 1
        self.numerator = sign * numerator / Int128(divisor)
        self.denominator = sign * denominator / Int128(divisor)
    }

    private static func greatestCommonDivisor(_ a: UInt128, _ b: UInt128) -> UInt128 {
        var (a, b) = (a, b)
        while b != 0 { (a, b) = (b, a % b) }
        return max(1, a)
    }

    static func multiply(_ a: Rational, _ b: Rational) -> Rational? {
        let (top, over) = a.numerator.multipliedReportingOverflow(by: b.numerator)
        let (bottom, under) = a.denominator.multipliedReportingOverflow(by: b.denominator)
        return over || under ? nil : Rational(top, over: bottom)
    }

    static func divide(_ a: Rational, _ b: Rational) -> Rational? {
        Rational(b.denominator, over: b.numerator).flatMap { multiply(a, $0) }
    }

    static func add(_ a: Rational, _ b: Rational) -> Rational? {
        let (left, o1) = a.numerator.multipliedReportingOverflow(by: b.denominator)
        let (right, o2) = b.numerator.multipliedReportingOverflow(by: a.denominator)
        let (top, o3) = left.addingReportingOverflow(right)
        let (bottom, o4) = a.denominator.multipliedReportingOverflow(by: b.denominator)
        return o1 || o2 || o3 || o4 ? nil : Rational(top, over: bottom)
    }

    /// A decimal from its digits before and behind the point. Zeros that say nothing don't count against what 128 bits
    /// hold.
    init?(whole: [Unicode.Scalar], behindPoint: [Unicode.Scalar]) {
        var behind = behindPoint[...]
        while behind.last == "0" { behind.removeLast() }
        let digits = (whole + behind).drop { $0 == "0" }
        guard let top = Int128(digits.isEmpty ? "0" : String(String.UnicodeScalarView(digits))) else { return nil }
        guard let bottom = Self.powerOfTen(behind.count) else { return nil }
        self.init(top, over: bottom.numerator)
    }

    var negated: Rational? { Rational(-numerator, over: denominator) }

    /// nil above what 128 bits hold.
    static func powerOfTen(_ exponent: Int) -> Rational? {
        guard (0...37).contains(exponent) else { return nil }
        return Rational((0..<exponent).reduce(1) { power, _ in power * 10 })
    }
}
