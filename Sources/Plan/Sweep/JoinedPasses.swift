import Foundation
import StageSupport

/// Passes of several plans over one dump, made together. A pass begins when every plan that isn't done has asked for
/// one, and within it none gets ahead of the others by more than the pieces that it has in hand: what one reads is in
/// memory for all, and the dump goes by as often as for one plan.
final class JoinedPasses: @unchecked Sendable {
    /// Where a plan stands.
    private enum Standing {
        /// It works on what it has read.
        case between
        /// It has asked for the next pass.
        case waiting
        /// It has done this share of the pass.
        case inside(share: Double)
        case done
    }

    /// One of the plans was stopped because another one failed.
    struct Stopped: Error {}

    private let condition = NSCondition()
    private var plans: [Standing]
    private var isStopped = false
    /// Threads of each plan.
    fileprivate let threads: Int
    private var begun = 0

    init(plans: Int, threads: Int) {
        self.plans = [Standing](repeating: .between, count: plans)
        self.threads = max(1, threads / max(1, plans))
    }

    /// How many there were.
    var count: Int { condition.withLock { begun } }

    /// What a plan makes its passes with. `finish` says that it needs no more.
    func passes(of plan: Int) -> some Passes { JoinedPlan(joined: self, number: plan) }

    func finish(_ plan: Int, hasFailed: Bool) {
        condition.withLock {
            plans[plan] = .done
            isStopped = isStopped || hasFailed
            beginIfAllWait()
            condition.broadcast()
        }
    }

    fileprivate func enter(_ plan: Int) throws {
        try condition.withLock {
            plans[plan] = .waiting
            beginIfAllWait()
            while case .waiting = plans[plan] {
                if isStopped { throw Stopped() }
                condition.wait()
            }
        }
    }

    private func beginIfAllWait() {
        let open = plans.indices.filter { if case .done = plans[$0] { false } else { true } }
        let areReady = open.allSatisfy { if case .waiting = plans[$0] { true } else { false } }
        guard areReady, !open.isEmpty else { return }
        for plan in open { plans[plan] = .inside(share: 0) }
        begun += 1
        condition.broadcast()
    }

    fileprivate func leave(_ plan: Int) {
        condition.withLock {
            plans[plan] = .between
            condition.broadcast()
        }
    }

    /// Until the others have come as far. The last of them never waits.
    fileprivate func wait(_ plan: Int, piece: Int, of count: Int) throws {
        // Pieces that its other threads are at.
        let share = Double(piece - (threads - 1)) / Double(count)
        try condition.withLock {
            while share > leastShare {
                if isStopped { throw Stopped() }
                condition.wait()
            }
        }
    }

    private var leastShare: Double {
        plans.reduce(1) { least, plan in
            guard case .inside(let share) = plan else { return least }
            return min(least, share)
        }
    }

    fileprivate func advance(_ plan: Int, to piece: Int, of count: Int) {
        condition.withLock {
            plans[plan] = .inside(share: Double(piece) / Double(count))
            condition.broadcast()
        }
    }
}

private struct JoinedPlan: Passes {
    let joined: JoinedPasses
    let number: Int

    func inOrder<Value: Sendable>(
        _ count: Int, _ produce: @Sendable (Int) throws -> Value, _ consume: (Int, Value) throws -> Void
    ) throws {
        guard count > 0 else { return }
        try joined.enter(number)
        defer { joined.leave(number) }
        try parallelInOrder(count, threads: joined.threads) { index in
            try joined.wait(number, piece: index, of: count)
            return try produce(index)
        } consume: { index, value in
            try consume(index, value)
            joined.advance(number, to: index + 1, of: count)
        }
    }
}
