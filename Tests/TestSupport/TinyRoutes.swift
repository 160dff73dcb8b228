import Formats

extension RoutedExperts {
    /// As many rows as the numbers are.
    package init(layers: Int, chosen: Int, start: Int = 0, experts: [UInt16]) {
        let made = RoutedExperts(
            values: experts, start: start, rows: experts.count / (layers * chosen), layers: layers, perToken: chosen)
        guard let made else { preconditionFailure("\(experts.count) experts in rows of \(layers) x \(chosen)") }
        self = made
    }
}
