import ArgumentParser
import Foundation

/// How many tasks share the work, as `--tasks` says it.
package enum TaskCount: ExpressibleByArgument, Equatable, Sendable {
    case count(Int)
    /// Whatever the scheduler's environment says.
    case auto

    package init?(argument: String) {
        if argument == "auto" {
            self = .auto
        } else if let count = Int(argument) {
            self = .count(count)
        } else {
            return nil
        }
    }
}

/// Which part of the work this process does when several share a stage: piece i is for the task with i mod `tasks` =
/// `rank`.
package struct TaskShare: Equatable, Sendable {
    package let tasks: Int
    package let rank: Int

    package static let whole = TaskShare()

    package var isWhole: Bool { tasks == 1 }

    package func owns(_ index: Int) -> Bool { index % tasks == rank }

    private init() {
        tasks = 1
        rank = 0
    }

    /// The place of a process among those that one launcher has started together; the whole where it runs alone.
    package static func amongLaunched(
        _ environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws -> TaskShare {
        try SchedulerPlace.amongLaunched(environment).map { TaskShare($0) } ?? .whole
    }

    private init(_ place: SchedulerPlace) { (tasks, rank) = (place.tasks, place.rank) }

    /// Never unasked: without `--tasks` a process does its whole work, also in a job array, where each member may have
    /// another. Throws `StageError` (usage) when the share stays open or makes no sense.
    package init(
        tasks: TaskCount?, rank: Int?, environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws {
        switch tasks {
        case nil:
            if let rank {
                throw StageError(.usage, "--rank \(rank) needs --tasks, the number of tasks that share the work.")
            }
            self = .whole
        case .auto:
            if let rank {
                throw StageError(
                    .usage, "--tasks auto takes the rank from the scheduler; --rank \(rank) contradicts it.")
            }
            self = TaskShare(try SchedulerPlace(environment))
        case .count(let count):
            guard count >= 1 else { throw StageError(.usage, "--tasks is \(count); it must be at least 1.") }
            guard let own = rank ?? (count == 1 ? 0 : nil) else {
                throw StageError(
                    .usage,
                    "--tasks \(count) needs --rank, 0 to \(count - 1); --tasks auto takes both from the scheduler.")
            }
            guard (0..<count).contains(own) else {
                throw StageError(.usage, "--rank \(own) of --tasks \(count): ranks go from 0 to tasks - 1.")
            }
            (self.tasks, self.rank) = (count, own)
        }
    }
}
