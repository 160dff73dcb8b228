import Credit
import Foundation
import Objectives
import Optimizers

/// The whole configuration of plan and update, resolved: nothing optional is left open. What a person writes is YAML
/// (sparse, commented), what the tool writes is JSON (complete).
package struct Recipe: Sendable {
    package var name = ""
    package var credit = CreditPolicy()
    package var objective: any Objective = PPOClip()
    package var kl = KLPenalty()
    package var optimizer = AdamW()
    package var trainable: any Trainable = AllParameters()

    private static let sections = [
        "name", "reward", "filter", "advantage", "entropy", "objective", "aggregation", "kl", "schedule", "optimizer", "expansion", "trainable",
        "preset", "pairs", "correction",
    ]

    /// `overrides`: "section.key=value" each, the value in YAML, laid over the file.
    package static func load(path: String, overrides: [String] = []) throws -> Recipe {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw RecipeError(file: path, problems: ["no such recipe, or not readable"])
        }
        let text = String(decoding: data, as: UTF8.self)
        return try path.hasSuffix(".json") ? load(json: text, file: path) : load(yaml: text, file: path, overrides: overrides)
    }

    package static func load(yaml: String, file: String, overrides: [String] = []) throws -> Recipe {
        var node = try RecipeNode(yaml: yaml, file: file)
        for text in overrides { node = try node.setting(text, file: file) }
        return try Recipe(node, file: file)
    }

    package static func load(json: String, file: String) throws -> Recipe {
        guard let node = try? JSONDecoder().decode(RecipeNode.self, from: Data(json.utf8)) else {
            throw RecipeError(file: file, problems: ["not valid JSON"])
        }
        return try Recipe(node, file: file)
    }

    private init(_ written: RecipeNode, file: String) throws {
        var reader = SectionReader()
        let node = Preset.apply(to: written, &reader)
        guard case .map(let sections) = node else { throw RecipeError(file: file, problems: ["found \(node.description), expected sections"]) }
        for key in sections.keys.sorted() where !Self.sections.contains(key) {
            reader.report("unknown key \(key); known: \(Self.sections.joined(separator: ", "))")
        }
        if case .string(let name)? = sections["name"] { self.name = name }
        readCredit(sections, &reader)
        objective = reader.readTyped(sections["objective"], ObjectiveRegistry.all.map { ($0.name, $0.init()) }, default: PPOClip.name, at: "objective")
        kl = reader.read(KLPenalty.self, defaults: kl, sections["kl"], at: "kl")
        readPairs(sections, &reader)
        optimizer = reader.readTyped(sections["optimizer"], [(AdamW.name, AdamW())], default: AdamW.name, at: "optimizer")
        trainable = reader.readTyped(sections["trainable"], TrainableRegistry.all.map { ($0.name, $0.init()) }, default: AllParameters.name, at: "trainable")
        let problems = reader.problems + self.problems
        guard problems.isEmpty else { throw RecipeError(file: file, problems: problems) }
    }

    private mutating func readCredit(_ sections: [String: RecipeNode], _ reader: inout SectionReader) {
        let reward = sections["reward"], entropy = sections["entropy"]
        credit.reward = reader.read(RewardShaping.self, defaults: RewardShaping(), reward, at: "reward", ignoring: ["overlong"])
        credit.reward.overlong = reader.readOptional(OverlongPenalty.self, OverlongPenalty(), reward?["overlong"], at: "reward.overlong")
        credit.filter = reader.read(GroupFilter.self, defaults: GroupFilter(), sections["filter"], at: "filter")
        readExpansion(sections, &reader)
        credit.advantage = reader.readTyped(
            credit.expansion == nil ? sections["advantage"] : nil, AdvantageRegistry.all.map { ($0.name, $0.init()) }, default: GroupNormalized.name, at: "advantage")
        _ = reader.read(EntropySection.self, defaults: EntropySection(), entropy, at: "entropy", ignoring: ["shaping", "mask"])
        credit.shaping = reader.readOptional(EntropyShaping.self, EntropyShaping(), entropy?["shaping"], at: "entropy.shaping")
        credit.mask = reader.readOptional(EntropyMask.self, EntropyMask(), entropy?["mask"], at: "entropy.mask")?.spelledOut
        credit.correction = reader.read(ImportanceCorrection.self, defaults: credit.correction, sections["correction"], at: "correction")
        credit.schedule = reader.read(Schedule.self, defaults: Schedule(), sections["schedule"], at: "schedule")
    }

    /// What follows from the objective: pairs, and which aggregation is the natural one.
    private mutating func readPairs(_ sections: [String: RecipeNode], _ reader: inout SectionReader) {
        credit.aggregation = reader.readTyped(
            sections["aggregation"], AggregationRegistry.all.map { ($0.name, $0.init()) },
            default: objective.isPerSequence ? SequenceMeanTokenSum.name : TokenMean.name, at: "aggregation")
        let pairs = reader.read(PreferencePairs.self, defaults: PreferencePairs(), sections["pairs"], at: "pairs")
        if objective.readsPairs {
            credit.pairs = pairs
        } else if let node = sections["pairs"], node != .null {
            reader.report("pairs are given, but objective \(type(of: objective).name) reads none; expected h_dpo, or no pairs")
        }
    }

    /// An expansion brings its own advantages, so `advantage` can only say the same name.
    private mutating func readExpansion(_ sections: [String: RecipeNode], _ reader: inout SectionReader) {
        let names = ExpansionRegistry.all.map { $0.name }
        let (advantage, _) = reader.typeName(sections["advantage"], default: GroupNormalized.name, at: "advantage")
        guard let node = sections["expansion"], node != .null else {
            if names.contains(advantage) { reader.report("advantage \(advantage) needs expansion: {type: \(advantage), …}") }
            return
        }
        credit.expansion = reader.readTyped(node, ExpansionRegistry.all.map { ($0.name, $0.init()) }, default: FR3E.name, at: "expansion")
        let own = credit.expansion.map { type(of: $0).name } ?? ""
        if sections["advantage"] != nil, advantage != own { reader.report("advantage is '\(advantage)'; expected '\(own)', or nothing, with expansion \(own)") }
    }

    private var problems: [String] {
        (credit.expansion?.problems ?? []) + (credit.reward.overlong?.problems ?? []) + credit.advantage.problems + (credit.shaping?.problems ?? [])
            + (credit.mask?.problems ?? [])
            + credit.aggregation.problems + credit.schedule.problems + objective.problems.map { "objective: " + $0 } + kl.problems + optimizer.problems
            + trainable.problems + credit.filter.problems + credit.correction.problems + (credit.pairs?.problems ?? []) + contradictions
    }

    /// Sections that are well by themselves but not together.
    private var contradictions: [String] {
        let name = type(of: objective).name, advantage = type(of: credit.advantage).name
        var found: [String] = []
        if objective.readsReturns, credit.expansion != nil || !credit.advantage.givesReturns {
            found.append("objective \(name) learns towards returns, which advantage '\(advantage)' does not give; expected gae or etpo_q")
        }
        if objective.isPerSequence, !(credit.aggregation is SequenceMeanTokenSum) {
            found.append("objective \(name) is a loss of whole sequences; expected aggregation sequence_mean_token_sum")
        }
        if objective.isPerSequence, credit.mask != nil { found.append("objective \(name) is a loss of whole sequences; expected no entropy.mask") }
        if kl.isInLoss, objective.output != .logprob { found.append("kl in the loss needs log-probabilities, which objective \(name) does not ask for; expected coef 0") }
        if kl.isInReward, credit.expansion != nil { found.append("kl.placement is reward with an expansion; expected loss") }
        if trainable.adapters != nil, objective.output == .value || objective.targetDecay != nil {
            found.append("objective \(name) trains a head or a target network of its own; expected trainable full")
        }
        if objective.readsPairs, credit.expansion != nil { found.append("objective \(name) reads pairs; expected no expansion") }
        return found
    }

    /// Every section with every default, keys sorted: what will run.
    package func resolvedJSON() throws -> String {
        var reward = SectionReader.resolved(credit.reward)
        reward["overlong"] = credit.reward.overlong.map { .map(SectionReader.resolved($0)) } ?? .null
        let entropy: [String: RecipeNode] = [
            "shaping": credit.shaping.map { .map(SectionReader.resolved($0)) } ?? .null,
            "mask": credit.mask.map { .map(SectionReader.resolved($0)) } ?? .null,
        ]
        let sections: [String: RecipeNode] = [
            "name": .string(name), "reward": .map(reward), "filter": .map(SectionReader.resolved(credit.filter)),
            "advantage": advantageNode, "entropy": .map(entropy),
            "objective": Self.typed(objective, type(of: objective).name),
            "aggregation": Self.typed(credit.aggregation, type(of: credit.aggregation).name), "kl": .map(SectionReader.resolved(kl)),
            "schedule": .map(SectionReader.resolved(credit.schedule)), "optimizer": Self.typed(optimizer, AdamW.name),
            "expansion": credit.expansion.map { Self.typed($0, type(of: $0).name) } ?? .null,
            "trainable": Self.typed(trainable, type(of: trainable).name),
            "correction": .map(SectionReader.resolved(credit.correction)),
            "pairs": credit.pairs.map { .map(SectionReader.resolved($0)) } ?? .null,
        ]
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        return String(decoding: try encoder.encode(RecipeNode.map(sections)), as: UTF8.self) + "\n"
    }

    /// A section's keys with their defaults, as a recipe would write them on one line.
    package static func defaults(_ settings: any Encodable) -> String {
        SectionReader.resolved(settings).sorted { $0.key < $1.key }.map { "\($0.key): \($0.value.written)" }.joined(separator: ", ")
    }

    private var advantageNode: RecipeNode {
        if let expansion = credit.expansion { return .map(["type": .string(type(of: expansion).name)]) }
        return Self.typed(credit.advantage, type(of: credit.advantage).name)
    }

    private static func typed(_ value: any Encodable, _ name: String) -> RecipeNode {
        .map(SectionReader.resolved(value).merging(["type": .string(name)]) { $1 })
    }
}

/// `entropy` has no keys of its own, only sections.
private struct EntropySection: Codable {}

extension RecipeNode {
    /// An entry of a map; nil elsewhere.
    subscript(key: String) -> RecipeNode? {
        if case .map(let map) = self { map[key] } else { nil }
    }
}

extension SectionReader {
    /// A section that is off where it is absent or null.
    mutating func readOptional<T: Codable>(_ type: T.Type, _ defaults: T, _ node: RecipeNode?, at path: String) -> T? {
        node == nil || node == .null ? nil : read(type, defaults: defaults, node, at: path)
    }

    /// A section whose `type` names a member of a registry; a bare word is its type.
    mutating func readTyped<P>(_ node: RecipeNode?, _ known: [(name: String, defaults: P)], default fallback: String, at path: String) -> P {
        let (name, section) = typeName(node, default: fallback, at: path)
        guard let entry = known.first(where: { $0.name == name }) else {
            report("unknown \(path) type '\(name)'; known: \(known.map(\.name).sorted().joined(separator: ", "))")
            return known.first { $0.name == fallback }!.defaults
        }
        guard let defaults = entry.defaults as? any Codable else { return entry.defaults }
        return readAny(defaults, section, at: path) as? P ?? entry.defaults
    }

    private mutating func readAny<T: Codable>(_ defaults: T, _ node: RecipeNode?, at path: String) -> any Codable {
        read(T.self, defaults: defaults, node, at: path, ignoring: ["type"])
    }

    mutating func typeName(_ node: RecipeNode?, default fallback: String, at path: String) -> (String, RecipeNode?) {
        switch node {
        case .string(let name): return (name, nil)
        case .map(let map):
            if case .string(let name)? = map["type"] { return (name, node) }
            if let type = map["type"] { report("\(path).type is \(type.description); expected a word") }
            return (fallback, node)
        default: return (fallback, node)
        }
    }
}
