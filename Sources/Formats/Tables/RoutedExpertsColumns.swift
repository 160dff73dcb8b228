import Arrow

// Routed experts as columns: their numbers, and rows, layers, experts of a token and the first token beside them.

extension RoutedExperts {
    /// nil where a column has no value, or the shape isn't that of the numbers.
    init?(_ values: [UInt16]?, shape: [Int32]?) {
        guard let values, let shape, shape.count == 4 else { return nil }
        self.init(
            values: values, start: Int(shape[3]), rows: Int(shape[0]), layers: Int(shape[1]), perToken: Int(shape[2]))
    }

    /// Of a row of a table, as tokens: some hundred numbers stand beside each of them.
    static func weight(_ experts: [UInt16]?, beside tokens: Int) -> Int { tokens + (experts?.count ?? 0) / 16 }
}

extension RowRule {
    /// That routed experts are of their shape, end with the tokens that were an input, and are no expert twice.
    static func routes(_ row: @escaping @Sendable (Row) -> ([UInt16]?, shape: [Int32]?, tokens: Int)) -> RowRule {
        RowRule(columns: [RoutedExperts.key, "routed_experts_shape", "token_ids"]) {
            let (experts, shape, tokens) = row($0)
            guard experts != nil || shape != nil else { return nil }
            guard let routes = RoutedExperts(experts, shape: shape) else {
                return RowFault(
                    "routed_experts_shape", "\(shape ?? []) beside \(experts?.count ?? 0) numbers",
                    "rows, layers, experts of a token and the first token of as many numbers")
            }
            return routes.fault(tokens: tokens).map { RowFault(RoutedExperts.key, $0.found, $0.expected) }
        }
    }
}
