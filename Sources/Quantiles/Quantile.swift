/// The q-quantile by linear interpolation between order statistics (torch's and NumPy's default): float32 in, Double
/// between. Exact for any count; nil for none.
package func quantile(_ values: [Float], _ q: Share) -> Double? {
    guard !values.isEmpty else { return nil }
    let place = QuantilePlace(q, of: values.count)
    return place.value(orderStatistics(values, ranks: place.ranks))
}

/// The same of the decimal that a number is written as.
package func quantile(_ values: [Float], _ q: Double) -> Double? { quantile(values, Share(q)) }
