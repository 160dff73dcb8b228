import Formats

/// What two sequences must agree in to share a prefix, as numbers: tokens, and where experts are replayed those that
/// the sampler chose for each. The same numbers mean the same within one list of queries.
package struct PrefixKeys {
    /// Of each query, as long as its context.
    package let keys: [[Int32]]

    private struct Step: Hashable {
        let token: Int32
        let experts: ArraySlice<UInt16>?
    }

    package init(_ queries: [SequenceQuery]) {
        guard queries.contains(where: { $0.routes != nil }) else {
            keys = queries.map(\.context)
            return
        }
        var known: [Step: Int32] = [:]
        keys = queries.map { query in
            query.context.enumerated().map { position, token in
                let step = Step(token: token, experts: query.routes?.row(of: position))
                if let key = known[step] { return key }
                let key = Int32(known.count)
                known[step] = key
                return key
            }
        }
    }
}
