import Tensors

/// A flat array cut into one stretch for each rank, as even as can be.
package struct Slices: Equatable, Sendable {
    package let count: Int
    package let ranks: Int

    package init(of count: Int, ranks: Int) { (self.count, self.ranks) = (count, ranks) }

    package subscript(rank: Int) -> Range<Int> { start(rank)..<start(rank + 1) }

    /// Elements of the longest one.
    package var longest: Int { (count + ranks - 1) / ranks }

    private func start(_ rank: Int) -> Int {
        // The first `count % ranks` slices have one more.
        rank * (count / ranks) + min(rank, count % ranks)
    }

    /// `range` in the parts that lie in one slice each and are no longer than `most`, in order.
    package func parts(of range: Range<Int>, most: Int) -> [(owner: Int, range: Range<Int>)] {
        (0..<ranks).flatMap { owner in
            let own = self[owner].clamped(to: range)
            return stride(from: own.lowerBound, to: own.upperBound, by: most).map {
                (owner, $0..<min($0 + most, own.upperBound))
            }
        }
    }
}

/// What a rank holds of an array of floats that the gang has in slices.
package struct SlicedArray: Sendable {
    package let slices: Slices
    /// Of the whole array.
    package let range: Range<Int>
    /// The floats of `range`.
    package let own: Buffer

    /// Zeros.
    package init(_ slices: Slices, rank: Int) {
        (self.slices, range, own) = (slices, slices[rank], Buffer(slices[rank].count))
    }

    /// This rank's slice of an array that it has whole.
    package init(copying whole: Buffer, rank: Int, ranks: Int) {
        slices = Slices(of: whole.count, ranks: ranks)
        range = slices[rank]
        own = Buffer(uninitialized: range.count)
        own.pointer.update(from: whole.pointer + range.lowerBound, count: range.count)
    }

    /// The float that has this place in the whole array, and those behind it.
    package func pointer(at place: Int) -> UnsafeMutablePointer<Float> {
        precondition(range.lowerBound <= place && place <= range.upperBound, "float \(place) of a slice \(range)")
        return own.pointer + (place - range.lowerBound)
    }
}

/// What ranks that exchange arrays need beside them.
package enum ExchangeRoom {
    /// Floats that a rank takes in at a time, of all ranks together.
    package static let floats = 4 << 20
    /// Those of `sumSlices`, and their sums, which are wider: of two ranks half as many as floats, of more fewer.
    package static let bytes = floats * MemoryLayout<Float>.size + floats / 2 * MemoryLayout<Double>.size
}

extension Gang {
    /// Puts into this rank's slice of `values` the sum over the ranks of what they have there. Each
    /// element is summed in the order of ranks in Double and rounded once: the same number of ranks gives the same
    /// bytes. What stands in the other slices stays as it is.
    package func sumSlices(_ values: Buffer) throws {
        guard !isAlone else { return }
        let slices = Slices(of: values.count, ranks: size)
        let piece = max(1, min(ExchangeRoom.floats / size, slices.longest))
        var incoming = [Float](repeating: 0, count: size * piece), sums = [Double](repeating: 0, count: piece)
        for offset in stride(from: 0, to: slices.longest, by: piece) {
            let parts = (0..<size).map { slices[$0].dropFirst(offset).prefix(piece) }, mine = parts[rank]
            try incoming.withUnsafeMutableBytes { incoming in
                try exchange(
                    parts.map { UnsafeRawBufferPointer(start: values.pointer + $0.lowerBound, count: 4 * $0.count) },
                    into: UnsafeMutableRawBufferPointer(rebasing: incoming[..<(4 * size * mine.count)]))
            }
            add(incoming, &sums, into: values.pointer + mine.lowerBound, count: mine.count)
        }
    }

    /// Σ over the ranks of `terms` [size, count].
    private func add(
        _ terms: [Float], _ sums: inout [Double], into target: UnsafeMutablePointer<Float>, count: Int
    ) {
        terms.withUnsafeBufferPointer { terms in
            sums.withUnsafeMutableBufferPointer { sums in
                for i in 0..<count { sums[i] = Double(terms[i]) }
                for rank in 1..<size { for i in 0..<count { sums[i] += Double(terms[rank * count + i]) } }
                for i in 0..<count { target[i] = Float(sums[i]) }
            }
        }
    }

    /// Every rank's slice of `values`, on every rank.
    package func shareSlices(_ values: Buffer) throws {
        guard !isAlone else { return }
        let slices = Slices(of: values.count, ranks: size)
        for owner in 0..<size {
            let range = slices[owner]
            try broadcast(
                UnsafeMutableRawBufferPointer(start: values.pointer + range.lowerBound, count: 4 * range.count),
                from: owner)
        }
    }

    /// Calls `body` on rank 0 with the floats of `range` in order, in pieces that come from whoever holds them: rank 0
    /// needs room for one piece.
    package func collect(
        _ array: SlicedArray, _ range: Range<Int>, _ body: (UnsafeBufferPointer<Float>) throws -> Void
    ) throws {
        try collect(array.slices, range) { part, take in
            try take(UnsafeRawBufferPointer(start: array.pointer(at: part.lowerBound), count: 4 * part.count))
        } body: {
            try body($0.assumingMemoryBound(to: Float.self))
        }
    }

    /// The same of floats that needn't lie in memory: `hand` brings the bytes of a part of this rank's slice, all at
    /// once.
    package func collect(
        _ slices: Slices, _ range: Range<Int>,
        hand: (_ part: Range<Int>, _ take: (UnsafeRawBufferPointer) throws -> Void) throws -> Void,
        body: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        var room: [Float] = []
        for (owner, part) in slices.parts(of: range, most: ExchangeRoom.floats) {
            switch (owner == rank, leads) {
            case (true, true): try withoutActuallyEscaping(body) { try hand(part, $0) }
            case (true, false):
                try hand(part) { bytes in
                    precondition(bytes.count == 4 * part.count, "\(bytes.count) bytes of floats \(part)")
                    try send(bytes, to: 0)
                }
            case (false, true):
                if room.count < part.count { room = [Float](repeating: 0, count: part.count) }
                try room.withUnsafeMutableBytes { room in
                    let piece = UnsafeMutableRawBufferPointer(rebasing: room[..<(4 * part.count)])
                    try receive(piece, from: owner)
                    try body(UnsafeRawBufferPointer(piece))
                }
            case (false, false): break
            }
        }
    }
}
