import ArgumentParser
import CMemoryLimits
import Foundation

/// An amount of memory as people write it: `8G`, `512M`, `1.5G`, in powers of 1024.
package struct MemorySize: ExpressibleByArgument, Equatable, Sendable {
    package var bytes: Int

    package init(bytes: Int) { self.bytes = bytes }

    package init?(argument: String) {
        guard let unit = argument.last?.uppercased(), let scale = Self.scales[unit],
            let number = Double(argument.dropLast()), number > 0,
            number * Double(scale) < Double(1 << 50)
        else { return nil }
        bytes = Int(number * Double(scale))
    }

    /// In `--help`, as it would be written.
    package var defaultValueDescription: String { "\(bytes >> 20)M" }

    private static let scales = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40]

    /// `3.2 GiB`
    package static func text(_ bytes: Int) -> String {
        bytes < 1 << 30
            ? String(format: "%.0f MiB", Double(bytes) / Double(1 << 20))
            : String(format: "%.2f GiB", Double(bytes) / Double(1 << 30))
    }
}

/// What this process may use and has used.
package enum ProcessMemory {
    /// The machine's memory, or less where a control group (a container, a scheduler's job) or `ulimit -v` allows less. It
    /// doesn't depend on what others use.
    package static func limit(controlGroups: String = "/sys/fs/cgroup", membership: String = "/proc/self/cgroup") -> Int
    {
        ControlGroups(root: controlGroups, membership: membership).memoryLimits
            .reduce(min(Int(clamping: ProcessInfo.processInfo.physicalMemory), crux_address_space_limit()), min)
    }

    /// The most memory that this process, or another, has had at once, mapped files included; 0 where the kernel
    /// doesn't say.
    package static func peak(of process: Int32? = nil) -> Int {
        peak(
            status: (try? String(contentsOfFile: "/proc/\(process.map { "\($0)" } ?? "self")/status", encoding: .utf8))
                ?? "")
    }

    /// `VmHWM:\t 9543210 kB`; a longer number takes the space's place.
    package static func peak(status: String) -> Int {
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return (line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) } ?? 0) * 1024
    }
}
