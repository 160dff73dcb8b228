/// The q-quantile by linear interpolation between order statistics (torch's and NumPy's default): float32 in, Double
/// between. Exact for any count; nil for none.
package func quantile(_ values: [Float], _ q: Double) -> Double? {
    guard !values.isEmpty else { return nil }
    let place = QuantilePlace(q, of: values.count)
    return place.value(orderStatistics(values, ranks: place.ranks))
}
