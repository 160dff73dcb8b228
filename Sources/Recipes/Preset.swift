/// Conventions of another codebase, merged under what a recipe says itself: they only change defaults, so that a key that
/// is written down always wins.
package enum Preset {
    /// One default: in a section, where its type is this one (nil: whatever it is), only if the section is there at all
    /// (`ifPresent`).
    struct Convention {
        let section: [String]
        let type: String?
        let key: String
        let value: RecipeNode
        var ifPresent = false
    }

    package static let sources = [
        "verl": "verl core_algos, ppo_trainer.yaml",
        "trl": "TRL GRPOTrainer, RLOOTrainer",
    ]

    static let conventions: [String: [Convention]] = [
        "verl": [
            Convention(section: ["advantage"], type: "gdpo", key: "whiten", value: .plain("tokens")),
            Convention(section: ["advantage"], type: "grpo", key: "epsilon", value: .plain("1e-06")),
            Convention(section: ["advantage"], type: "grpo", key: "group_of_one", value: .plain("raw")),
            Convention(section: ["advantage"], type: "opo", key: "group_of_one", value: .plain("raw")),
            Convention(section: ["advantage"], type: "otb", key: "group_of_one", value: .plain("raw")),
            Convention(section: ["advantage"], type: "rloo", key: "group_of_one", value: .plain("raw")),
            Convention(
                section: ["advantage"], type: "reinforce_pp_baseline", key: "group_of_one", value: .plain("raw")),
            Convention(section: ["objective"], type: "ppo_clip", key: "clip_dual", value: .plain("3")),
            Convention(section: ["objective"], type: "cispo", key: "clip_low", value: .plain("0.2")),
            Convention(section: ["objective"], type: "cispo", key: "clip_high", value: .plain("0.2")),
            Convention(section: ["objective"], type: "dppo", key: "cap", value: .plain("3")),
            Convention(section: ["objective"], type: "gmpo", key: "clip_low", value: .plain("0.2")),
            Convention(section: ["objective"], type: "gmpo", key: "clip_high", value: .plain("0.2")),
            Convention(section: ["objective"], type: "gspo", key: "clip_low", value: .plain("0.2")),
            Convention(section: ["objective"], type: "gspo", key: "clip_high", value: .plain("0.2")),
            Convention(
                section: ["reward", "overlong"], type: nil, key: "floor", value: .plain("false"), ifPresent: true),
            Convention(section: ["correction"], type: nil, key: "rejected", value: .plain("keep"), ifPresent: true),
            Convention(section: ["correction"], type: nil, key: "denominator", value: .plain("kept"), ifPresent: true),
        ],
        "trl": [
            Convention(section: ["advantage"], type: "gdpo", key: "epsilon", value: .plain("0.0001")),
            Convention(section: ["advantage"], type: "gdpo", key: "whiten_epsilon", value: .plain("0.0001")),
            Convention(section: ["advantage"], type: "grpo", key: "epsilon", value: .plain("0.0001")),
            Convention(
                section: ["entropy", "mask"], type: nil, key: "normalizer", value: .plain("all"), ifPresent: true),
            Convention(section: ["kl"], type: nil, key: "bounded", value: .plain("false")),
            Convention(section: ["kl"], type: nil, key: "weighted", value: .plain("ratio")),
            Convention(section: ["correction"], type: nil, key: "rejected", value: .plain("keep"), ifPresent: true),
        ],
    ]

    /// Types that a section has where a recipe names none.
    private static let defaultTypes = ["advantage": "grpo", "objective": "ppo_clip", "aggregation": "token_mean"]

    static func apply(to node: RecipeNode, _ reader: inout SectionReader) -> RecipeNode {
        guard let preset = node["preset"], preset != .null else { return node }
        guard let name = preset.scalar, let conventions = conventions[name] else {
            reader.report(
                "preset is \(preset.description); known: \(conventions.keys.sorted().joined(separator: ", "))")
            return node
        }
        return conventions.reduce(node) { $1.merged(under: $0) }
    }

    fileprivate static func type(of section: RecipeNode?, named name: String) -> String? {
        section?.scalar ?? section?["type"]?.scalar ?? defaultTypes[name]
    }
}

extension Preset.Convention {
    fileprivate func merged(under node: RecipeNode) -> RecipeNode {
        let existing = section.reduce(Optional(node)) { $0?[$1] }
        if ifPresent, existing == nil || existing == .null { return node }
        // An expansion brings its own advantages.
        if section == ["advantage"], node["expansion"] ?? .null != .null { return node }
        if let type, Preset.type(of: existing, named: section.last ?? "") != type { return node }
        if case .map(let map)? = existing, map[key] != nil { return node }
        return node.replacing((section + [key])[...], with: value)
    }
}
