import Files
import Foundation

/// Where a rollout's logits lie, as the column `logits_path` says it.
///
/// What lies in the folder that the ingest directory lies in (a run's own dump) is named from the ingest directory,
/// `../dump/NAME`, so that a run's folder can be moved and says the same wherever it lies. Everything else has its
/// absolute path. Where that leads to nothing, the dump may have been moved together with the run: it is looked for as
/// it lay to one of the folders above.
package enum LogitsPath {
    /// `stage`: the ingest directory.
    package static func text(of shard: String, in stage: String) -> String {
        let run = parentFolder(resolvedPath(stage))
        let folder = resolvedPath(parentFolder(shard)),
            place = folder + "/" + (shard as NSString).lastPathComponent
        guard run != "/", place.hasPrefix(run + "/") else {
            return URL(fileURLWithPath: shard).standardizedFileURL.path
        }
        return "../" + place.dropFirst(run.count + 1)
    }

    /// Paths where the file may be, the most probable first. Of those behind the first only one that is proven to be
    /// the same file may be taken.
    package static func candidates(_ text: String, in stage: String) -> [String] {
        guard text.hasPrefix("/") else { return [stage + "/" + text] }
        let parts = text.split(separator: "/").map(String.init)
        var above: [String] = [], folder = resolvedPath(stage)
        while folder != "/" {
            folder = parentFolder(folder)
            above.append(folder == "/" ? "" : folder)
        }
        return [text]
            + parts.indices.dropFirst().flatMap { start in
                above.map { $0 + "/" + parts[start...].joined(separator: "/") }
            }
    }
}
