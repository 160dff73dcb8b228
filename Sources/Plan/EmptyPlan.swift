import StageSupport

/// A plan that keeps no rollout is finished, but no success: whoever runs it in a script must not train on nothing.
enum EmptyPlan {
    /// The summary of a plan with these counts.
    static func summary(_ counts: [String: Int], _ context: StageContext, _ fields: [String: any Sendable])
        -> StageSummary
    {
        guard let reason = reason(counts) else { return StageSummary(fields) }
        context.report(error: "nothing to learn from: " + reason, .nothingToLearn)
        return StageSummary(status: .nothingToLearn, fields)
    }

    /// nil where there is something to learn from: a first plan of an expansion has jobs instead of rows.
    private static func reason(_ counts: [String: Int]) -> String? {
        if counts["jobs"] != nil, counts["results"] == nil {
            return counts["jobs"] == 0
                ? "no rollout is one to go back into, so there are no jobs" + dropped(counts) : nil
        }
        guard counts["kept"] == 0 else { return nil }
        let hint =
            (counts["dropped_no_verdict"] ?? 0) > 0
            ? ". Pairs are made of right and wrong answers, and rewards without a verdict say neither" : ""
        return "the plan keeps none of its rollouts" + dropped(counts) + hint
    }

    private static func dropped(_ counts: [String: Int]) -> String {
        let reasons = counts.filter { $0.key.hasPrefix("dropped_") && $0.value > 0 }.sorted { $0.key < $1.key }
        return reasons.isEmpty
            ? "" : " (\(reasons.map { "\($0.value) \($0.key.dropFirst(8))" }.joined(separator: ", ")))"
    }
}
