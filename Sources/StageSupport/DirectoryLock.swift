import Files
import Foundation

/// Says for a run's life that somebody is at work in a directory. A run of one task has it alone; tasks that share the
/// work have it together, and each its own rank. Files: `.lock`, for tasks also `.lock-RANK-of-TASKS`, and `.lock-turn`
/// while one of them opens or finishes the directory.
final class DirectoryLock: Sendable {
    /// Who is at work.
    struct Holder: Codable, CustomStringConvertible {
        var command: String
        var host: String
        var pid: Int32
        var since: String
        var rank: Int?
        var tasks: Int?

        var description: String {
            let task = rank.map { " as rank \($0) of \(tasks ?? 0)" } ?? ""
            return "\(command)\(task), process \(pid) on \(host), since \(since)"
        }
    }

    private static let name = ".lock", turnName = ".lock-turn"
    /// A run that was killed a moment ago may still be ending.
    private static let patience = 2.0

    private let directory: String
    private let share: TaskShare
    private let files: [LockFile]

    private init(_ directory: String, _ share: TaskShare, _ files: [LockFile]) {
        (self.directory, self.share, self.files) = (directory, share, files)
    }

    static func isLock(_ name: String) -> Bool { name == self.name || name.hasPrefix(self.name + "-") }

    /// False where the file system knows no locks.
    var isReal: Bool { files.allSatisfy(\.isReal) }

    /// Throws (75) with the holder's name where somebody else is at work. The directory must exist. Tasks that share
    /// the work call it in their turn.
    static func take(_ directory: String, _ share: TaskShare, _ context: StageContext) throws -> DirectoryLock {
        let own = Holder(
            command: "crux-" + context.stage, host: ownHostName, pid: getpid(), since: timestamp(),
            rank: share.isWhole ? nil : share.rank,
            tasks: share.isWhole ? nil : share.tasks)
        let text = (try? JSONEncoder().encode(own)).map { String(decoding: $0, as: UTF8.self) + "\n" } ?? ""
        let all = try wait(directory + "/" + name, share.isWhole ? .exclusive : .shared, directory, context)
        guard !share.isWhole else {
            all.write(text)
            return DirectoryLock(directory, share, [all])
        }
        all.write("")
        let rank = try wait(directory + "/" + rankName(share.rank, share.tasks), .exclusive, directory, context)
        rank.write(text)
        let lock = DirectoryLock(directory, share, [rank, all])
        if let other = others(directory).first(where: {
            $0.tasks != share.tasks && LockFile.isTaken(directory + "/" + $0.name)
        }) {
            throw isAtWork(directory, holder(directory + "/" + other.name))
        }
        return lock
    }

    /// Throws (75) where somebody is at work who would keep this run out. Changes nothing.
    static func requireNobody(in directory: String, _ share: TaskShare) throws {
        let isAtWork = LockFile.isTaken(directory + "/" + name, share.isWhole ? .exclusive : .shared)
        let ranks = others(directory).filter {
            ($0.tasks != share.tasks || $0.name == rankName(share.rank, share.tasks)) && !share.isWhole
        }
        let taken = (isAtWork ? [name] : []) + ranks.map(\.name).filter { LockFile.isTaken(directory + "/" + $0) }
        if let first = taken.first { throw self.isAtWork(directory, anyHolder(directory, first)) }
    }

    /// Does `body` where nobody is at work in a directory, and takes away the locks of those who were killed there.
    /// Whatever fails is left as it is.
    static func ifAlone(in directory: String, _ body: () throws -> Void) {
        // Whoever is at work there, one task or many, has at least a share of this one.
        guard let all = try? LockFile.take(directory + "/" + name, .exclusive), all.isReal else { return }
        defer { all.release() }
        try? body()
        let names = (try? Folder.names(directory)) ?? []
        for other in names where isLock(other) && other != name {
            // Whoever lets go of a lock that is his alone takes its file away.
            try? LockFile.take(directory + "/" + other, .exclusive)?.release()
        }
    }

    /// Whether somebody is at work in a directory: this process too, as long as it holds its lock.
    static func isHeld(_ directory: String) -> Bool { LockFile.isTaken(directory + "/" + name) }

    /// Waits a moment for the turn of tasks that share the work; nil where it doesn't come.
    static func turn(_ directory: String) -> LockFile? {
        for _ in 0..<100 {
            if let turn = try? LockFile.take(directory + "/" + turnName, .exclusive) { return turn }
            usleep(10_000)
        }
        return nil
    }

    /// Whether other tasks are at work too.
    var hasCompany: Bool {
        guard !share.isWhole else { return false }
        let own = Self.rankName(share.rank, share.tasks)
        return Self.others(directory).contains { $0.name != own && LockFile.isTaken(directory + "/" + $0.name) }
    }

    func release() { files.forEach { $0.release() } }

    /// One task after the other; nobody else comes in between who shares the work. A run of one task need not wait for
    /// anybody.
    static func inTurn<T>(_ directory: String, _ share: TaskShare, _ context: StageContext, _ body: () throws -> T)
        throws -> T
    {
        guard !share.isWhole else { return try body() }
        while true {
            if let turn = try LockFile.take(directory + "/" + turnName, .exclusive) {
                defer { turn.release() }
                return try body()
            }
            try context.checkInterruption()
            usleep(5000)
        }
    }

    private static func wait(_ path: String, _ mode: LockFile.Mode, _ directory: String, _ context: StageContext) throws
        -> LockFile
    {
        let end = DispatchTime.now().uptimeNanoseconds + UInt64(patience * 1e9)
        while true {
            if let lock = try LockFile.take(path, mode) { return lock }
            try context.checkInterruption()
            guard DispatchTime.now().uptimeNanoseconds < end else {
                throw isAtWork(directory, anyHolder(directory, (path as NSString).lastPathComponent))
            }
            usleep(20_000)
        }
    }

    private static func isAtWork(_ directory: String, _ holder: Holder?) -> StageError {
        StageError(
            .interrupted,
            "\(directory): somebody else is at work there: \(holder.map { "\($0)" } ?? "a run that hasn't said who it is"). "
                + "Run the same command again when that has ended.")
    }

    private static func holder(_ path: String) -> Holder? {
        FileManager.default.contents(atPath: path).flatMap { try? JSONDecoder().decode(Holder.self, from: $0) }
    }

    /// Whoever the lock names; the common one names nobody where tasks share it.
    private static func anyHolder(_ directory: String, _ lock: String) -> Holder? {
        holder(directory + "/" + lock) ?? others(directory).lazy.compactMap { holder(directory + "/" + $0.name) }.first
    }

    private static func rankName(_ rank: Int, _ tasks: Int) -> String { "\(name)-\(rank)-of-\(tasks)" }

    private static func others(_ directory: String) -> [(name: String, tasks: Int)] {
        ((try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []).compactMap { file in
            guard file.hasPrefix(name + "-"), let tasks = file.split(separator: "-").last.flatMap({ Int($0) }) else {
                return nil
            }
            return (file, tasks)
        }
    }
}
