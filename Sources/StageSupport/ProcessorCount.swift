import CSystem
import Files
import Foundation

/// How many threads a process may keep busy.
package enum ProcessorCount {
    /// The processors that this process may run on, no more than its control groups' quota pays for and than
    /// SLURM_CPUS_PER_TASK, or OMP_NUM_THREADS and OPENBLAS_NUM_THREADS where somebody has set them, allow.
    package static func available(
        environment: [String: String] = ProcessInfo.processInfo.environment, controlGroups: String = "/sys/fs/cgroup",
        membership: String = "/proc/self/cgroup"
    ) -> Int {
        let said = ["SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"].compactMap { environment[$0] }
            .compactMap(first)
        return ([affinity] + ControlGroups(root: controlGroups, membership: membership).processorQuotas + said).reduce(
            Int.max, min)
    }

    /// `4`, or `4,2` for nested levels.
    private static func first(_ text: String) -> Int? {
        text.split(separator: ",").first.flatMap { Int($0.trimmingCharacters(in: .whitespaces)) }.flatMap {
            $0 > 0 ? $0 : nil
        }
    }

    /// The processors in this process's mask: `taskset`, `numactl` and schedulers set it.
    private static var affinity: Int {
        let count = Int(crux_processors())
        return count > 0 ? count : ProcessInfo.processInfo.activeProcessorCount
    }
}

/// The control groups that a process is in, with those above them, which bind it too.
struct ControlGroups {
    let root: String
    private let lines: [(controllers: String, path: String, isVersion2: Bool)]

    init(root: String = "/sys/fs/cgroup", membership: String = "/proc/self/cgroup") {
        self.root = root
        let text = (try? String(contentsOfFile: membership, encoding: .utf8)) ?? ""
        // `0::/path` (version 2) or `4:memory:/path`.
        lines = text.split(separator: "\n").compactMap { line in
            let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
            return parts.count == 3 ? (parts[1], parts[2], parts[0] == "0") : nil
        }
    }

    /// Folders of the groups: version 2, or those of a controller of version 1.
    func folders(_ controller: String, isVersion2: Bool) -> [String] {
        lines.filter {
            $0.isVersion2 == isVersion2
                && (isVersion2 || $0.controllers.split(separator: ",").contains { $0 == controller })
        }.flatMap { line in
            // The hierarchy is mounted by the name of the controller, or of all that share it.
            let mounts = isVersion2 ? [root] : Set([controller, line.controllers]).sorted().map { root + "/" + $0 }
            return mounts.flatMap { mount in Self.upwards(line.path).map { mount + $0 } }
        }
    }

    /// `/a/b` → `/a/b`, `/a`, ``.
    private static func upwards(_ path: String) -> [String] {
        var path = path == "/" ? "" : path, paths = [path]
        while !path.isEmpty {
            path = parentFolder(path)
            path = path == "/" ? "" : path
            paths.append(path)
        }
        return paths
    }

    /// Processors that quotas pay for, rounded up.
    var processorQuotas: [Int] {
        let newer = folders("cpu", isVersion2: true).compactMap { folder -> Int? in
            // `max 100000` or `150000 100000`.
            let numbers = Self.text(folder + "/cpu.max").split(separator: " ").map { Int($0) }
            return numbers.count == 2 ? Self.quota(numbers[0], numbers[1]) : nil
        }
        let older = folders("cpu", isVersion2: false).compactMap { folder in
            Self.quota(Int(Self.text(folder + "/cpu.cfs_quota_us")), Int(Self.text(folder + "/cpu.cfs_period_us")))
        }
        return newer + older
    }

    private static func quota(_ quota: Int?, _ period: Int?) -> Int? {
        guard let quota, let period, quota > 0, period > 0 else { return nil }
        return max(1, (quota - 1) / period + 1)
    }

    /// Limits of memory in bytes; "max" is no number.
    var memoryLimits: [Int] {
        (folders("memory", isVersion2: true).map { $0 + "/memory.max" }
            + folders("memory", isVersion2: false).map { $0 + "/memory.limit_in_bytes" }).compactMap {
                Int(Self.text($0))
            }
    }

    private static func text(_ path: String) -> String {
        ((try? String(contentsOfFile: path, encoding: .utf8)) ?? "").trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
