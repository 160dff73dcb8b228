import CGang
import Files
import Foundation
import StageSupport

/// The ranks of an MPI job. MPI is reached through a plug-in that is looked for when it is wanted: nothing is linked, so
/// executables run, and are built, where there is none, and fit whatever MPI a cluster has.
///
/// `@unchecked Sendable`: MPI is called by the one thread that has joined.
package final class MessagePassing: Gang, @unchecked Sendable {
    package let rank: Int
    package let size: Int
    private let calls: crux_gang

    /// Joins the ranks that were started together: once in a process, and they all wait for each other. Throws
    /// `StageError` (usage) where there is no plug-in, or MPI knows nothing of processes that a launcher has started.
    package static func join(
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws -> MessagePassing {
        let gang = try MessagePassing(try PlugIn.load(environment)),
            launched = try TaskShare.amongLaunched(environment)
        guard gang.isAlone, !launched.isWhole else { return gang }
        // None of them knows of the others: one is to speak.
        guard launched.rank == 0 else { throw ToldAlready(.usage) }
        throw StageError(
            .usage,
            "--mpi: found \(launched.tasks) processes that were started together and an MPI that knows of one alone. "
                + "Start them by that MPI's own mpirun, or by srun --mpi=pmix (srun --mpi=list shows what there is).")
    }

    private init(_ calls: crux_gang) throws {
        var rank: Int32 = 0, size: Int32 = 0
        let code = calls.join(&rank, &size)
        guard code == 0 else { throw Self.failure("join the other ranks", code, calls) }
        (self.rank, self.size, self.calls) = (Int(rank), Int(size), calls)
    }

    /// Waits for the others and ends MPI; the last call of all.
    package func leave() throws { try check("leave the other ranks", calls.leave()) }

    /// Ends all ranks at once, for what they can't agree on any more. Does not return.
    package func endAll(_ status: ExitStatus) -> Never {
        calls.end_all(status.rawValue)
        exit(status.rawValue)
    }

    // MARK: calls

    package func gather(_ own: UnsafeRawBufferPointer, into all: UnsafeMutableRawBufferPointer) throws {
        precondition(all.count == size * own.count, "\(own.count) bytes of \(size) ranks into \(all.count)")
        try check("gather \(own.count) bytes", calls.gather(own.baseAddress, all.baseAddress, own.count))
    }

    package func broadcast(_ bytes: UnsafeMutableRawBufferPointer, from root: Int) throws {
        try check(
            "broadcast \(bytes.count) bytes of rank \(root)",
            calls.broadcast(bytes.baseAddress, bytes.count, Int32(root)))
    }

    package func exchange(_ outgoing: [UnsafeRawBufferPointer], into incoming: UnsafeMutableRawBufferPointer) throws {
        precondition(outgoing.count == size && incoming.count % size == 0, "parts of \(size) ranks")
        let places = outgoing.map(\.baseAddress), counts = outgoing.map(\.count)
        try check(
            "exchange \(incoming.count) bytes",
            calls.exchange(places, counts, incoming.baseAddress, incoming.count / size))
    }

    package func send(_ bytes: UnsafeRawBufferPointer, to rank: Int) throws {
        try check(
            "send \(bytes.count) bytes to rank \(rank)", calls.send(bytes.baseAddress, bytes.count, Int32(rank)))
    }

    package func receive(_ bytes: UnsafeMutableRawBufferPointer, from rank: Int) throws {
        try check(
            "receive \(bytes.count) bytes from rank \(rank)",
            calls.receive(bytes.baseAddress, bytes.count, Int32(rank)))
    }

    private func check(_ action: String, _ code: Int32) throws {
        if code != 0 { throw Self.failure(action, code, calls) }
    }

    private static func failure(_ action: String, _ code: Int32, _ calls: crux_gang) -> StageError {
        var text = [CChar](repeating: 0, count: 1024)
        calls.explain(code, &text, text.count)
        let reason = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return StageError(
            .interrupted,
            "MPI could not \(action): \(reason). Finished pieces are kept; run the same command again "
                + "to go on.")
    }
}

/// The library that `make mpi` compiles.
private enum PlugIn {
    static let name = "libcrux-mpi.so"
    private static let variable = "CRUX_MPI"

    /// Where it may lie: where a variable says, else beside the executable or where `make install` puts it.
    private static func places(_ environment: [String: String]) -> [String] {
        if let said = environment[variable], !said.isEmpty { return [said] }
        return ["/", "/../lib/crux/"].map { SiblingStages.folder + $0 + name }
    }

    static func load(_ environment: [String: String]) throws -> crux_gang {
        let places = places(environment)
        guard let path = try places.first(where: { try fileExists($0) }) else {
            throw StageError(
                .usage,
                "--mpi: found no \(places.joined(separator: " and no ")), expected the plug-in for this machine's MPI. "
                    + "Build it (make mpi), name it (\(variable)=PATH), or leave --mpi out.")
        }
        // MPI's own plug-ins look for its names among those of the whole process.
        guard let library = dlopen(path, RTLD_NOW | RTLD_GLOBAL) else {
            throw refusal(path, dlerror().map { String(cString: $0) } ?? "nothing is known of why")
        }
        guard let entry = dlsym(library, CRUX_GANG_ENTRY) else { throw refusal(path, "it has no \(CRUX_GANG_ENTRY)") }
        let calls = unsafeBitCast(entry, to: (@convention(c) () -> UnsafePointer<crux_gang>).self)().pointee
        guard calls.form == CRUX_GANG_FORM else {
            throw refusal(path, "it has form \(calls.form), expected \(CRUX_GANG_FORM), this version's")
        }
        return calls
    }

    private static func refusal(_ path: String, _ reason: String) -> StageError {
        StageError(.usage, "--mpi: \(path) can't be used: \(reason). Build it anew (make mpi), or leave --mpi out.")
    }
}
