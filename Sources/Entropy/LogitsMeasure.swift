import CKernels

/// What one row of logits z says of softmax(z / temperature), and of the token that was sampled from it; in nats.
package struct LogitsMeasure: Sendable {
    let stats: crux_row_stats

    /// Whether a softmax can be taken of the row; else nothing here says anything.
    package var isValid: Bool { stats.status == CRUX_ROW_OK }
    package var entropy: Double { stats.entropy }
    /// Of the sampled token; -inf where its logit is -inf.
    package var logprob: Double { stats.logprob }
    /// Σ p², where it was asked for.
    package var sumPSquared: Double { stats.sum_p_squared }
}

/// What rounding a row's logits to the type they were stored in is expected to have moved: root mean squares, in nats.
package struct ExpectedStorageError: Sendable {
    package let entropy: Double
    package let logprob: Double
    /// What the row was rounded to, as shards call it: the type it is stored in, or a narrower one.
    package let type: String
    /// Bounds of the type that the row is stored in, times this, are those of the type it was rounded to.
    package let precision: Double
}

/// Takes one row of logits after another.
package struct LogitsMeter: Sendable {
    /// Tokens of the highest log-probability, in falling order; -1 and -inf where fewer than k are possible.
    package typealias TopK = (ids: [Int32], logprobs: [Float])

    private let inverseTemperature: Float
    private let wanted: UInt32

    package init(inverseTemperature: Float, sumPSquared: Bool) {
        self.inverseTemperature = inverseTemperature
        wanted = UInt32(CRUX_NOISE | (sumPSquared ? CRUX_COLLISION : 0))
    }

    package func measure(_ logits: crux_logits, sampled: Int32) -> LogitsMeasure {
        var logits = logits, stats = crux_row_stats()
        crux_logit_row(&logits, inverseTemperature, sampled, wanted, nil, &stats)
        return LogitsMeasure(stats: stats)
    }

    package func measure(_ logits: crux_logits, sampled: Int32, topK k: Int) -> (measure: LogitsMeasure, best: TopK) {
        var logits = logits, stats = crux_row_stats()
        var ids = [Int32](repeating: -1, count: k), logprobs = [Float](repeating: -.infinity, count: k)
        ids.withUnsafeMutableBufferPointer { ids in
            logprobs.withUnsafeMutableBufferPointer { logprobs in
                var top = crux_top_k(k: k, count: 0, ids: ids.baseAddress, logprobs: logprobs.baseAddress)
                crux_logit_row(&logits, inverseTemperature, sampled, wanted, &top, &stats)
            }
        }
        return (LogitsMeasure(stats: stats), (ids, logprobs))
    }

    /// Takes half as long again as the measure, which is that of the same row.
    package func storageError(_ logits: crux_logits, sampled: Int32, _ measure: LogitsMeasure) -> ExpectedStorageError {
        var logits = logits, stats = measure.stats
        let error = crux_logit_row_error(&logits, inverseTemperature, sampled, &stats)
        return ExpectedStorageError(
            entropy: error.entropy, logprob: error.logprob, type: error.dtype.name,
            precision: crux_ulp_share(error.dtype) / crux_ulp_share(logits.dtype))
    }
}

extension crux_dtype {
    /// As shards call it.
    fileprivate var name: String { self == CRUX_BF16 ? "bf16" : self == CRUX_F16 ? "f16" : "f32" }
}
