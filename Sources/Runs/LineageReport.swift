import Foundation

/// A way back for people and as JSON.
struct LineageReport {
    private let runs: [LineageRun]

    init(_ runs: [LineageRun]) { self.runs = runs }

    /// Whether nothing is missing, and nothing differs.
    var isWhole: Bool { runs.allSatisfy { $0.problems.isEmpty && $0.links.allSatisfy { $0.state == .same } } }

    var text: String { runs.map(block).joined() + closing }

    private func block(_ run: LineageRun) -> String {
        let state = run.problems.isEmpty ? "as written" : "\(run.problems.count) of them not as written"
        let head = "\(run.stage)  \(AlignedText.visible(shortPath(run.directory)))\n"
        let own = "  manifest \(short(run.manifestSHA256)), \(run.outputs) outputs, \(state)\n"
        return head + own + run.problems.map { "  CHANGED  \(AlignedText.visible($0))\n" }.joined() + links(run)
    }

    /// Many inputs that are the same as then are one line.
    private func links(_ run: LineageRun) -> String {
        let groups = Dictionary(grouping: run.links.indices) { role(run.links[$0]) }
        let rows = groups.sorted { ($0.value.first ?? 0) < ($1.value.first ?? 0) }.flatMap { role, places in
            let links = places.map { run.links[$0] }
            let isLong = links.count > Self.shownOfRole && links.allSatisfy { $0.state == .same && $0.source == nil }
            return isLong ? [["from", "\(role)/…", "\(links.count) files", words(.same), ""]] : links.map(row)
        }
        return AlignedText.of(rows).split(separator: "\n").map { "  \($0)\n" }.joined()
    }

    private static let shownOfRole = 6

    private func role(_ link: LineageLink) -> String {
        link.name.split(separator: "/").first.map(String.init) ?? link.name
    }

    private func row(_ link: LineageLink) -> [String] {
        ["from", link.name, link.digest.map(short) ?? "–", words(link.state), link.place.map(shortPath) ?? ""]
    }

    private func words(_ state: LineageLink.State) -> String {
        switch state {
        case .same: "as then"
        case .differs: "DIFFERS NOW"
        case .missing: "NOT FOUND"
        case .unknown: "NO DIGEST"
        }
    }

    private func short(_ digest: String) -> String { digest.prefix(12) + "…" }

    private var closing: String {
        let links = runs.flatMap(\.links)
        func count(_ state: LineageLink.State) -> Int { links.count { $0.state == state } }
        guard !isWhole else { return "whole: \(runs.count) runs, \(links.count) inputs, everything as it was\n" }
        let changed = runs.reduce(0) { $0 + $1.problems.count }
        return "not whole: \(count(.missing)) inputs not found, \(count(.differs)) differ now, "
            + "\(count(.unknown)) without a digest, \(changed) outputs changed; \(count(.same)) inputs as they were\n"
    }

    var json: [String: any Sendable] {
        [
            "whole": isWhole,
            "runs": runs.map { run -> [String: any Sendable] in
                [
                    "path": run.directory, "run_stage": run.stage, "manifest_sha256": run.manifestSHA256,
                    "outputs": run.outputs, "changed": run.problems, "inputs": run.links.map(json),
                ]
            },
        ]
    }

    private func json(_ link: LineageLink) -> [String: any Sendable] {
        var fields: [String: any Sendable] = ["name": link.name, "state": link.state.rawValue]
        fields["digest"] = link.digest
        fields["place"] = link.place
        fields["made_by"] = link.source
        return fields
    }
}
