import Foundation
import TestSupport
import Testing

/// Kills an executable at its calls of the system, one after the other, and lets it run again: however fast the machine
/// is, the kills meet work that is begun and not finished.
struct KillSweep {
    private let calls: FailingCalls

    init() throws { calls = try FailingCalls() }

    /// Which time each kind of call is the last thing that happens.
    private static let times = [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]

    /// `arguments`: of a run into a folder. Expects the rerun to leave `expected`, and some of the kills to have met an
    /// unfinished directory.
    func expectSameBytes(
        _ executable: String, _ arguments: (String) throws -> [String], in folder: TemporaryDirectory,
        _ expected: [String: Data]
    ) throws {
        var unfinished = 0
        for call in ["open", "write", "fsync", "rename"] {
            for time in Self.times {
                let name = "killed-\(call)-\(time)", target = folder(name)
                let environment = calls.killing(at: call, time: time, path: "/" + name)
                let killed = try Executable(executable).run(try arguments(target), environment: environment)
                // It has no more such calls.
                if killed.status == 0 { break }
                #expect(killed.status == -SIGKILL, "\(name): \(killed.errors)")
                unfinished += Self.isUnfinished(target) ? 1 : 0
                let again = try Executable(executable).run(try arguments(target))
                #expect(again.status == 0, "\(name): \(again.errors)")
                #expect(try contents(of: target) == expected, "\(name)")
            }
        }
        #expect(unfinished > 4, "\(unfinished) kills met an unfinished directory")
    }

    static func isUnfinished(_ directory: String) -> Bool {
        access(directory + "/.work", F_OK) == 0 && access(directory + "/manifest.json", F_OK) != 0
    }
}
