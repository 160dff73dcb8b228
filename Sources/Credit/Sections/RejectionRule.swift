import Foundation

/// A criterion that tokens or whole rollouts must meet to be trained on, by how far trainer and sampler are apart:
/// with Δ = log π_trainer - log π_sampler of the sampled tokens.
package struct RejectionRule: Codable, Equatable, Sendable {
    package enum Metric: String, Codable, CaseIterable, Sendable {
        /// exp(Δ), of a rollout exp(mean Δ) or exp(Σ Δ).
        case ratio
        /// -Δ. Its bounds are those of the ratio π_trainer / π_sampler (verl: of its inverse).
        case k1
        /// Δ² / 2
        case k2
        /// exp(Δ) - 1 - Δ
        case k3
        /// π_trainer - π_sampler
        case difference
        /// Δ²: the largest go until the mean of the others is below `high` (M2PO).
        case secondMoment = "second_moment"
    }
    /// What is held against the bounds: each token's number, or their sum, mean or largest over the rollout.
    package enum Level: String, Codable, CaseIterable, Sendable {
        case token
        case sequenceSum = "sequence_sum"
        case sequenceMean = "sequence_mean"
        case sequenceMax = "sequence_max"
    }
    /// The tokens that a second moment is of.
    package enum Scope: String, Codable, CaseIterable, Sendable { case step, plan }

    package var metric: Metric
    package var level = Level.token
    /// Included; null is no bound.
    package var low: Double?
    package var high: Double?
    /// Of a second moment: step where nothing is said.
    package var scope: Scope?

    package init(_ metric: Metric, _ level: Level = .token, low: Double? = nil, high: Double? = nil) {
        (self.metric, self.level, self.low, self.high) = (metric, level, low, high)
        scope = metric == .secondMoment ? .step : nil
    }

    package init(from decoder: any Decoder) throws {
        let keys = try NestedKeys(decoder, known: ["metric", "level", "low", "high", "scope"])
        guard let metric: Metric = try keys.value("metric") else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "expected a metric in it"))
        }
        self.init(metric, try keys.value("level") ?? .token, low: try keys.value("low"), high: try keys.value("high"))
        scope = try keys.value("scope") ?? scope
    }

    /// Whether what it rejects depends on more than one rollout.
    var isOfPopulation: Bool { metric == .secondMoment }

    /// `place`: its key, for messages.
    func problems(_ place: String) -> [String] {
        var found: [String] = []
        if low == nil, high == nil { found.append("\(place) has neither low nor high; expected a bound") }
        if let low, let high, low > high { found.append("\(place).low is \(low); expected at most high, \(high)") }
        if scope != nil, metric != .secondMoment {
            found.append("\(place).scope has no effect: metric is \(metric.rawValue); expected it left out")
        }
        return found + levelProblems(place) + boundProblems(place)
    }

    private func levelProblems(_ place: String) -> [String] {
        switch (metric, level) {
        case (.k2, _), (.k3, _), (_, .token): []
        case (.secondMoment, _):
            ["\(place).level is \(level.rawValue); expected token: a second moment is of the whole \(scope ?? .step)"]
        case (_, .sequenceMax):
            ["\(place).level is sequence_max; expected another with metric \(metric.rawValue), or a veto"]
        default: []
        }
    }

    private func boundProblems(_ place: String) -> [String] {
        switch metric {
        case .ratio, .k1:
            [("low", low), ("high", high)].compactMap { key, bound in
                bound.flatMap { $0 > 0 ? nil : "\(place).\(key) is \($0); expected a ratio above 0" }
            }
        case .k2, .k3, .secondMoment:
            (low == nil
                ? [] : ["\(place).low has no effect: \(metric.rawValue) is never below 0; expected it left out"])
                + (high.map { $0 > 0 } ?? true ? [] : ["\(place).high is \(high ?? 0); expected more than 0"])
        case .difference: []
        }
    }

    // MARK: one row

    /// Marks of a row's tokens in place: those that fail become false. `logRatios`: Δ, with `keeps` those of trainable
    /// tokens.
    func apply(_ row: LogRatios, to keeps: inout [Bool]) {
        guard level == .token else {
            if !holds(aggregate(row)) { for t in keeps.indices { keeps[t] = false } }
            return
        }
        for t in row.mask.indices where row.mask[t] && keeps[t] { keeps[t] = holds(number(row, t)) }
    }

    private func holds(_ value: Double) -> Bool { value >= low ?? -.infinity && value <= high ?? .infinity }

    private func number(_ row: LogRatios, _ t: Int) -> Double {
        let delta = LogRatios.bounded(row.differences[t])
        return switch metric {
        case .ratio, .k1: exp(delta)
        case .k2: delta * delta / 2
        case .k3: expm1(delta) - delta
        case .difference: exp(Double(row.trainer[t])) - exp(Double(row.sampler[t]))
        case .secondMoment: 0
        }
    }

    private func aggregate(_ row: LogRatios) -> Double {
        if metric == .ratio || metric == .k1 {
            return exp(LogRatios.bounded(level == .sequenceSum ? row.sum : row.mean))
        }
        let numbers = row.mask.indices.filter { row.mask[$0] }.map { number(row, $0) }
        switch level {
        case .sequenceMax: return numbers.max() ?? 0
        case .sequenceSum: return numbers.reduce(0, +)
        case .sequenceMean, .token: return numbers.isEmpty ? 0 : numbers.reduce(0, +) / Double(numbers.count)
        }
    }
}

/// Bounds that every token's ratio must lie in, or the whole rollout goes.
package struct RatioVeto: Codable, Equatable, Sendable {
    /// Included; null is no bound.
    package var low: Double?
    package var high: Double?

    package init(low: Double? = nil, high: Double? = nil) { (self.low, self.high) = (low, high) }

    package init(from decoder: any Decoder) throws {
        let keys = try NestedKeys(decoder, known: ["low", "high"])
        self.init(low: try keys.value("low"), high: try keys.value("high"))
    }

    var problems: [String] {
        var found: [String] = []
        if low == nil, high == nil { found.append("correction.veto has neither low nor high; expected a bound") }
        if let low, !(low >= 0 && low <= 1) { found.append("correction.veto.low is \(low); expected 0 to 1") }
        if let high, !(high >= 1) { found.append("correction.veto.high is \(high); expected at least 1") }
        return found
    }

    func holds(_ row: LogRatios) -> Bool {
        row.mask.indices.allSatisfy { t in
            guard row.mask[t] else { return true }
            let ratio = exp(LogRatios.bounded(row.differences[t]))
            return ratio >= low ?? 0 && ratio <= high ?? .infinity
        }
    }
}
