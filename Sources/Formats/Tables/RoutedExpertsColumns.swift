import Arrow

// Routed experts as columns: their numbers, and layers and experts of a token beside them.

extension RoutedExperts {
    /// nil where a column has no value, or the shape isn't one.
    init?(_ experts: [UInt16]?, shape: [Int32]?) {
        guard let experts, let shape, shape.count == 2, shape.allSatisfy({ $0 > 0 }) else { return nil }
        self.init(layers: Int(shape[0]), chosen: Int(shape[1]), experts: experts)
    }

    var shape: [Int32] { [Int32(clamping: layers), Int32(clamping: chosen)] }

    /// Of a row of a table, as tokens: some hundred numbers stand beside each of them.
    static func weight(_ experts: [UInt16]?, beside tokens: Int) -> Int { tokens + (experts?.count ?? 0) / 16 }
}

extension RowRule {
    /// That routed experts are whole rows of their shape, no more than there are tokens, none twice for a token.
    static func routes(
        _ row: @escaping @Sendable (Row) -> ([UInt16]?, shape: [Int32]?, tokens: Int)
    ) -> RowRule {
        let columns = ["routed_experts", "routed_experts_shape"]
        return RowRule(columns: Set(columns + ["token_ids"])) {
            let (experts, shape, tokens) = row($0)
            guard experts != nil || shape != nil else { return nil }
            guard let routes = RoutedExperts(experts, shape: shape) else {
                return RowFault(
                    columns[1], shape.map { "\($0)" } ?? "null", "layers and experts of a token, beside routed_experts")
            }
            switch routes.fault(tokens: tokens) {
            case .shape:
                return RowFault(
                    columns[0], "\(routes.experts.count) numbers", "\(routes.layers) x \(routes.chosen) a token")
            case .rows(let rows): return RowFault(columns[0], "\(rows) tokens", "at most \(tokens), as in token_ids")
            case .twice(let token, let layer):
                return RowFault(columns[0], "an expert twice at token \(token), layer \(layer)", "each once")
            case nil: return nil
            }
        }
    }
}
