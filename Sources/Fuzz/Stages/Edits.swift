/// Changes of files that the fuzzer's bytes describe: what mutated bytes of a compressed or checked file don't reach,
/// valid files with wrong values do.
struct Edits {
    private var bytes: ArraySlice<UInt8>
    /// An execution stays short.
    private static let most = 32

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = ArraySlice(bytes) }

    private enum Kind: UInt8, CaseIterable {
        case byte, integer, long, float, double, copy, truncate, repeated, remove, exchange, number, word
    }

    /// Applies all of them to `files`, contents by name. A file that is removed is nil.
    mutating func apply(to files: inout [String: [UInt8]]) {
        let names = files.keys.sorted()
        for _ in 0..<Self.most where !bytes.isEmpty && !names.isEmpty {
            apply(kind(), to: names[natural(below: names.count)], &files, others: names)
        }
    }

    private mutating func apply(
        _ kind: Kind, to name: String, _ files: inout [String: [UInt8]], others: [String]
    ) {
        guard var file = files[name], !file.isEmpty else { return }
        switch kind {
        case .byte: file[place(in: file)] = next()
        case .integer: write(Self.integers[natural(below: Self.integers.count)], bytes: 4, into: &file)
        case .long: write(Self.integers[natural(below: Self.integers.count)], bytes: 8, into: &file)
        case .float: write(UInt64(Self.floats[natural(below: Self.floats.count)].bitPattern), bytes: 4, into: &file)
        case .double: write(Double(Self.floats[natural(below: Self.floats.count)]).bitPattern, bytes: 8, into: &file)
        case .copy:
            let from = place(in: file), to = place(in: file)
            let count = min(1 + Int(next()), file.count - max(from, to))
            file.replaceSubrange(to..<to + count, with: Array(file[from..<from + count]))
        case .truncate: file.removeSubrange(place(in: file)...)
        case .repeated:
            let from = place(in: file), count = min(1 + Int(next()), file.count - from)
            file.insert(contentsOf: Array(file[from..<from + count]), at: from)
        case .remove:
            files[name] = nil
            return
        case .exchange:
            files[name] = files[others[natural(below: others.count)]] ?? file
            return
        case .number: replace(&file, Self.numbers) { (0x30...0x39).contains($0) || $0 == 0x2d || $0 == 0x2e }
        case .word: replace(&file, Self.words) { $0 != 0x22 && $0 >= 0x20 }
        }
        files[name] = file
    }

    /// Replaces the run of such bytes that begins at or behind a place.
    private mutating func replace(_ file: inout [UInt8], _ texts: [String], isPart: (UInt8) -> Bool) {
        let start = place(in: file), text = texts[natural(below: texts.count)]
        guard let begin = file[start...].firstIndex(where: isPart) else { return }
        let end = file[begin...].firstIndex { !isPart($0) } ?? file.count
        file.replaceSubrange(begin..<end, with: Array(text.utf8))
    }

    private mutating func write(_ value: UInt64, bytes count: Int, into file: inout [UInt8]) {
        let start = place(in: file) & ~(count - 1)
        for index in 0..<min(count, file.count - start) {
            file[start + index] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(index)))
        }
    }

    private mutating func kind() -> Kind { Kind.allCases[natural(below: Kind.allCases.count)] }

    private mutating func place(in file: [UInt8]) -> Int {
        (Int(next()) | Int(next()) << 8 | Int(next()) << 16) % file.count
    }

    private mutating func natural(below limit: Int) -> Int { Int(next()) % limit }

    private mutating func next() -> UInt8 { bytes.popFirst() ?? 0 }

    private static let integers: [UInt64] = [
        0, 1, 2, 3, 7, 8, 16, 100, 255, 256, 65_535, 65_536, 1 << 24, 1 << 30, 1 << 31 - 1, 1 << 31, 1 << 32 - 1,
        1 << 32, 1 << 53, 1 << 62, 1 << 63 - 1, 1 << 63, .max, .max - 1,
    ]
    private static let floats: [Float] = [
        0, -0.0, 1, -1, 0.5, 1e-6, 1e-45, 1e38, -1e38, .infinity, -.infinity, .nan, 88, -200, 3.4e38, 1e10,
    ]
    private static let numbers = [
        "0", "-1", "1", "2", "3", "7", "1e400", "-0.0", "9223372036854775807", "9223372036854775808", "4294967296",
        "1e18", "0.5", "1e-320", "1000000000000", "\"1\"", "null", "true", "[]", "{}", "NaN", "65536",
    ]
    private static let words = [
        "", "..", "../../etc/passwd", "/dev/zero", "/proc/self/mem", "a", "qwen3", "llama", "gemma3_text", "lora",
        "f64", "BF16", "F16", "ppo_clip", "\u{0}", "日本", "manifest.json", ".", "/", "nan", "-inf",
        "model.embed_tokens.weight",
        "stop", "length",
    ]
}
