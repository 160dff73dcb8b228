import Tokenizer

/// What tokens look like to a reader. Each is shown by itself: a piece of a character is shown as its bytes, ⟨E2 96⟩,
/// so that a token looks the same wherever it stands; what can't be seen or would turn the text around is shown by its
/// name.
package struct TokenText: Sendable {
    private let tokenizer: Tokenizer?

    /// nil: tokens are shown by their ids, ⟨#17⟩.
    package init(_ tokenizer: Tokenizer?) { self.tokenizer = tokenizer }

    package var knowsTexts: Bool { tokenizer != nil }

    /// One token.
    package func text(_ id: Int32) -> String {
        guard let tokenizer, tokenizer.isKnown(id) else { return "⟨#\(id)⟩" }
        return Self.visible(tokenizer.decodedBytes([id], skippingSpecialTokens: false))
    }

    /// A line break stays one, behind its sign: the text keeps its form.
    package static func visible(_ bytes: [UInt8]) -> String {
        var shown = "", rest = bytes[...]
        while !rest.isEmpty {
            let (scalars, length) = wellFormedPrefix(rest)
            for scalar in scalars { shown += visible(scalar) }
            rest = rest.dropFirst(length)
            let broken = rest.prefix(brokenLength(rest))
            if !broken.isEmpty { shown += "⟨" + broken.map(hexadecimal).joined(separator: " ") + "⟩" }
            rest = rest.dropFirst(broken.count)
        }
        return shown
    }

    /// A text that is well-formed already, such as a completion.
    package static func visible(_ text: String) -> String { text.unicodeScalars.map(visible).joined() }

    /// As a line of a table: line breaks by their sign alone.
    package static func oneLine(_ shown: String) -> String { shown.filter { $0 != "\n" } }

    // MARK: characters

    private static func visible(_ scalar: Unicode.Scalar) -> String {
        switch scalar.value {
        case 0x0a: "⏎\n"
        case 0x09: "⇥"
        case 0x00..<0x20: String(Unicode.Scalar(0x2400 + scalar.value) ?? scalar)
        case 0x7f: "␡"
        default: isHidden(scalar) ? "⟨U+\(String(scalar.value, radix: 16, uppercase: true))⟩" : String(scalar)
        }
    }

    /// Controls, marks of direction and what has no width. The joiner of emoji does something that can be seen.
    private static func isHidden(_ scalar: Unicode.Scalar) -> Bool {
        let zeroWidthJoiner: UInt32 = 0x200d
        guard scalar.value != zeroWidthJoiner else { return false }
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned: return true
        default: return false
        }
    }

    // MARK: UTF-8

    /// As many whole characters as there are, and their bytes.
    private static func wellFormedPrefix(_ bytes: ArraySlice<UInt8>) -> ([Unicode.Scalar], length: Int) {
        var decoder = UTF8(), iterator = bytes.makeIterator(), scalars: [Unicode.Scalar] = [], length = 0
        while case .scalarValue(let scalar) = decoder.decode(&iterator) {
            scalars.append(scalar)
            length += UTF8.width(scalar)
        }
        return (scalars, length)
    }

    /// How many bytes from here on are no character: as far as the next one that could begin one.
    private static func brokenLength(_ bytes: ArraySlice<UInt8>) -> Int {
        guard !bytes.isEmpty else { return 0 }
        let next = bytes.dropFirst().firstIndex { !UTF8.isContinuation($0) } ?? bytes.endIndex
        return next - bytes.startIndex
    }

    private static func hexadecimal(_ byte: UInt8) -> String {
        (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
    }
}
