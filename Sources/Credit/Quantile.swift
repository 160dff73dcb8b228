/// The q-quantile by linear interpolation between order statistics (torch's and NumPy's default): float32 in, Double
/// between. Exact for any count; nil for none.
package func quantile(_ values: [Float], _ q: Double) -> Double? {
    guard !values.isEmpty else { return nil }
    var values = values
    let position = q * Double(values.count - 1), lower = Int(position)
    let low = Double(select(&values, lower))
    guard lower + 1 < values.count else { return low }
    // Everything right of `lower` is at least as large: the next order statistic is its minimum.
    let high = Double(values[(lower + 1)...].min() ?? values[lower])
    return low + (high - low) * (position - Double(lower))
}

/// The k-th smallest (from 0); afterwards nothing left of k is larger and nothing right of k smaller. Quickselect with
/// median-of-three pivots and three-way partition, because entropies have many ties.
func select(_ values: inout [Float], _ k: Int) -> Float {
    var low = 0, high = values.count - 1
    while low < high {
        let middle = low + (high - low) / 2
        let pivot = max(min(values[low], values[middle]), min(max(values[low], values[middle]), values[high]))
        let (less, greater) = partition(&values, low, high, pivot)
        if k < less { high = less - 1 } else if k > greater { low = greater + 1 } else { return pivot }
    }
    return values[low]
}

/// Returns the range of elements equal to the pivot after the partition.
private func partition(_ values: inout [Float], _ low: Int, _ high: Int, _ pivot: Float) -> (Int, Int) {
    var less = low, index = low, greater = high
    while index <= greater {
        if values[index] < pivot {
            values.swapAt(index, less)
            less += 1
            index += 1
        } else if values[index] > pivot {
            values.swapAt(index, greater)
            greater -= 1
        } else {
            index += 1
        }
    }
    return (less, greater)
}
