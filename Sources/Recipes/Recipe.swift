import Credit
import Foundation
import Objectives
import Optimizers

/// The whole configuration of plan and update, resolved: nothing optional is left open. What a person writes is YAML
/// (sparse, commented), what the tool writes is JSON (complete).
package struct Recipe: Sendable {
    package var name = ""
    package var credit = CreditRecipe()
    package var loss = TrainingLoss()
    package var optimizer = AdamW()
    package var trainable: any Trainable = AllParameters()

    package var objective: any Objective { loss.objective }
    package var kl: KLPenalty { loss.kl }

    private static let sections = [
        "name", "reward", "filter", "advantage", "entropy", "objective", "aggregation", "kl", "schedule", "optimizer",
        "expansion", "trainable",
        "preset", "pairs", "correction",
    ]

    /// `overrides`: "section.key=value" each, the value in YAML; they win over the file.
    package static func load(path: String, overrides: [String] = []) throws -> Recipe {
        try Recipe(RecipeDocument(path: path), overrides, file: path)
    }

    package static func load(yaml: String, file: String, overrides: [String] = []) throws -> Recipe {
        try Recipe(RecipeDocument(yaml: yaml, file: file), overrides, file: file)
    }

    /// As `resolvedJSON` writes it: JSON is YAML too.
    package static func load(json: String, file: String) throws -> Recipe { try load(yaml: json, file: file) }

    private init(_ document: RecipeDocument, _ overrides: [String], file: String) throws {
        let written = try overrides.reduce(document.root) { try $0.setting($1) }
        let overridden = Set(overrides.compactMap { $0.split(separator: "=").first.map(String.init) })
        // A key that was overridden stands nowhere in the file.
        let lines = document.lines.filter { line in
            !overridden.contains { line.key == $0 || line.key.hasPrefix($0 + ".") }
        }
        var reader = SectionReader(written)
        let node = Preset.apply(to: written.withoutInfiniteBounds, &reader)
        guard case .map(let sections) = node else {
            throw RecipeError(file: file, problems: ["found \(node.description), expected sections"])
        }
        read(sections, &reader)
        let problems = reader.problems + self.problems + contradictions(reader)
        guard problems.isEmpty else { throw RecipeError(file: file, problems: problems, lines: lines) }
    }

    private mutating func read(_ sections: [String: RecipeNode], _ reader: inout SectionReader) {
        for key in sections.keys.sorted() where !Self.sections.contains(key) {
            reader.report("unknown key \(RecipeNode.cut(key)); known: \(Self.sections.joined(separator: ", "))")
        }
        if let name = sections["name"], name != .null {
            if let text = name.scalar {
                self.name = text
            } else {
                reader.report("name is \(name.description); expected a word")
            }
        }
        readCredit(sections, &reader)
        readLoss(sections, &reader)
        readPairs(sections, &reader)
        optimizer = reader.readTyped(
            sections["optimizer"], [(AdamW.name, AdamW())], default: AdamW.name, at: "optimizer"
        ) { _ in [:] }
        trainable = reader.readTyped(
            sections["trainable"], TrainableRegistry.all.map { ($0.name, $0.init()) }, default: AllParameters.name,
            at: "trainable"
        ) { _ in [:] }
    }

    /// The objective, with the sections that any objective may have, and the terms beside it.
    private mutating func readLoss(_ sections: [String: RecipeNode], _ reader: inout SectionReader) {
        let section = sections["objective"]
        loss.objective = reader.readTyped(
            section, ObjectiveRegistry.all.map { ($0.name, $0.init()) }, default: PPOClip.name, at: "objective",
            ignoring: ["drop_stale", "auxiliary"]
        ) { $0.unread }
        loss.staleRows = reader.readOptional(
            StaleRows.self, StaleRows(), section?["drop_stale"], at: "objective.drop_stale")
        loss.auxiliary = reader.readOptional(
            AuxiliaryLoss.self, AuxiliaryLoss(), section?["auxiliary"], at: "objective.auxiliary"
        ) { $0.unread }
        loss.kl = reader.read(KLPenalty.self, defaults: kl, sections["kl"], at: "kl") { $0.unread }
        let bonus = sections["entropy"]?["bonus"]
        loss.bonus = reader.readOptional(
            EntropyBonus.self, EntropyBonus(), bonus, at: "entropy.bonus", ignoring: ["adaptive"])
        loss.bonus?.adaptive = reader.readOptional(
            AdaptiveEntropy.self, AdaptiveEntropy(), bonus?["adaptive"], at: "entropy.bonus.adaptive")
    }

    private mutating func readCredit(_ sections: [String: RecipeNode], _ reader: inout SectionReader) {
        let reward = sections["reward"], entropy = sections["entropy"]
        credit.reward = reader.read(
            RewardShaping.self, defaults: RewardShaping(), reward, at: "reward", ignoring: ["overlong"])
        credit.reward.overlong = reader.readOptional(
            OverlongPenalty.self, OverlongPenalty(), reward?["overlong"], at: "reward.overlong"
        ) { $0.unread }
        credit.filter = reader.read(GroupFilter.self, defaults: GroupFilter(), sections["filter"], at: "filter")
        readExpansion(sections, &reader)
        credit.advantage = reader.readTyped(
            credit.expansion == nil ? sections["advantage"] : nil, AdvantageRegistry.all.map { ($0.name, $0.init()) },
            default: GRPO.name, at: "advantage", ignoring: ["teacher"]
        ) { $0.unread }
        if credit.expansion == nil {
            credit.teacher = reader.readOptional(
                TeacherTerm.self, TeacherTerm(), sections["advantage"]?["teacher"], at: "advantage.teacher"
            ) { $0.unread }
        }
        credit.excludesEndTokens =
            reader.read(
                EntropySection.self, defaults: EntropySection(), entropy, at: "entropy",
                ignoring: ["shaping", "mask", "bonus"]
            ).excludeEos
        credit.shaping = reader.readOptional(
            EntropyShaping.self, EntropyShaping(), entropy?["shaping"], at: "entropy.shaping")
        credit.mask =
            reader.readOptional(EntropyMask.self, EntropyMask(), entropy?["mask"], at: "entropy.mask") { $0.unread }?
            .spelledOut
        credit.correction =
            reader.read(
                ImportanceCorrection.self, defaults: credit.correction, sections["correction"], at: "correction"
            ) { $0.unread }.spelledOut
        credit.schedule = reader.read(Schedule.self, defaults: Schedule(), sections["schedule"], at: "schedule") {
            $0.unread
        }
    }

    /// What follows from the objective: pairs, and which aggregation is the natural one.
    private mutating func readPairs(_ sections: [String: RecipeNode], _ reader: inout SectionReader) {
        credit.aggregation = reader.readTyped(
            sections["aggregation"], AggregationRegistry.all.map { ($0.name, $0.init()) },
            default: naturalAggregation, at: "aggregation"
        ) { _ in [:] }
        let pairs = reader.read(PreferencePairs.self, defaults: PreferencePairs(), sections["pairs"], at: "pairs")
        if objective.readsPairs {
            credit.pairs = pairs
        } else if let node = sections["pairs"], node != .null {
            reader.report(
                "pairs are given, but objective \(type(of: objective).name) reads none; expected h_dpo, or no pairs")
        }
    }

    /// The name of the aggregation that goes with the objective.
    var naturalAggregation: String {
        switch objective.aggregation {
        case .tokenMean: TokenMean.name
        case .sequenceMeans: SequenceMeanTokenMean.name
        case .sequenceSums: SequenceMeanTokenSum.name
        }
    }

    /// An expansion brings its own advantages, so `advantage` can only say the same name.
    private mutating func readExpansion(_ sections: [String: RecipeNode], _ reader: inout SectionReader) {
        let names = ExpansionRegistry.all.map { $0.name }
        let (advantage, _) = reader.typeName(sections["advantage"], default: GRPO.name, at: "advantage")
        guard let node = sections["expansion"], node != .null else {
            if names.contains(advantage) {
                reader.report("advantage \(advantage) needs expansion: {type: \(advantage), …}")
            }
            return
        }
        credit.expansion = reader.readTyped(
            node, ExpansionRegistry.all.map { ($0.name, $0.init()) }, default: FR3E.name, at: "expansion"
        ) { $0.unread }
        let own = credit.expansion.map { type(of: $0).name } ?? ""
        guard let section = sections["advantage"], section != .null else { return }
        if advantage != own {
            reader.report("advantage is '\(advantage)'; expected '\(own)', or nothing, with expansion \(own)")
        }
        guard case .map(let map) = section else { return }
        for key in map.keys.sorted() where key != "type" {
            reader.report("unknown key advantage.\(RecipeNode.cut(key)); known with expansion \(own): type")
        }
    }

    private var problems: [String] {
        let credited = credit.reward.problems + (credit.reward.overlong?.problems ?? []) + credit.filter.problems
        let method = credit.expansion?.problems ?? (credit.advantage.problems + (credit.teacher?.problems ?? []))
        let entropies = (credit.shaping?.problems ?? []) + (credit.mask?.problems ?? [])
        let steps = credit.aggregation.problems + credit.schedule.problems + credit.correction.problems
        let losses =
            (credit.pairs?.problems ?? []) + objective.problems.map { "objective: " + $0 } + kl.problems
            + (loss.staleRows?.problems ?? []) + (loss.auxiliary?.problems ?? []) + (loss.bonus?.problems ?? [])
        return credited + method + entropies + steps + losses + optimizer.problems + trainable.problems
    }

    /// Every section with every default, keys sorted: what will run. Keys that have no effect beside the others are
    /// left out.
    package func resolvedJSON() throws -> String {
        var reward = SectionReader.resolved(credit.reward)
        reward["overlong"] = credit.reward.overlong.map { Self.section($0, unread: $0.unread) } ?? .null
        let entropy: [String: RecipeNode] = [
            "exclude_eos": .plain(credit.excludesEndTokens ? "true" : "false"),
            "shaping": credit.shaping.map { .map(SectionReader.resolved($0)) } ?? .null,
            "mask": credit.mask.map { Self.section($0, unread: $0.unread.merging(unreadOfMask) { own, _ in own }) }
                ?? .null,
            "bonus": bonusNode,
        ]
        let sections: [String: RecipeNode] = [
            "name": .text(name), "reward": .map(reward), "filter": .map(SectionReader.resolved(credit.filter)),
            "advantage": advantageNode, "entropy": .map(entropy),
            "objective": objectiveNode,
            "aggregation": Self.typed(credit.aggregation, type(of: credit.aggregation).name),
            "kl": Self.section(kl, unread: kl.unread),
            "schedule": Self.section(credit.schedule, unread: credit.schedule.unread),
            "optimizer": Self.typed(optimizer, AdamW.name),
            "expansion": credit.expansion.map { Self.typed($0, type(of: $0).name, unread: $0.unread) } ?? .null,
            "trainable": Self.typed(trainable, type(of: trainable).name),
            "correction": Self.section(credit.correction, unread: credit.correction.unread),
            "pairs": credit.pairs.map { .map(SectionReader.resolved($0)) } ?? .null,
        ]
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        return String(decoding: try encoder.encode(RecipeNode.map(sections)), as: UTF8.self) + "\n"
    }

    /// A section's keys with their defaults, as a recipe would write them on one line.
    package static func defaults(_ settings: any Encodable) -> String {
        SectionReader.resolved(settings).sorted { $0.key < $1.key }.map { "\($0.key): \($0.value.written)" }.joined(
            separator: ", ")
    }

    private var objectiveNode: RecipeNode {
        Self.typed(objective, type(of: objective).name, unread: objective.unread)
            .adding("drop_stale", loss.staleRows)
            .adding("auxiliary", loss.auxiliary, unread: loss.auxiliary?.unread ?? [:])
    }

    private var bonusNode: RecipeNode {
        guard let bonus = loss.bonus else { return .null }
        return Self.section(bonus, unread: [:]).adding("adaptive", bonus.adaptive)
    }

    private var advantageNode: RecipeNode {
        if let expansion = credit.expansion { return .map(["type": .plain(type(of: expansion).name)]) }
        if credit.pairs != nil { return .null }
        let unread = credit.advantage.unread.merging(unreadOfAdvantage) { own, _ in own }
        let section = Self.typed(credit.advantage, type(of: credit.advantage).name, unread: unread)
        guard let teacher = credit.teacher else { return section }
        return section.replacing(["teacher"][...], with: Self.section(teacher, unread: teacher.unread))
    }

    private static func typed(_ value: any Encodable, _ name: String, unread: [String: String] = [:]) -> RecipeNode {
        .map(SectionReader.resolved(value).filter { unread[$0.key] == nil }.merging(["type": .plain(name)]) { $1 })
    }

    private static func section(_ value: some Encodable, unread: [String: String]) -> RecipeNode {
        .map(SectionReader.resolved(value).filter { unread[$0.key] == nil })
    }
}

extension RecipeNode {
    /// With one more section; null where it is off.
    fileprivate func adding(
        _ key: String, _ section: (some Encodable)?, unread: [String: String] = [:]
    ) -> RecipeNode {
        replacing(
            [key], with: section.map { .map(SectionReader.resolved($0).filter { unread[$0.key] == nil }) } ?? .null)
    }
}

/// The keys of `entropy` that are no sections.
private struct EntropySection: Codable {
    /// Leaves tokens that end a sequence out of statistics, thresholds and the update.
    var excludeEos = false
}
