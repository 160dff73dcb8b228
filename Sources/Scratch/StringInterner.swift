import Foundation

/// Names by number.
package struct InternedStrings: RandomAccessCollection, Sendable {
    private let text: ScratchArray<UInt8>
    private let ends: ScratchArray<Int>

    fileprivate init(_ text: ScratchArray<UInt8>, _ ends: ScratchArray<Int>) { (self.text, self.ends) = (text, ends) }

    /// In memory.
    package init(_ names: some Sequence<String>) {
        var text: [UInt8] = [], ends: [Int] = []
        for name in names {
            text += Array(name.utf8)
            ends.append(text.count)
        }
        (self.text, self.ends) = (ScratchArray(text), ScratchArray(ends))
    }

    package var startIndex: Int { 0 }
    package var endIndex: Int { ends.count }

    package subscript(number: Int) -> String {
        text.withElements(range(number)) { String(decoding: $0, as: UTF8.self) }
    }

    /// Whether a number's name has these bytes.
    fileprivate func isName(_ number: Int, _ utf8: UnsafeBufferPointer<UInt8>) -> Bool {
        text.withElements(range(number)) { $0.elementsEqual(utf8) }
    }

    private func range(_ number: Int) -> Range<Int> { (number == 0 ? 0 : ends[number - 1])..<ends[number] }
}

/// Numbers names in the order in which they first come.
package struct StringInterner {
    private var text: ScratchWriter<UInt8>
    private var ends: ScratchWriter<Int>
    /// By hash: its upper half and the number of the name behind it; 0 is free.
    private var slots: ScratchTable<UInt64>
    private let space: ScratchSpace

    package init(_ space: ScratchSpace) throws {
        (self.space, text, ends) = (space, ScratchWriter(space), ScratchWriter(space))
        slots = try ScratchTable(space, count: 16)
    }

    package var count: Int { ends.count }

    package mutating func number(of name: String) throws -> Int32 {
        var name = name
        return try name.withUTF8 { try number(of: UnsafeRawBufferPointer($0)) }
    }

    /// A name that is new gets the next one.
    package mutating func number(of name: UnsafeRawBufferPointer) throws -> Int32 {
        let hash = StringIndex.hash(name)
        var place = self.place(hash)
        while slots[place] != 0 {
            let number = Int(slots[place] & 0xffff_ffff) - 1
            if slots[place] >> 32 == hash >> 32, try isName(number, name) { return Int32(number) }
            place = (place + 1) & (slots.count - 1)
        }
        slots[place] = hash & ~0xffff_ffff | UInt64(count + 1)
        try name.withMemoryRebound(to: UInt8.self) { try text.append(contentsOf: $0) }
        try ends.append(text.count)
        if 4 * count > 3 * slots.count { try grow() }
        return Int32(count - 1)
    }

    private func place(_ hash: UInt64) -> Int { StringIndex.place(hash, slots.count) }

    private mutating func isName(_ number: Int, _ name: UnsafeRawBufferPointer) throws -> Bool {
        let range = try ends.withElements(max(0, number - 1)..<number + 1) {
            (number == 0 ? 0 : $0[0])..<$0[$0.count - 1]
        }
        return try range.count == name.count
            && text.withElements(range) { name.elementsEqual(UnsafeRawBufferPointer($0)) }
    }

    private mutating func grow() throws {
        let old = slots.array
        slots = try ScratchTable(space, count: 2 * old.count)
        for slot in old where slot != 0 {
            var place = self.place(slot)
            while slots[place] != 0 { place = (place + 1) & (slots.count - 1) }
            slots[place] = slot
        }
    }

    /// The names; no other can be added after it.
    package mutating func finish() throws -> InternedStrings { InternedStrings(try text.finish(), try ends.finish()) }

    /// The names and their numbers; no other can be added after it.
    package mutating func finishIndex() throws -> StringIndex { StringIndex(try finish(), slots.array) }
}

/// Names by number, and numbers by name.
package struct StringIndex: Sendable {
    package let names: InternedStrings
    /// As the interner left them.
    private let slots: ScratchArray<UInt64>

    fileprivate init(_ names: InternedStrings, _ slots: ScratchArray<UInt64>) {
        (self.names, self.slots) = (names, slots)
    }

    package var count: Int { names.count }

    /// nil for a name that isn't there.
    package func number(of name: String) -> Int? {
        var name = name
        return name.withUTF8 { utf8 in
            let hash = Self.hash(UnsafeRawBufferPointer(utf8))
            var place = Self.place(hash, slots.count)
            while slots[place] != 0 {
                let number = Int(slots[place] & 0xffff_ffff) - 1
                if slots[place] >> 32 == hash >> 32, names.isName(number, utf8) { return number }
                place = (place + 1) & (slots.count - 1)
            }
            return nil
        }
    }

    fileprivate static func place(_ hash: UInt64, _ slots: Int) -> Int { Int(hash >> 32) & (slots - 1) }

    fileprivate static func hash(_ name: UnsafeRawBufferPointer) -> UInt64 {
        var hasher = Hasher()
        hasher.combine(bytes: name)
        return UInt64(bitPattern: Int64(hasher.finalize()))
    }
}
