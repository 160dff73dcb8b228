import Dispatch
import Foundation
import Tensors
import Testing

/// The threads that share short pieces of work.
@Suite struct ThreadTeamTests {
    /// How often each index was called.
    private func calls(_ count: Int, threads: Int) -> [Float] {
        let buffer = Buffer(count)
        Compute(threads: threads).forEach(count) { buffer.pointer[$0] += Float($0 + 1) }
        return buffer.array
    }

    private func expected(_ count: Int) -> [Float] { (0..<count).map { Float($0 + 1) } }

    @Test func everyIndexIsCalledOnceForAnyNumberOfThreads() {
        for threads in [1, 2, 3, 8, 33] {
            for count in [0, 1, 2, 3, 31, 32, 33, 1000] {
                #expect(calls(count, threads: threads) == expected(count), "\(count) on \(threads)")
            }
        }
    }

    /// Again and again, with pauses in which members fall asleep and without.
    @Test func membersWakeForEveryPieceOfWork() {
        for round in 0..<3000 {
            if round.isMultiple(of: 500) { usleep(2000) }
            #expect(calls(5, threads: 3) == expected(5))
        }
    }

    /// The team has one caller at a time: others go on without it.
    @Test func callersAtOnceAndWithinEachOtherAreServed() {
        let sums = Buffer(64)
        DispatchQueue.concurrentPerform(iterations: 64) { caller in
            Compute(threads: 2).forEach(10) { outer in
                let inner = calls(20, threads: 4)
                if outer == 9, inner == expected(20) { sums.pointer[caller] = 1 }
            }
        }
        #expect(sums.array == [Float](repeating: 1, count: 64))
    }
}
