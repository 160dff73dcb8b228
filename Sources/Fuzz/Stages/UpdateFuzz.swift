@testable import Update

/// Plans with wrong values, policies with other shapes and an earlier update to go on from.
final class UpdateFuzz: FuzzTarget {
    static let name = "stage-update", subject = "crux-update on changed plans, policies and earlier updates"
    private let fuzzed: FuzzedRun

    init(folder: String) throws {
        fuzzed = try FuzzedRun(folder: folder, changing: FuzzedRun.plans + ["policy", "update"])
    }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        let (choice, rest) = bytes.choice
        let plan = FuzzedRun.plans[choice % FuzzedRun.plans.count]
        let resumed = choice & 0x80 == 0 ? [] : ["--resume-from", fuzzed.folder + "/update"]
        try fuzzed.changed(by: rest) {
            try runStage(
                UpdateCommand.self, fuzzed.updateArguments(plan) + ["--output", fuzzed.output] + resumed)
        }
    }
}
