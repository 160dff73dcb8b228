import Gang
import StageSupport
import Tensors
import TestSupport
import Testing

@Suite struct GangTests {
    /// The values of a rank: large and small ones, so that the order of a sum shows in its last bits.
    private static func values(_ count: Int, rank: Int) -> [Float] {
        var random = SplitMix(seed: UInt64(rank + 1))
        return (0..<count).map { _ in (Float(random.next() % 2_000_001) - 1_000_000) * (rank == 1 ? 1e-7 : 1) }
    }

    @Test(arguments: [1, 2, 3, 7], [0, 1, 5, 7, 100, 1001]) func slicesCoverAllOnce(_ ranks: Int, _ count: Int) {
        let slices = Slices(of: count, ranks: ranks), all = (0..<ranks).map { slices[$0] }
        #expect(all.flatMap { Array($0) } == Array(0..<count))
        #expect(all.map(\.count).max() == slices.longest)
        #expect(slices.longest - (all.map(\.count).min() ?? 0) <= 1)
    }

    @Test func partsOfARangeLieInOneSliceEach() {
        let parts = Slices(of: 10, ranks: 3).parts(of: 2..<9, most: 2)
        // The slices are 0..<4, 4..<7, 7..<10.
        #expect(parts.map(\.range) == [2..<4, 4..<6, 6..<7, 7..<9])
        #expect(parts.map(\.owner) == [0, 1, 1, 2])
    }

    /// A piece has 4 Mi floats of all ranks together: the longer array takes several.
    @Test(arguments: [1, 2, 3, 4], [1, 5, 1000, 9_000_001]) func sumsAreOfAllRanksInTheirOrder(
        _ ranks: Int, _ count: Int
    ) throws {
        let terms = (0..<ranks).map { Self.values(count, rank: $0) }
        let sums = try ThreadGang.run(ranks) { gang in
            let buffer = Buffer(terms[gang.rank])
            try gang.sumSlices(buffer)
            return Array(buffer.array[Slices(of: count, ranks: ranks)[gang.rank]])
        }.flatMap { $0 }
        let expected = (0..<count).map { i in Float(terms.reduce(0.0) { $0 + Double($1[i]) }) }
        #expect(sums == expected)
    }

    @Test(arguments: [2, 3]) func everyRankGetsTheSlicesOfAll(_ ranks: Int) throws {
        let found = try ThreadGang.run(ranks) { gang in
            let buffer = Buffer((0..<11).map { _ in Float(gang.rank) })
            try gang.shareSlices(buffer)
            return buffer.array
        }
        let slices = Slices(of: 11, ranks: ranks)
        #expect(found == found.map { _ in (0..<ranks).flatMap { rank in slices[rank].map { _ in Float(rank) } } })
    }

    @Test func aRangeIsCollectedByRankZeroFromWhoeverHoldsIt() throws {
        let whole = (0..<10).map { Float($0) }
        let found = try ThreadGang.run(4) { gang in
            let array = SlicedArray(copying: Buffer(whole), rank: gang.rank, ranks: gang.size)
            var floats: [Float] = []
            try gang.collect(array, 1..<9) { floats += $0 }
            return floats
        }
        #expect(found == [Array(whole[1..<9]), [], [], []])
    }

    @Test func textsOfAnyLengthAreGathered() throws {
        let found = try ThreadGang.run(3) { try $0.gather(text: ["", "a", "größer"][$0.rank]) }
        #expect(found == [["", "a", "größer"], ["", "a", "größer"], ["", "a", "größer"]])
    }

    // MARK: errors

    private static func failure(_ body: () throws -> Void) -> GangFailure? {
        do { try body() } catch { return error as? GangFailure }
        return nil
    }

    /// Every rank ends with the same words and goes no further.
    @Test func whatFailsOnOneRankFailsOnAll() throws {
        let found = try ThreadGang.run(3) { gang in
            Self.failure {
                try gang.together { if gang.rank == 2 { throw StageError(.outputFailure, "the disk is full") } }
            }
        }
        #expect(found.allSatisfy { $0?.status == .outputFailure })
        #expect(Set(found.map { $0?.description }) == ["rank 2 of 3 on \(ownHostName): the disk is full"])
    }

    @Test func whatFailsOnAllRanksIsNoRanksOwnTrouble() throws {
        let found = try ThreadGang.run(2) { gang in
            Self.failure { try gang.together { throw StageError(.nothingToLearn, "the plan has no rows") } }
        }
        #expect(found.map { $0?.description } == ["the plan has no rows", "the plan has no rows"])
        #expect(found.map { $0?.status } == [.nothingToLearn, .nothingToLearn])
    }

    /// A failure that all know is passed on without being told again.
    @Test func aFailureWithinAFailureIsToldOnce() throws {
        let found = try ThreadGang.run(2) { gang in
            Self.failure {
                try gang.together {
                    try gang.together { if gang.rank == 1 { throw StageError(.interrupted, "stopped") } }
                }
            }
        }
        #expect(Set(found.map { $0?.description }) == ["rank 1 of 2 on \(ownHostName): stopped"])
    }

    @Test func otherThreadsOnARankAreRefused() throws {
        let found = try ThreadGang.run(2) { gang in
            Self.failure { try gang.requireSame("threads", "\(4 - gang.rank)", remedy: "Give --threads.") }
        }
        #expect(
            Set(found.map { $0?.description })
                == [
                    "rank 1 on \(ownHostName): found threads 3, expected 4, as rank 0 on \(ownHostName) has it. "
                        + "Give --threads."
                ])
    }

    @Test func aProcessByItselfKeepsItsOwnErrors() {
        let error = #expect(throws: StageError.self) {
            try LoneProcess().together { throw StageError(.usage, "own") }
        }
        #expect(error?.description == "own")
    }

    @Test func withoutAPlugInItSaysWhatToDo() {
        let error = #expect(throws: StageError.self) {
            try MessagePassing.join(environment: ["CRUX_MPI": "/nowhere/libcrux-mpi.so"])
        }
        #expect(error?.status == .usage)
        #expect(
            error?.description
                == "--mpi: found no /nowhere/libcrux-mpi.so, expected the plug-in for this machine's MPI. Build it (make mpi), "
                + "name it (CRUX_MPI=PATH), or leave --mpi out.")
    }
}
