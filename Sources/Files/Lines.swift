import Foundation

/// Calls `body` with each line of a text file (without its end) and its number, from 1. The last line may lack its end.
package func forEachLine(of path: String, _ body: (_ number: Int, _ line: Data) throws -> Void) throws {
    let file = try MappedFile(path: path)
    try withExtendedLifetime(file) {
        let bytes = file.bytes
        var start = 0, number = 0
        while start < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[start...])
            let length =
                memchr(rest.baseAddress!, 0x0a, rest.count).map { rest.baseAddress!.distance(to: UnsafeRawPointer($0)) }
                ?? rest.count
            number += 1
            let line = UnsafeRawBufferPointer(rebasing: rest[..<length])
            if line.contains(where: { $0 > 0x20 }) { try body(number, Data(line)) }
            start += length + 1
        }
    }
}
