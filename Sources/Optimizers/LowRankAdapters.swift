/// Low-rank adapters on the named projections of every layer, written in PEFT's format.
package struct LowRankAdapters: Trainable {
    package static let name = "lora"
    package static let source = "LoRA, arXiv 2106.09685; format of PEFT"

    /// r
    package var rank = 16
    /// The adapters' product is scaled by alpha / rank.
    package var alpha = 32.0
    package var targets = ["q_proj", "v_proj"]
    /// Also writes a checkpoint with the adapters merged in, `merged/` beside them.
    package var merged = false

    /// Wider than any layer: beyond it there is nothing low about the rank.
    private static let mostRank = 1 << 16

    /// Fused ones are those of families that store several layers as one. Which of them a checkpoint has is its matter.
    package static let knownTargets = [
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv_proj", "gate_up_proj",
        "in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj",
    ]

    package init() {}

    package var adapters: LowRankAdapters? { self }

    package var problems: [String] {
        var problems: [String] = []
        if !(1...Self.mostRank).contains(rank) {
            problems.append("trainable.rank is \(rank); expected 1 to \(Self.mostRank)")
        }
        if !(alpha > 0) { problems.append("trainable.alpha is \(alpha); expected more than 0") }
        if targets.isEmpty {
            problems.append("trainable.targets is empty; expected some of \(Self.knownTargets.joined(separator: ", "))")
        }
        if Set(targets).count < targets.count {
            problems.append("trainable.targets names one twice; expected each once")
        }
        for target in targets where !Self.knownTargets.contains(target) {
            problems.append("trainable.targets has '\(target)'; known: \(Self.knownTargets.joined(separator: ", "))")
        }
        return problems
    }
}
