import StageSupport

/// What a job asks of Slurm, for each of its tasks.
package struct JobRequest: Equatable, Sendable {
    package var partition: String?
    package var account: String?
    package var time: String?
    package var memory: MemorySize?
    package var processors = 1
    /// Tasks that srun starts together, as ranks of one MPI job.
    package var ranks = 1
    /// Seconds before the time limit at which the script is signalled.
    package var stopBefore = 60
    /// Further flags of sbatch, as they are written.
    package var extra: [String] = []

    /// One processor, and Slurm's own defaults.
    package init() {}

    /// sbatch's flags. Whatever `extra` has comes last, and so counts.
    var flags: [String] {
        let named = [("partition", partition), ("account", account), ("time", time)].compactMap { name, value in
            value.map { "--\(name)=" + BatchText.quoted($0) }
        }
        // Without B: the signal would go to steps of srun alone, and there are none.
        let signal = stopBefore > 0 ? ["--signal=B:USR1@\(stopBefore)"] : []
        return named + (ranks > 1 ? ["--ntasks=\(ranks)"] : []) + ["--cpus-per-task=\(processors)"]
            + (memory.map { [memoryFlag($0)] } ?? []) + signal + extra
    }

    /// A node's, where it has the one task; of several, which may lie on one node or on many, a processor's.
    private func memoryFlag(_ size: MemorySize) -> String {
        guard ranks > 1 else { return "--mem=\(Self.mebibytes(size))M" }
        return "--mem-per-cpu=\((Self.mebibytes(size) + processors - 1) / processors)M"
    }

    private static func mebibytes(_ size: MemorySize) -> Int { max(1, (size.bytes + (1 << 20) - 1) >> 20) }
}

/// Values in `#SBATCH` lines, which sbatch reads with rules of its own.
enum BatchText {
    /// In double quotes where a value has more than plain characters; a backslash saves quotes and itself.
    static func quoted(_ value: String) -> String {
        guard value.contains(where: { $0 == " " || $0 == "\t" || "\"'\\#".contains($0) }) else { return value }
        return "\"" + value.map { "\"\\".contains($0) ? "\\\($0)" : "\($0)" }.joined() + "\""
    }

    /// A path in a pattern of file names, where % begins a number.
    static func pattern(_ path: String) -> String { path.map { $0 == "%" ? "%%" : "\($0)" }.joined() }
}
