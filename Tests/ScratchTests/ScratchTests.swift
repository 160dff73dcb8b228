import Foundation
import Scratch
import Testing

/// Lists that grow with a dump: what is read is what was written, whether they lie in memory or in a file.
@Suite struct ScratchTests {
    private static let folder = FileManager.default.temporaryDirectory.path
    static let spaces =
        [ScratchSpace.memory, ScratchSpace(folder: folder)]
        + [64, 1].map { ScratchSpace(folder: folder, mostInMemory: $0) }

    private struct Element: BitwiseCopyable, Equatable, Sendable {
        var number: Int32
        var share: Double
        var isOdd: Bool?

        init(_ index: Int) {
            (number, share, isOdd) = (Int32(index), Double(index) / 7, index % 5 == 0 ? nil : index % 2 == 1)
        }
    }

    @Test(arguments: spaces.indices, [0, 1, 2, 63, 64, 65, 1000, 20_000]) func whatIsWrittenIsRead(
        _ space: Int, _ count: Int
    ) throws {
        let space = Self.spaces[space], expected = (0..<count).map { Element($0) }
        var writer = ScratchWriter<Element>(space), wholesale = ScratchWriter<Element>(space)
        for element in expected { try writer.append(element) }
        try expected.withUnsafeBufferPointer { try wholesale.append(contentsOf: $0) }
        #expect(writer.count == count && wholesale.count == count)
        // Also before it is complete.
        for range in [0..<count, count / 3..<count, 0..<count / 2, count..<count] {
            #expect(try writer.read(range) == Array(expected[range]))
        }
        for list in [try writer.finish(), try wholesale.finish()] {
            #expect(list.count == count && list.elementsEqual(expected))
            space.releasePages(after: 1 << 20)
            #expect(list.elementsEqual(expected), "pages that were left come back")
            #expect(list.withElements(count / 2..<count) { Array($0) } == Array(expected[(count / 2)...]))
        }
    }

    @Test(arguments: spaces.indices) func tablesBeginWithZerosAndKeepWhatIsSet(_ space: Int) throws {
        let space = Self.spaces[space], table = try ScratchTable<Int64>(space, count: 30_000)
        #expect(table.array.allSatisfy { $0 == 0 })
        for index in stride(from: 29_999, through: 0, by: -7) { table[index] = Int64(index * index) }
        space.releasePages(after: 1 << 20)
        table.withMutableElements(100..<200) { $0[3] = -1 }
        for index in 0..<30_000 {
            #expect(table[index] == (index == 103 ? -1 : (29_999 - index) % 7 == 0 ? Int64(index * index) : 0))
        }
    }

    @Test(arguments: spaces.indices) func passesSeeEachOnceAndInOrder(_ space: Int) throws {
        let space = Self.spaces[space]
        var seen: [Int] = [], chunks: [Float] = []
        space.forEach(5..<20_005) { seen.append($0) }
        #expect(seen == Array(5..<20_005))
        let list = ScratchArray((0..<20_000).map { Float($0) })
        space.forEachChunk(of: list, 7..<19_000) { chunks += $0 }
        #expect(chunks == (7..<19_000).map { Float($0) })
    }

    @Test(arguments: spaces.indices, 1...3 as ClosedRange<UInt64>) func namesAreNumberedAsTheyFirstCome(
        _ space: Int, _ seed: UInt64
    ) throws {
        var book = try StringInterner(Self.spaces[space]), known: [String: Int32] = [:], order: [String] = [],
            state = seed
        for _ in 0..<5000 {
            state = state &* 6364136223846793005 &+ 1442695040888963407
            let number = Int(state >> 40) % 1500,
                name = number == 0 ? "" : String(repeating: "näme", count: number % 4) + "\(number)"
            if known[name] == nil {
                known[name] = Int32(order.count)
                order.append(name)
            }
            #expect(try book.number(of: name) == known[name])
        }
        #expect(book.count == order.count)
        let index = try book.finishIndex()
        #expect(index.names.elementsEqual(order))
        for (name, number) in known { #expect(index.number(of: name) == Int(number)) }
        #expect(index.number(of: "a name that nobody gave") == nil)
    }

    @Test func aFolderThatIsNotThereIsNamed() {
        let space = ScratchSpace(folder: "/nowhere/at/all", mostInMemory: 64)
        #expect {
            var writer = ScratchWriter<Int>(space)
            for number in 0..<100 { try writer.append(number) }
        } throws: {
            "\($0)".contains("/nowhere/at/all")
        }
        #expect(throws: IOError.self) { try ScratchTable<Int>(space, count: 100) }
    }

    /// A list in a file leaves nothing behind: no name, no mapping.
    @Test func filesHaveNoNames() throws {
        let folder = Self.folder + "/scratch-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var writer = ScratchWriter<Int>(ScratchSpace(folder: folder, mostInMemory: 64))
        for number in 0..<1000 { try writer.append(number) }
        let list = try writer.finish()
        #expect(list[999] == 999)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder).isEmpty)
    }
}
