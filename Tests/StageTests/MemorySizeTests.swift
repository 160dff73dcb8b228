import Foundation
import StageSupport
import TestSupport
import Testing

@Suite struct MemorySizeTests {
    @Test(arguments: [("8G", 8 << 30), ("512M", 512 << 20), ("1.5g", 3 << 29), ("64K", 64 << 10)])
    func sizesAreReadAsPeopleWriteThem(_ text: String, _ bytes: Int) {
        #expect(MemorySize(argument: text) == MemorySize(bytes: bytes))
    }

    @Test(arguments: ["8", "G", "-1G", "0M", "8 GB", "nanG", "1e30G", ""]) func whatIsNoSizeIsRefused(_ text: String) {
        #expect(MemorySize(argument: text) == nil)
    }

    @Test func thePeakIsReadHoweverLongItIs() {
        #expect(ProcessMemory.peak(status: "Name:\tx\nVmHWM:\t 9543210 kB\nVmRSS:\t 1 kB\n") == 9_543_210 << 10)
        #expect(ProcessMemory.peak(status: "VmHWM:\t11543210 kB\n") == 11_543_210 << 10)
        #expect(ProcessMemory.peak() > 1 << 20)
    }

    @Test func aControlGroupsLimitCounts() throws {
        let folder = try TemporaryDirectory(), machine = Int(ProcessInfo.processInfo.physicalMemory)
        try FileManager.default.createDirectory(atPath: folder("outer/inner"), withIntermediateDirectories: true)
        try FileManager.default.createDirectory(atPath: folder("memory/job"), withIntermediateDirectories: true)
        func limit(_ membership: String) throws -> Int {
            try membership.write(toFile: folder("membership"), atomically: true, encoding: .utf8)
            return ProcessMemory.limit(controlGroups: folder.path, membership: folder("membership"))
        }
        try "max\n".write(toFile: folder("outer/inner/memory.max"), atomically: true, encoding: .utf8)
        #expect(try limit("0::/outer/inner\n") == machine)
        // The group above binds those below it.
        try "1048576\n".write(toFile: folder("outer/memory.max"), atomically: true, encoding: .utf8)
        #expect(try limit("0::/outer/inner\n") == 1 << 20)
        // Version 1; other controllers' groups don't matter.
        try "2097152\n".write(toFile: folder("memory/job/memory.limit_in_bytes"), atomically: true, encoding: .utf8)
        #expect(try limit("5:cpu:/outer\n4:memory,hugetlb:/job\n") == 2 << 20)
        #expect(try limit("5:cpu:/outer\n") == machine)
    }
}
