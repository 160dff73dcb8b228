/// Whether `actual` lies within `absolute` plus `relative` times the size of `expected`. Equal infinities are close,
/// NaN is close to nothing. A relative tolerance of 1 or more would accept anything and is refused.
package func isClose(_ actual: Double, _ expected: Double, absolute: Double = 0, relative: Double = 0) -> Bool {
    precondition((0..<1).contains(relative) && absolute >= 0, "a tolerance that accepts anything tests nothing")
    return actual == expected || abs(actual - expected) <= absolute + relative * abs(expected)
}

package func isClose(_ actual: Float, _ expected: Float, absolute: Double = 0, relative: Double = 0) -> Bool {
    isClose(Double(actual), Double(expected), absolute: absolute, relative: relative)
}

/// The first place where two arrays differ by more than the tolerance, as a sentence; nil when they are close
/// throughout. Use as `#expect(firstDifference(a, b, absolute: 1e-6) == nil)`: the sentence then shows in the failure.
package func firstDifference<Value: BinaryFloatingPoint>(
    _ actual: [Value], _ expected: [Value], absolute: Double = 0, relative: Double = 0
) -> String? {
    guard actual.count == expected.count else { return "\(actual.count) values, expected \(expected.count)" }
    for (index, (one, other)) in zip(actual, expected).enumerated()
    where !isClose(Double(one), Double(other), absolute: absolute, relative: relative) {
        return "at \(index): \(one), expected \(other)"
    }
    return nil
}

/// ||actual - expected|| / ||expected||, in the Euclidean norm; infinite where the counts differ.
package func relativeDistance(_ actual: [Float], _ expected: [Float]) -> Double {
    guard actual.count == expected.count else { return .infinity }
    let distance = zip(actual, expected).reduce(0.0) {
        $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1))
    }
    return (distance / expected.reduce(1e-300) { $0 + Double($1) * Double($1) }).squareRoot()
}
