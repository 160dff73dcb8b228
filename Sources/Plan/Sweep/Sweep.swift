import StageSupport

/// Many plans of one dump, told side by side; none of them is written.
struct Sweep {
    let rollouts: ScoredRollouts
    let keys: [SweptKey]
    let settings: [SweepSetting]
    let context: StageContext

    static let suffixes = [".md", ".csv", ".svg"]

    /// - Parameter output: What the names of the files begin with; nil: the report alone.
    func run(output: String?) throws -> StageSummary {
        context.say(
            "\(settings.count) settings over one dump, which they read together; each holds in memory what one plan holds"
        )
        let joined = JoinedPasses(plans: settings.count, threads: context.threads)
        let table = SweepTable(keys, try plans(joined))
        table.lines.forEach(context.say)
        warnings(table).forEach(context.warn)
        if let output { try ReportFile.write(files(table, output), context.options) }
        return StageSummary(["output": output ?? "", "settings": table.summary, "passes": joined.count])
    }

    private func plans(_ joined: JoinedPasses) throws -> [SweptPlan] {
        let results = try allAtOnce(settings.count) { number -> Result<SweptPlan, any Error> in
            let result = Result { try SweptPlan(settings[number], rollouts, joined.passes(of: number), context) }
            joined.finish(number, hasFailed: (try? result.get()) == nil)
            return result
        }
        // What made the others stop comes first, not that they were stopped.
        for result in results { do { _ = try result.get() } catch is JoinedPasses.Stopped {} }
        return try results.map { try $0.get() }
    }

    /// Each once, with the settings that give cause.
    private func warnings(_ table: SweepTable) -> [String] {
        var found: [(text: String, settings: [String])] = []
        for plan in table.plans {
            let refusal = plan.refusal.map { "the plan would be refused: " + $0 }
            for text in plan.warnings + [refusal].compactMap({ $0 }) {
                if let known = found.firstIndex(where: { $0.text == text }) {
                    found[known].settings.append(table.name(plan))
                } else {
                    found.append((text, [table.name(plan)]))
                }
            }
        }
        return found.map {
            ($0.settings.count == table.plans.count ? "" : $0.settings.joined(separator: ", ") + ": ") + $0.text
        }
    }

    private func files(_ table: SweepTable, _ output: String) -> [ReportFile] {
        let title = settings[0].recipe.name + ": " + keys.map(\.key).joined(separator: ", ")
        return zip(Self.suffixes, [table.markdown, table.csv, table.svg(title: title)]).map {
            ReportFile(path: output + $0, text: $1)
        }
    }
}
