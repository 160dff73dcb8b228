import Foundation

/// One of the built executables, such as `crux-ingest`.
package struct Executable: Sendable {
    package let path: String

    package init(_ name: String) { path = Self.productsFolder + "/" + name }

    /// Any program.
    package init(path: String) { self.path = path }

    package struct Result: Sendable {
        package let status: Int32
        package let output: String
        package let errors: String

        /// The JSON summary on stdout.
        package var summary: [String: Any] {
            ((try? JSONSerialization.jsonObject(with: Data(output.utf8))) as? [String: Any]) ?? [:]
        }
    }

    /// The test bundle lies beside the executables.
    private static let productsFolder: String = {
        let bundle =
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
        let beside = (bundle as NSString).deletingLastPathComponent
        return FileManager.default.fileExists(atPath: beside + "/crux-ingest")
            ? beside : repositoryRoot + "/.build/release"
    }()

    /// Variables of schedulers that must not leak into a test from where it runs.
    private static let schedulerPrefixes = [
        "SLURM_", "OMPI_", "PMI_", "PMIX_", "MV2_", "JOB_COMPLETION", "OMP_", "OPENBLAS_",
    ]

    /// Runs to the end. `fileSizeLimit`: as `ulimit -f` takes it, in blocks of 512 bytes; `addressSpaceLimit`: as
    /// `ulimit -v` does, in KiB.
    package func run(
        _ arguments: [String], environment: [String: String] = [:], fileSizeLimit: Int? = nil,
        addressSpaceLimit: Int? = nil
    ) throws -> Result {
        let limits = [
            fileSizeLimit.map { "ulimit -f \($0)" }, addressSpaceLimit.map { "ulimit -v \($0)" },
        ].compactMap { $0 }
        return try start(arguments, environment: environment, limits: limits).wait()
    }

    /// What it says on stderr where that is a terminal.
    package func runOnTerminal(_ arguments: [String]) throws -> String {
        // As posix_openpt, unlockpt and ptsname do, which Swift's Glibc doesn't show: TIOCSPTLCK, TIOCGPTN.
        let terminal = open("/dev/ptmx", O_RDWR | O_NOCTTY)
        var lock: Int32 = 0, number: Int32 = 0
        guard terminal >= 0, ioctl(terminal, 0x4004_5431, &lock) == 0, ioctl(terminal, 0x8004_5430, &number) == 0 else {
            throw CocoaError(.fileReadUnknown)
        }
        defer { close(terminal) }
        let own = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY), nowhere = open("/dev/null", O_RDWR)
        defer { close(nowhere) }
        let process = try Spawned(
            path, arguments, environment: ProcessInfo.processInfo.environment, standardInput: nowhere,
            standardOutput: nowhere, standardError: own)
        close(own)
        // Reading ends with an error when the last writer has closed its side.
        var said: [UInt8] = [], piece = [UInt8](repeating: 0, count: 4096), count = read(terminal, &piece, piece.count)
        while count > 0 {
            said += piece[..<count]
            count = read(terminal, &piece, piece.count)
        }
        _ = process.wait()
        return String(decoding: said, as: UTF8.self)
    }

    /// `limits`: commands of a shell that come before.
    package func start(_ arguments: [String], environment: [String: String] = [:], limits: [String] = []) throws
        -> Running
    {
        let inherited = ProcessInfo.processInfo.environment.filter { variable in
            !Self.schedulerPrefixes.contains { variable.key.hasPrefix($0) }
        }
        let variables = inherited.merging(environment) { $1 }
        guard !limits.isEmpty else { return try Running(path, arguments, variables) }
        let limited = ["-c", (limits + [#"exec "$0" "$@""#]).joined(separator: "; "), path] + arguments
        return try Running("/bin/sh", limited, variables)
    }

    /// An executable that is running. Its output goes to files, because a full pipe would stop it.
    package final class Running {
        private let process: Spawned
        private let folder: TemporaryDirectory

        fileprivate init(_ path: String, _ arguments: [String], _ environment: [String: String]) throws {
            folder = try TemporaryDirectory()
            let streams = [
                open("/dev/null", O_RDONLY | O_CLOEXEC), Self.newFile(folder("stdout")), Self.newFile(folder("stderr")),
            ]
            defer { streams.forEach { close($0) } }
            process = try Spawned(
                path, arguments, environment: environment, standardInput: streams[0], standardOutput: streams[1],
                standardError: streams[2])
        }

        package var isRunning: Bool { process.isRunning }

        package var identifier: Int32 { process.identifier }

        /// Waits until something has come true, or it has ended; no longer than `seconds`.
        package func wait(until isTrue: () -> Bool, seconds: Double = 60) {
            let end = Date().addingTimeInterval(seconds)
            while isRunning, !isTrue(), Date() < end { usleep(2000) }
        }

        package func signal(_ number: Int32) {
            // Once it has been waited for, its number may be another's.
            if isRunning { kill(process.identifier, number) }
        }

        /// The status is the exit code, or minus the number of the signal that ended it.
        package func wait() -> Result {
            Result(status: process.wait(), output: text("stdout"), errors: text("stderr"))
        }

        private func text(_ name: String) -> String {
            String(decoding: FileManager.default.contents(atPath: folder(name)) ?? Data(), as: UTF8.self)
        }

        private static func newFile(_ path: String) -> Int32 {
            open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0o600)
        }
    }
}
