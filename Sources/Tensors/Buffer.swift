import Glibc

/// Shape legend of this room: T tokens of a batch (all sequences of a micro-batch, shared prefixes once), C hidden
/// width, F feed-forward width, H query heads, K key/value heads, D head width, V vocabulary, S keys that a token can
/// see. Everything is float32, row-major; reductions longer than a row block accumulate in Double.
///
/// Accumulation rule: a parameter gradient is always added to (`+=`), an activation gradient is overwritten (`=`)
/// except on the residual stream and where a doc comment says `+=`.

/// Owned float storage, zero-initialised unless told otherwise. A class, so that large arrays are never copied by
/// accident.
///
/// `@unchecked Sendable`: parallel loops write disjoint ranges; whoever shares a range is at fault.
package final class Buffer: @unchecked Sendable {
    package let pointer: UnsafeMutablePointer<Float>
    package let count: Int
    private let origin: Origin

    /// Where the memory comes from, which says how it goes.
    private enum Origin {
        case allocated
        /// Pages of its own.
        case mapped
        case part(of: Buffer)
    }

    private init(_ pointer: UnsafeMutablePointer<Float>, _ count: Int, _ origin: Origin) {
        (self.pointer, self.count, self.origin) = (pointer, count, origin)
    }

    package convenience init(_ count: Int) {
        if let fresh = Self.fresh(count) {
            self.init(fresh, count, .mapped)
        } else {
            self.init(uninitialized: count)
            pointer.initialize(repeating: 0, count: count)
        }
    }

    /// For what is written whole before it is read.
    package convenience init(uninitialized count: Int) {
        precondition(count >= 0, "a buffer of \(count) floats was asked for")
        let bytes = Self.bytes(count), isLarge = Self.isLarge(bytes)
        let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: isLarge ? Self.hugePage : 64)
        if isLarge { Self.preferHugePages(memory, bytes) }
        self.init(memory.assumingMemoryBound(to: Float.self), count, .allocated)
    }

    /// Zeros straight from the system, nil where that doesn't pay: pages come when they are first written, by the
    /// threads that write them. Setting them to zero here would take as long as the system needs to clear each page,
    /// on one thread.
    private static func fresh(_ count: Int) -> UnsafeMutablePointer<Float>? {
        let bytes = bytes(count)
        guard isLarge(bytes) else { return nil }
        // As much more as an even start may cost.
        let memory = mmap(nil, bytes + hugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let memory, memory != MAP_FAILED else { return nil }
        let excess = (hugePage - Int(bitPattern: memory) % hugePage) % hugePage, start = memory + excess
        if excess > 0 { munmap(memory, excess) }
        munmap(start + mappedBytes(count), hugePage - excess)
        preferHugePages(start, bytes)
        return start.assumingMemoryBound(to: Float.self)
    }

    /// Whole pages.
    private static func mappedBytes(_ count: Int) -> Int { (bytes(count) + 4095) / 4096 * 4096 }
    private static func bytes(_ count: Int) -> Int { max(64, count * 4) }

    /// Fewer page faults, and fewer misses on the way from an address to its page. Only advice.
    private static func preferHugePages(_ memory: UnsafeMutableRawPointer, _ bytes: Int) {
        _ = madvise(memory, bytes / hugePage * hugePage, MADV_HUGEPAGE)
    }

    /// Of no floats: where an array isn't needed.
    package static let none = Buffer(uninitialized: 0)

    private static let hugePage = 2 << 20
    private static func isLarge(_ bytes: Int) -> Bool { bytes >= 2 * hugePage }

    /// `count` floats of another buffer from `start` on; keeps it alive.
    package convenience init(part start: Int, count: Int, of owner: Buffer) {
        precondition(
            start >= 0 && start + count <= owner.count, "\(count) floats from \(start) on of a buffer of \(owner.count)"
        )
        self.init(owner.pointer + start, count, .part(of: owner))
    }

    package convenience init(_ values: [Float]) {
        self.init(values.count)
        values.withUnsafeBufferPointer {
            if let base = $0.baseAddress { pointer.update(from: base, count: values.count) }
        }
    }

    deinit {
        switch origin {
        case .allocated: pointer.deallocate()
        case .mapped: munmap(pointer, Self.mappedBytes(count))
        case .part: break
        }
    }

    /// Gives the pages back to the system until they are written again; what stood in them is lost.
    package func discard() {
        let bytes = count * 4 / Self.hugePage * Self.hugePage
        // Smaller ones don't begin with a page.
        if case .part = origin { return }
        guard Self.isLarge(count * 4) else { return }
        _ = madvise(pointer, bytes, MADV_DONTNEED)
    }

    package func zero() { pointer.update(repeating: 0, count: count) }

    /// The whole buffer seen as [rows, count / rows].
    package func matrix(rows: Int) -> Matrix {
        precondition(rows == 0 || count % rows == 0, "\(count) floats as a matrix of \(rows) rows")
        return Matrix(pointer, rows: rows, columns: rows == 0 ? 0 : count / rows)
    }

    /// Of its beginning.
    package func matrix(rows: Int, columns: Int) -> Matrix {
        precondition(rows * columns <= count, "\(count) floats as a matrix of \(rows) by \(columns)")
        return Matrix(pointer, rows: rows, columns: columns)
    }

    package var array: [Float] { Array(UnsafeBufferPointer(start: pointer, count: count)) }
}

/// A view of [rows, columns] floats, row-major, `stride` floats from one row to the next. Does not own its memory.
package struct Matrix: @unchecked Sendable {
    package let base: UnsafeMutablePointer<Float>
    package let rows: Int
    package let columns: Int
    package let stride: Int

    package init(_ base: UnsafeMutablePointer<Float>, rows: Int, columns: Int, stride: Int? = nil) {
        self.base = base
        self.rows = rows
        self.columns = columns
        self.stride = stride ?? columns
    }

    package func row(_ index: Int) -> UnsafeMutablePointer<Float> { base + index * stride }

    /// Rows `range` of this view.
    package subscript(rows range: Range<Int>) -> Matrix {
        precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(rows)")
        return Matrix(base + range.lowerBound * stride, rows: range.count, columns: columns, stride: stride)
    }

    /// A copy with rows and columns changed over.
    func transposed() -> Buffer {
        let copy = Buffer(uninitialized: rows * columns)
        for row in 0..<rows {
            for column in 0..<columns { copy.pointer[column * rows + row] = self.row(row)[column] }
        }
        return copy
    }

    /// Columns `range` of this view, all rows: one attention head of [T, H·D], for example.
    package subscript(columns range: Range<Int>) -> Matrix {
        precondition(range.lowerBound >= 0 && range.upperBound <= columns, "columns \(range) of \(columns)")
        return Matrix(base + range.lowerBound, rows: rows, columns: range.count, stride: stride)
    }
}
