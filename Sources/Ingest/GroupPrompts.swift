import Formats
import Scratch

/// The prompts of groups: rollouts that are compared with each other must answer the same one.
struct GroupPrompts: Codable, Sendable {
    /// By group: the tokens before the first trainable one, as the first rollout has them.
    private var first: [ByteText: Prompt] = [:]

    private struct Prompt: Codable, Sendable {
        let group: String
        let digest: String
        let rolloutID: String
    }

    init() {}

    /// As a list: two groups may be one text to a dictionary of strings.
    init(from decoder: any Decoder) throws {
        let prompts = try decoder.singleValueContainer().decode([Prompt].self)
        first = Dictionary(prompts.map { (ByteText($0.group), $0) }) { first, _ in first }
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(first.sorted { $0.key < $1.key }.map(\.value))
    }

    /// Why a rollout can't belong to its group; nil where it can. Continuations of jobs begin wherever they were cut.
    mutating func conflict(_ row: RolloutRow) -> String? {
        guard row.jobID == nil else { return nil }
        let prompt = row.tokenIDs[..<(row.lossMask.firstIndex(of: true) ?? row.tokenIDs.count)]
        let digest = String(prefixDigest(prompt).prefix(32))
        let group = ByteText(row.groupID)
        guard let known = first[group] else {
            first[group] = Prompt(group: row.groupID, digest: digest, rolloutID: row.rolloutID)
            return nil
        }
        guard known.digest != digest else { return nil }
        return
            "found a prompt of \(prompt.count) tokens that is not that of '\(known.rolloutID)', expected one prompt in group "
            + "'\(row.groupID)': give another prompt another group_id"
    }

    /// Groups that have another prompt here than there.
    func others(than other: GroupPrompts) -> Set<ByteText> {
        Set(first.filter { group, prompt in other.first[group].map { $0.digest != prompt.digest } ?? false }.keys)
    }

    /// Prompts of groups that it doesn't know yet.
    mutating func merge(_ other: GroupPrompts) { first.merge(other.first) { own, _ in own } }

    static func rejection(_ id: String, _ number: Int, _ offset: Int, _ detail: String) -> EntryRejection {
        .init(frameIndex: number, frameOffset: offset, rolloutID: id, reason: .otherPrompt, detail: detail)
    }
}
