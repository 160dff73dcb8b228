import Foundation

/// Where a model lies that is given by its folder or by its name: names are looked up in the Hugging Face cache of this
/// machine, and never fetched.
package enum ModelFolder {
    /// The folder itself where there is one (or a file: a tokenizer.json), else the snapshot of the model of that name,
    /// `ORG/NAME` or `ORG/NAME@REVISION`; what was given where there is neither, for whoever opens it to refuse.
    package static func path(_ given: String) -> String {
        guard (try? fileExists(given)) != true, let name = HubName(given) else { return given }
        return HubCache().snapshot(of: name) ?? given
    }

    /// Where a name was looked for in vain, as a sentence behind a remedy; empty of what is no name.
    ///
    /// - Parameter given: The folder or file that isn't there, as it was given.
    package static func remark(_ given: String) -> String {
        guard (try? fileExists(given)) != true, let name = HubName(given) else { return "" }
        let cache = HubCache()
        return " A model of this name was looked for in \(cache.folder(of: name)) (HF_HUB_CACHE, HF_HOME): "
            + cache.lack(of: name) + ". Fetch it first, for example with hf download \(name.model)."
    }
}

/// A model's name as the Hub has it.
private struct HubName {
    let model: String
    let revision: String?

    /// nil where the text can't be one: a path, or characters that names don't have.
    init?(_ text: String) {
        let parts = text.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let names = parts[0].split(separator: "/", omittingEmptySubsequences: false)
        guard (1...2).contains(names.count), names.allSatisfy({ Self.isName($0) }),
            parts.count == 1 || Self.isName(parts[1][...])
        else { return nil }
        (model, revision) = (parts[0], parts.count > 1 ? parts[1] : nil)
    }

    /// Nothing that could lead out of the cache.
    private static func isName(_ text: Substring) -> Bool {
        !text.isEmpty && !text.hasPrefix(".") && !text.hasPrefix("-") && !text.contains("..") && text.utf8.count <= 96
            && text.utf8.allSatisfy { byte in
                byte < 0x80 && (Character(Unicode.Scalar(byte)).isLetter || Character(Unicode.Scalar(byte)).isNumber)
                    || [UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: ".")].contains(byte)
            }
    }
}

/// `models--ORG--NAME/refs/main` names the snapshot that lies in `models--ORG--NAME/snapshots/`.
private struct HubCache {
    private let root: String

    init(_ environment: [String: String] = ProcessInfo.processInfo.environment) {
        func given(_ key: String) -> String? { environment[key].flatMap { $0.isEmpty ? nil : $0 } }
        let home = given("HOME") ?? NSHomeDirectory()
        let cache = given("XDG_CACHE_HOME") ?? home + "/.cache"
        let own = given("HF_HUB_CACHE") ?? given("HUGGINGFACE_HUB_CACHE") ?? given("HF_HOME").map { $0 + "/hub" }
        let path = own ?? cache + "/huggingface/hub"
        root = path.hasPrefix("~/") ? home + path.dropFirst() : path
    }

    func folder(of name: HubName) -> String {
        root + "/models--" + name.model.replacingOccurrences(of: "/", with: "--")
    }

    /// nil where it was not fetched.
    func snapshot(of name: HubName) -> String? {
        let folder = folder(of: name)
        guard let revision = commit(of: name) else { return nil }
        let path = "\(folder)/snapshots/\(revision)"
        return (try? Folder.isFolder(path)) == true ? path : nil
    }

    /// By a branch or tag, else the revision itself.
    private func commit(of name: HubName) -> String? {
        let revision = name.revision ?? "main"
        if let data = (try? readFile("\(folder(of: name))/refs/\(revision)")) ?? nil {
            let text = String(decoding: data.prefix(200), as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
            return text.utf8.allSatisfy { $0 < 0x80 && Character(Unicode.Scalar($0)).isHexDigit } && !text.isEmpty
                ? text : nil
        }
        return name.revision
    }

    /// What isn't there.
    func lack(of name: HubName) -> String {
        let folder = folder(of: name)
        guard (try? Folder.isFolder(folder)) == true else { return "there is no such folder" }
        guard let revision = commit(of: name) else { return "there is no refs/\(name.revision ?? "main")" }
        return "there is no snapshots/\(revision)"
    }
}
