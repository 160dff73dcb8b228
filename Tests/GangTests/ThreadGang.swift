import Foundation
import Gang
import StageSupport

/// A gang of threads of one process: what MPI does between processes, in plain memory.
final class ThreadGang: Gang, @unchecked Sendable {
    let rank: Int
    var size: Int { meeting.size }
    private let meeting: Meeting

    private init(_ rank: Int, _ meeting: Meeting) { (self.rank, self.meeting) = (rank, meeting) }

    /// What `body` makes on each rank, in the order of ranks.
    static func run<Value: Sendable>(_ size: Int, _ body: @Sendable (ThreadGang) throws -> Value) throws -> [Value] {
        let meeting = Meeting(size)
        return try allAtOnce(size) { try body(ThreadGang($0, meeting)) }
    }

    func gather(_ own: UnsafeRawBufferPointer, into all: UnsafeMutableRawBufferPointer) {
        all.copyBytes(from: meeting.meet(rank, [UInt8](own)).joined())
    }

    func broadcast(_ bytes: UnsafeMutableRawBufferPointer, from root: Int) {
        bytes.copyBytes(from: meeting.meet(rank, rank == root ? [UInt8](bytes) : [])[root])
    }

    func exchange(_ outgoing: [UnsafeRawBufferPointer], into incoming: UnsafeMutableRawBufferPointer) {
        let all = outgoing.map { meeting.meet(rank, [UInt8]($0)) }
        incoming.copyBytes(from: all[rank].joined())
    }

    func send(_ bytes: UnsafeRawBufferPointer, to rank: Int) { meeting.put([UInt8](bytes), from: self.rank, to: rank) }

    func receive(_ bytes: UnsafeMutableRawBufferPointer, from rank: Int) {
        bytes.copyBytes(from: meeting.take(from: rank, to: self.rank))
    }
}

/// Where threads hand over bytes.
private final class Meeting: @unchecked Sendable {
    private struct Way: Hashable {
        let from: Int
        let to: Int
    }

    let size: Int
    private let condition = NSCondition()
    private var brought: [Int: [UInt8]] = [:]
    private var seen: [[UInt8]] = []
    private var round = 0
    private var messages: [Way: [[UInt8]]] = [:]

    init(_ size: Int) { self.size = size }

    /// What each rank has brought, when all are there.
    func meet(_ rank: Int, _ bytes: [UInt8]) -> [[UInt8]] {
        condition.withLock {
            let own = round
            brought[rank] = bytes
            if brought.count == size {
                seen = (0..<size).map { brought[$0] ?? [] }
                brought = [:]
                round += 1
                condition.broadcast()
            }
            while round == own { condition.wait() }
            // The next round can't end before this thread has come to it.
            return seen
        }
    }

    func put(_ bytes: [UInt8], from: Int, to: Int) {
        condition.withLock {
            messages[Way(from: from, to: to), default: []].append(bytes)
            condition.broadcast()
        }
    }

    func take(from: Int, to: Int) -> [UInt8] {
        condition.withLock {
            while messages[Way(from: from, to: to), default: []].isEmpty { condition.wait() }
            return messages[Way(from: from, to: to), default: []].removeFirst()
        }
    }
}
