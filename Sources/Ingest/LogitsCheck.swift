import Formats

/// Looks at every logits row as it streams by and remembers the first that no softmax can be taken of.
struct LogitsCheck {
    private var firstBad: (row: Int, fault: LogitsFault)?

    mutating func see(_ row: LogitsRow) {
        guard firstBad == nil, let fault = row.fault else { return }
        firstBad = (row.index, fault)
    }

    func requireFinite(rolloutID: String) throws {
        guard let (row, fault) = firstBad else { return }
        let (reason, found): (RejectReason, String) =
            switch fault {
            case .notANumber: (.nanLogits, "NaN")
            case .positiveInfinity: (.infiniteLogits, "+inf")
            case .empty: (.emptyLogits, "nothing but -inf")
            }
        throw Rejection(
            rolloutID, reason, found: "\(found) in logits row \(row)",
            expected: "finite logits, or -inf for impossible tokens")
    }
}
