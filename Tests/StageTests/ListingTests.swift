import Credit
import Foundation
import Objectives
import Optimizers
import Recipes
import Rewards
import TestSupport
import Testing

/// `crux-plan --list` says what the registries hold: all of it, with sources, and nothing else.
@Suite struct ListingTests {
    struct Registry: Sendable, CustomTestStringConvertible {
        /// Its heading in the list.
        let title: String
        let members: [Member]
        var testDescription: String { title }
    }

    struct Member: Sendable {
        let name: String
        let source: String
    }

    static let registries = [
        Registry(title: "advantage", members: AdvantageRegistry.all.map { Member(name: $0.name, source: $0.source) }),
        Registry(
            title: "expansion (brings its own advantages)",
            members: ExpansionRegistry.all.map { Member(name: $0.name, source: $0.source) }),
        Registry(
            title: "expansion.anchor_score of fr3e",
            members: AnchorRegistry.all.map { Member(name: $0.name, source: $0.source) }),
        Registry(
            title: "expansion.segmentation of vineppo",
            members: SegmentationRegistry.all.map { Member(name: $0.name, source: $0.source) }),
        Registry(title: "objective", members: ObjectiveRegistry.all.map { Member(name: $0.name, source: $0.source) }),
        Registry(
            title: "aggregation", members: AggregationRegistry.all.map { Member(name: $0.name, source: $0.source) }),
        Registry(title: "entropy.mask", members: MaskRegistry.all.map { Member(name: $0.name, source: $0.source) }),
        Registry(
            title: "kl.estimator", members: KLEstimatorRegistry.all.map { Member(name: $0.name, source: $0.source) }),
        Registry(title: "trainable", members: TrainableRegistry.all.map { Member(name: $0.name, source: $0.source) }),
        Registry(title: "preset", members: Preset.sources.map { Member(name: $0.key, source: $0.value) }),
        Registry(
            title: "crux-score --reward",
            members: RewardRegistry.all.map { Member(name: $0.name, source: $0.source) }),
    ]

    /// Heading → the lines below it, a member each: its name, what a recipe would write of its settings, its source.
    private func list() throws -> [String: [String]] {
        let result = try Executable("crux-plan").run(["--list"])
        try #require(result.status == 0, "\(result.errors)")
        let parts = result.output.components(separatedBy: "\n\n").map { $0.split(separator: "\n").map(String.init) }
        return Dictionary(
            uniqueKeysWithValues: parts.compactMap { part in part.first.map { ($0, Array(part.dropFirst())) } })
    }

    @Test(arguments: registries) func theListHasEveryMemberWithItsSource(_ registry: Registry) throws {
        let lines = try #require(try list()[registry.title], "no '\(registry.title)' in the list")
        #expect(!registry.members.isEmpty && lines.count == registry.members.count)
        for member in registry.members {
            #expect(!member.source.isEmpty, "\(member.name)")
            #expect(
                lines.contains { line in
                    let words = line.dropFirst(2)
                    return line.hasPrefix("  " + member.name)
                        && " {".contains(words.dropFirst(member.name.count).first ?? "?")
                        && line.hasSuffix("  — \(member.source)")
                }, "\(member.name) is not in the list as it should be")
        }
    }

    @Test func noHeadingIsWithoutARegistry() throws {
        #expect(Set(try list().keys) == Set(Self.registries.map(\.title)).union(["sections without types"]))
    }

    /// Shells complete a command's own flags, and the words of the commands beside it with theirs.
    @Test(arguments: [
        ("crux-plan", "export", ["--report-only", "--format"]),
        ("crux-update", "apply-delta", ["--resume-from", "--delta"]),
    ]) func completionsKnowTheCommandsByWord(_ name: String, _ word: String, _ flags: [String]) throws {
        for shell in ["bash", "zsh", "fish"] {
            let said = try Executable(name).run(["--generate-completion-script", shell])
            #expect(said.status == 0, "\(said.errors)")
            // Fish names flags without their dashes.
            for wanted in [word] + flags.map({ shell == "fish" ? String($0.dropFirst(2)) : $0 }) {
                #expect(said.output.contains(wanted), "\(shell): no \(wanted)")
            }
        }
    }
}
