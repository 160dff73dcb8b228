import Foundation
import TestSupport
import Testing
import Tokenizer

/// Unicode's own NormalizationTest.txt (15.0.0), whose lines lie in fixtures/normalization.txt; see
/// conformance/make_normalization_tables.py. A form that a line leaves out is the one it mostly equals.
@Suite struct NormalizationTests {
    private struct Line {
        let source: [UInt32]
        let forms: [NormalizationForm: [UInt32]]

        init(_ text: Substring) {
            let fields = text.split(separator: ";", omittingEmptySubsequences: false).map { field in
                field.split(separator: " ").compactMap { UInt32($0, radix: 16) }
            }
            func field(_ index: Int, else other: [UInt32]) -> [UInt32] {
                index < fields.count && !fields[index].isEmpty ? fields[index] : other
            }
            source = fields[0]
            let nfc = field(1, else: source), nfd = field(2, else: nfc)
            forms = [.nfc: nfc, .nfd: nfd, .nfkc: field(3, else: nfc), .nfkd: field(4, else: nfd)]
        }
    }

    private func lines() throws -> [Line] {
        try String(contentsOfFile: fixture("normalization.txt"), encoding: .utf8).split(separator: "\n").map(Line.init)
    }

    private func text(_ scalars: [UInt32]) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars.compactMap(Unicode.Scalar.init))
        return String(view)
    }

    private func scalars(_ text: String) -> [UInt32] { text.unicodeScalars.map(\.value) }

    /// The file's five rules for each line: NFC(c1) = NFC(c2) = NFC(c3) = c2, NFC(c4) = NFC(c5) = c4, and so on.
    @Test func everyLineOfUnicodesTestFile() throws {
        let lines = try lines()
        #expect(lines.count == 7902)
        var wrong = 0
        for line in lines {
            let composed = line.forms[.nfc] ?? [], decomposed = line.forms[.nfd] ?? []
            let compatible = line.forms[.nfkc] ?? [], compatibleParts = line.forms[.nfkd] ?? []
            for form in NormalizationForm.allCases {
                let isCompatible = form == .nfkc || form == .nfkd
                for source in [line.source, composed, decomposed] {
                    wrong += scalars(form.apply(text(source))) == line.forms[form] ?? [] ? 0 : 1
                }
                for source in [compatible, compatibleParts] {
                    let wanted = isCompatible ? line.forms[form] : form == .nfc ? compatible : compatibleParts
                    wrong += scalars(form.apply(text(source))) == wanted ?? [] ? 0 : 1
                }
            }
        }
        #expect(wrong == 0, "of \(lines.count * 20)")
    }

    /// Part 1 of the file also says: what it doesn't list is left alone by every form. Hangul syllables follow from
    /// arithmetic.
    @Test func everyOtherCharacterStaysAsItIs() throws {
        let listed = Set(try lines().filter { $0.source.count == 1 }.map { $0.source[0] })
        for value in UInt32(0)...0x10ffff where !listed.contains(value) && !(0xac00...0xd7a3).contains(value) {
            guard let scalar = Unicode.Scalar(value) else { continue }
            let text = String(scalar)
            let changed = NormalizationForm.allCases.filter {
                !$0.apply(text).unicodeScalars.elementsEqual(text.unicodeScalars)
            }
            #expect(changed.isEmpty, "U+\(String(value, radix: 16))")
        }
    }

    @Test func hangulSyllablesComeApartAndTogether() {
        for value in UInt32(0xac00)...0xd7a3 {
            let index = value - 0xac00, tail = index % 28
            let parts = [0x1100 + index / 588, 0x1161 + index % 588 / 28] + (tail > 0 ? [0x11a7 + tail] : [])
            #expect(scalars(NormalizationForm.nfd.apply(text([value]))) == parts)
            #expect(scalars(NormalizationForm.nfc.apply(text(parts))) == [value])
            #expect(
                scalars(NormalizationForm.nfkd.apply(text([value]))) == parts
                    && scalars(NormalizationForm.nfkc.apply(text(parts))) == [value])
        }
    }
}
