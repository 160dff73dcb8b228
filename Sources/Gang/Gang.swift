import StageSupport

/// Processes that do one piece of work together, a rank each. Every call but `send` and `receive` is made by all ranks,
/// in the same order: whoever leaves one out keeps the others waiting.
package protocol Gang: Sendable {
    /// This process's number, from 0.
    var rank: Int { get }
    /// How many there are.
    var size: Int { get }

    /// `own` of each rank one after the other, in the order of ranks, on all of them; as many bytes of each.
    func gather(_ own: UnsafeRawBufferPointer, into all: UnsafeMutableRawBufferPointer) throws
    /// What stands at `bytes` on the rank `root`, on all of them.
    func broadcast(_ bytes: UnsafeMutableRawBufferPointer, from root: Int) throws
    /// Part r of `outgoing` goes to rank r; `incoming` gets one part of each rank, in their order, all as long.
    func exchange(_ outgoing: [UnsafeRawBufferPointer], into incoming: UnsafeMutableRawBufferPointer) throws
    /// Between two ranks, which both know how many bytes there are.
    func send(_ bytes: UnsafeRawBufferPointer, to rank: Int) throws
    func receive(_ bytes: UnsafeMutableRawBufferPointer, from rank: Int) throws
}

extension Gang {
    package var isAlone: Bool { size == 1 }
    /// Whether this process writes files and speaks for the others.
    package var leads: Bool { rank == 0 }

    /// One value of each rank, in the order of ranks.
    package func gather<Value: BitwiseCopyable>(_ value: Value) throws -> [Value] {
        guard !isAlone else { return [value] }
        var all = [Value](repeating: value, count: size)
        try withUnsafeBytes(of: value) { own in try all.withUnsafeMutableBytes { try gather(own, into: $0) } }
        return all
    }

    /// One list of each rank, all as long, in the order of ranks.
    package func gather<Value: BitwiseCopyable>(list: [Value]) throws -> [[Value]] {
        guard !isAlone, let first = list.first else { return [list] }
        var all = [Value](repeating: first, count: list.count * size)
        try list.withUnsafeBytes { own in try all.withUnsafeMutableBytes { try gather(own, into: $0) } }
        return (0..<size).map { Array(all[$0 * list.count..<($0 + 1) * list.count]) }
    }

    /// One text of each rank, in the order of ranks.
    package func gather(text: String) throws -> [String] {
        guard !isAlone else { return [text] }
        let bytes = Array(text.utf8), counts = try gather(bytes.count), most = counts.max() ?? 0
        guard most > 0 else { return counts.map { _ in "" } }
        let own = bytes + [UInt8](repeating: 0, count: most - bytes.count)
        var all = [UInt8](repeating: 0, count: most * size)
        try own.withUnsafeBytes { own in try all.withUnsafeMutableBytes { try gather(own, into: $0) } }
        return counts.enumerated().map { String(decoding: all[$0 * most..<$0 * most + $1], as: UTF8.self) }
    }

    /// Does `body` on all ranks and returns what it has made of it here. Where one of them fails, all throw the same
    /// `GangFailure`, so that none goes on and waits. `body` makes no call of the gang but such as fail on all ranks.
    package func together<Value>(_ body: () throws -> Value) throws -> Value {
        guard !isAlone else { return try body() }
        let result = Result { try body() }
        // All of them have it already.
        if case .failure(let known as GangFailure) = result { throw known }
        let statuses = try gather(result.status)
        guard statuses.contains(where: { $0 != ExitStatus.done.rawValue }) else { return try result.get() }
        throw GangFailure(statuses, words: try gather(text: result.words), hosts: try gather(text: ownHostName))
    }

    /// How many of the ranks run on the same machine as this one, itself included.
    package func ranksOfThisMachine() throws -> Int {
        let own = ownHostName
        return try gather(text: own).count { $0 == own }
    }

    /// Throws (2) where ranks have been given something else: the same of all is what their work begins with.
    package func requireSame(_ what: String, _ value: String, remedy: String) throws {
        let values = try gather(text: value), hosts = try gather(text: ownHostName)
        guard let other = values.indices.first(where: { values[$0] != values[0] }) else { return }
        throw GangFailure(
            .usage,
            "rank \(other) on \(hosts[other]): found \(what) \(values[other]), expected \(values[0]), as rank 0 on "
                + "\(hosts[0]) has it. \(remedy)")
    }
}

/// What has failed on some ranks, known to all of them.
package struct GangFailure: ErrorWithStatus, CustomStringConvertible {
    package let status: ExitStatus
    package let description: String

    init(_ status: ExitStatus, _ description: String) { (self.status, self.description) = (status, description) }

    /// Of each rank: its exit code, 0 where it is well, what it has to say, and where it runs.
    init(_ statuses: [Int32], words: [String], hosts: [String]) {
        let failed = statuses.indices.filter { statuses[$0] != ExitStatus.done.rawValue }
        let first = failed.first ?? 0
        status = ExitStatus(rawValue: statuses[first]) ?? .invalidInput
        guard failed.count < statuses.count else {
            // No rank's own trouble.
            description = words[first]
            return
        }
        let others = failed.count > 1 ? ", and \(failed.count - 1) more" : ""
        description = "rank \(first) of \(statuses.count) on \(hosts[first])\(others): \(words[first])"
    }
}

extension Result where Failure == any Error {
    fileprivate var status: Int32 {
        switch self {
        case .success: ExitStatus.done.rawValue
        case .failure(let error): ExitStatus(of: error).rawValue
        }
    }

    fileprivate var words: String {
        switch self {
        case .success: ""
        case .failure(let error): "\(error)"
        }
    }
}

/// A process by itself.
package struct LoneProcess: Gang {
    package let rank = 0
    package let size = 1

    package init() {}

    package func gather(_ own: UnsafeRawBufferPointer, into all: UnsafeMutableRawBufferPointer) {
        all.copyMemory(from: own)
    }
    package func broadcast(_ bytes: UnsafeMutableRawBufferPointer, from root: Int) {}
    package func exchange(_ outgoing: [UnsafeRawBufferPointer], into incoming: UnsafeMutableRawBufferPointer) {
        if let own = outgoing.first { incoming.copyMemory(from: own) }
    }
    package func send(_ bytes: UnsafeRawBufferPointer, to rank: Int) {
        preconditionFailure("a process by itself has nobody to send to")
    }
    package func receive(_ bytes: UnsafeMutableRawBufferPointer, from rank: Int) {
        preconditionFailure("a process by itself has nobody to receive from")
    }
}
