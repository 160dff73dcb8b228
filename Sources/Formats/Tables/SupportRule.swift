import Arrow

extension RowRule {
    /// That the tokens which could be drawn are as many lists as there are trainable tokens, each with its token.
    static func support(
        _ row: @escaping @Sendable (Row) -> (SamplingSupport?, tokenIDs: [Int32], mask: [Bool])
    ) -> RowRule {
        RowRule(columns: ["support_token_ids", "support_offsets", "token_ids", "loss_mask"]) {
            let (support, tokens, mask) = row($0)
            guard let support, tokens.count == mask.count else { return nil }
            switch support.placeFault(sampled: zip(tokens, mask).filter(\.1).map(\.0)) {
            case .count(let count):
                return RowFault(
                    "support_offsets", "\(count) lists", "\(mask.count { $0 }), one for each trainable token")
            case .offsets:
                return RowFault("support_offsets", "numbers that fall", "ascending ones up to the ids' count")
            case .tokenID(let id, _): return RowFault("support_token_ids", "\(id)", "ids from 0")
            case .missesToken(let k, _):
                return RowFault("support_token_ids", "a list \(k) without its token", "the sampled token in it")
            case .twice, nil: return nil
            }
        }
    }
}
