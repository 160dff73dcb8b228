import Foundation

/// A share of a population, exactly the decimal that was written: 0.7 is seven tenths, and 1 - 0.7 three, which no
/// binary fraction is. From 0 to 1, with 38 decimals at most.
package struct Share: Equatable, Sendable {
    /// The nearest number; beyond 0…1 where the text was, which is no share then.
    package let value: Double
    package let description: String
    private let numerator: UInt128
    private let denominator: UInt128

    /// nil where the text is no decimal number, or has more decimals than fit.
    package init?(_ text: String) {
        guard let value = Double(text), value.isFinite else { return nil }
        guard (0...1).contains(value) else {
            self.init(value: value, description: text, numerator: 0, denominator: 1)
            return
        }
        guard let (numerator, denominator) = Self.fraction(text) else { return nil }
        self.init(value: value, description: text, numerator: numerator, denominator: denominator)
    }

    /// The shortest decimal that reads as this number.
    package init(_ value: Double) {
        self = Share("\(value)") ?? Share(value: value, description: "\(value)", numerator: 0, denominator: 1)
    }

    private init(value: Double, description: String, numerator: UInt128, denominator: UInt128) {
        (self.value, self.description) = (value, description)
        (self.numerator, self.denominator) = (numerator, denominator)
    }

    private static let mostDecimals = 38

    /// Of a number from 0 to 1 such as 0.25, .25 or 2.5e-1.
    private static func fraction(_ text: String) -> (UInt128, UInt128)? {
        let parts = text.lowercased().split(separator: "e", omittingEmptySubsequences: false)
        let halves = parts[0].split(separator: ".", omittingEmptySubsequences: false)
        guard let exponent = parts.count > 1 ? Int(parts[1]) : 0, let whole = halves.first else { return nil }
        let behind = halves.count > 1 ? halves[1] : ""
        var digits = Array((whole.drop { $0 == "+" || $0 == "-" } + behind).drop { $0 == "0" })
        guard !digits.isEmpty else { return (0, 1) }
        var (decimals, isTooLong) = behind.count.subtractingReportingOverflow(exponent)
        while digits.last == "0" { (decimals, _) = (decimals - 1, digits.removeLast()) }
        isTooLong = isTooLong || decimals < 0 || decimals > mostDecimals
        guard !isTooLong, let numerator = UInt128(String(digits)) else { return nil }
        let denominator = (0..<decimals).reduce(UInt128(1)) { power, _ in power * 10 }
        return numerator <= denominator ? (numerator, denominator) : nil
    }

    /// What is left to 1.
    package var complement: Share {
        Share(
            value: 1 - value, description: "1 - \(description)", numerator: denominator - numerator,
            denominator: denominator)
    }

    /// ⌊share · count⌋, and what is left over as a part of 1.
    func part(of count: Int) -> (whole: Int, rest: Double) {
        let product = numerator.multipliedFullWidth(by: UInt128(max(0, count)))
        let (whole, rest) = denominator.dividingFullWidth(product)
        // A rest that is there must not be rounded away.
        return (Int(whole), rest == 0 ? 0 : max(Double.leastNormalMagnitude, Double(rest) / Double(denominator)))
    }

    /// ⌈share · count⌉, at least 1.
    package func exactCount(of count: Int) -> Int {
        let (whole, rest) = part(of: count)
        return min(count, max(1, whole + (rest > 0 ? 1 : 0)))
    }
}

extension Share: ExpressibleByFloatLiteral, ExpressibleByIntegerLiteral, CustomStringConvertible {
    package init(floatLiteral value: Double) { self.init(value) }
    package init(integerLiteral value: Int) { self.init(Double(value)) }
}

extension Share: Codable {
    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let share = Share(text) else {
            throw DecodingError.dataCorrupted(
                .init(
                    codingPath: decoder.codingPath,
                    debugDescription: "expected a number from 0 to 1 with at most \(Self.mostDecimals) decimals"))
        }
        self = share
    }

    /// With all its digits.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        guard let decimal = Decimal(string: description) else { return try container.encode(value) }
        try container.encode(decimal)
    }
}
