import Formats
import Foundation
import Tensors

/// One batch that an optimizer step of both sides is measured on, and what the step has to reach.
struct UpdateCase {
    let name: String
    let title: String
    let rows: [PlanRow]
    /// How PyTorch may lay the batch out, see bench/update.py; the fastest counts.
    let forms: [String]
    /// Times as fast as PyTorch with its head on every completion token.
    let need: Double
    let goal: Double
    /// Where PyTorch's head is also tried on the kept tokens alone: times as fast as that.
    var needKept: Double?
    /// The same of both sides' products in bf16.
    let halves: HalfNeeds

    /// Times as fast as PyTorch under bf16 autocast.
    struct HalfNeeds {
        let need: Double
        let goal: Double
        var needKept: Double?
        var goalKept: Double?
    }

    static let all = [plain, group, tree]

    static let plain = UpdateCase(
        name: "plain", title: "8 different prompts of 256, completions of 256, every completion token weighted",
        rows: Batch(kept: 1).rows((0..<8).map { [Piece(seed: $0, count: 256), Piece(seed: 100 + $0, count: 256)] }),
        forms: ["batched", "single"], need: 1.2, goal: 1.6,
        halves: HalfNeeds(need: 1.2, goal: 1.8))

    static let group = UpdateCase(
        name: "grpo", title: "a group of 8, prompt 256, completions of 256, a fifth of the tokens weighted",
        rows: Batch(kept: 0.2).rows((0..<8).map { [Piece(seed: 0, count: 256), Piece(seed: 100 + $0, count: 256)] }),
        forms: ["batched", "single", "batched-kept", "single-kept", "grouped"],
        need: 3.5, goal: 4, needKept: 2.5,
        halves: HalfNeeds(need: 2.5, goal: 4, needKept: 1.5, goalKept: 2.5))

    /// States at the base's beginning, at each quarter and at its end.
    static let tree = UpdateCase(
        name: "fr3e",
        title: "a tree: prompt 128, base of 384, 5 states, 8 continuations of 128 each, a fifth of the tokens weighted",
        rows: Batch(kept: 0.2).rows(
            (0..<40).map {
                [Piece(seed: 0, count: 128), Piece(seed: 1, count: $0 / 8 * 96), Piece(seed: 100 + $0, count: 128)]
            }), forms: ["batched", "single"],
        need: 6, goal: 7, halves: HalfNeeds(need: 4, goal: 7))
}

extension UpdateCase {
    /// What a step has to reach beside PyTorch's, and beside PyTorch with its head on the kept tokens alone.
    func requirements(_ precision: Precision) -> (all: Requirement, kept: Requirement?) {
        switch precision {
        case .f32: (Requirement(need: need, goal: goal), needKept.map { Requirement(need: $0) })
        case .bf16:
            (
                Requirement(need: halves.need, goal: halves.goal),
                halves.needKept.map { Requirement(need: $0, goal: halves.goalKept) }
            )
        }
    }
}

/// Tokens that look random and are the same for the same seed.
struct Piece {
    let seed: Int
    let count: Int

    var tokens: [Int32] { (0..<count).map { Int32((hash(seed, $0) >> 33) % 151_000) } }
}

/// splitmix64 of two numbers.
private func hash(_ a: Int, _ b: Int) -> UInt64 {
    var z = UInt64(a) &* 0xD1B5_4A32_D192_ED03 &+ UInt64(b) &* 0x9E37_79B9_7F4A_7C15 &+ 0x9E37_79B9_7F4A_7C15
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
}

private struct Batch {
    /// Share of the trainable tokens that carry weight.
    let kept: Double

    /// The last piece of each sequence was sampled, what stands before it is context.
    func rows(_ sequences: [[Piece]]) -> [PlanRow] {
        var rows = sequences.enumerated().map { index, pieces in row(index, pieces) }
        let weighted = rows.reduce(0) { $0 + $1.tokenWeights.count { $0 != 0 } }
        for index in rows.indices { rows[index].tokenWeights = rows[index].tokenWeights.map { $0 / Float(weighted) } }
        return rows
    }

    private func row(_ index: Int, _ pieces: [Piece]) -> PlanRow {
        var row = PlanRow()
        row.rolloutID = "r\(index)"
        row.groupID = "g"
        row.tokenIDs = pieces.flatMap(\.tokens)
        let start = row.tokenIDs.count - (pieces.last?.count ?? 0), places = row.tokenIDs.indices
        row.lossMask = places.map { $0 >= start }
        row.entropyMask = places.map { $0 >= start && Double(hash(index, $0) >> 40) < kept * Double(1 << 24) }
        row.tokenWeights = row.entropyMask.map { $0 ? 1 : 0 }
        row.advantages = row.lossMask.map { $0 ? (index % 2 == 0 ? 1 : -1) : 0 }
        // About what random weights give every token, so that some ratios are clipped and most are not.
        row.oldLogprobs = row.lossMask.map { $0 ? -Float(log(151_936.0)) : 0 }
        row.reward = index % 2 == 0 ? 1 : 0
        row.step = 1
        return row
    }
}
