/// A step ends behind each separator, unless it is too short.
package struct LineSegmentation: Segmentation {
    package static let name = "lines"
    package static let source = "VinePPO for GSM8K, arXiv 2410.01679"

    private let separators: [String]
    private let minimumCharacters: Int

    package init(_ settings: SegmentationSettings) {
        (separators, minimumCharacters) = (settings.separators, settings.minimumCharacters)
    }

    package var problems: [String] {
        separators.isEmpty || separators.contains("")
            ? ["expansion.step_separators is empty or holds an empty text; expected texts that end a step"] : []
    }

    package func starts(in text: [UInt8]) -> [Int] {
        let ends = separatorEnds(in: text)
        var starts = [0], characters = 0, hasText = false
        for (index, byte) in text.enumerated() {
            characters += byte & 0xc0 != 0x80 ? 1 : 0
            hasText = hasText || byte > 0x20
            guard ends.contains(index + 1), hasText, characters >= minimumCharacters, index + 1 < text.count else {
                continue
            }
            starts.append(index + 1)
            (characters, hasText) = (0, false)
        }
        if starts.count > 1, characters < minimumCharacters || !hasText { starts.removeLast() }
        return starts
    }

    private func separatorEnds(in text: [UInt8]) -> Set<Int> {
        var ends = Set<Int>()
        for separator in separators.map({ Array($0.utf8) }) where separator.count <= text.count && !separator.isEmpty {
            for start in 0...text.count - separator.count
            where text[start..<start + separator.count].elementsEqual(separator) {
                ends.insert(start + separator.count)
            }
        }
        return ends
    }
}
