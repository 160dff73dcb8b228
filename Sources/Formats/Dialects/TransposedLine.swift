import Foundation

/// A line with a batch in it, columns as lists of one length: `{"prompt": ["…", "…"], "completion": ["…", "…"], …}`.
/// Such a line may be hundreds of megabytes long. Its values are found first and read row by row, so that no more than
/// one row of it is ever in memory as values.
package enum TransposedLine {
    /// nil where the line is none of this kind.
    static func decode(
        _ line: Data, as dialects: [any DumpDialect.Type], in context: LineContext
    ) -> DumpedLine? {
        line.withUnsafeBytes { bytes in
            guard let columns = JSONColumns(bytes), columns.isDump else { return nil }
            if let odd = columns.oddLength { return .damaged(id: nil, expected: odd) }
            if columns.count == 0 { return .damaged(id: nil, expected: "columns with at least one row were expected") }
            var rollouts: [DumpedRollout] = []
            for row in 0..<columns.count {
                guard let (object, broken, deep) = columns.row(row) else {
                    return .damaged(id: nil, expected: "row \(row) of the line's columns was no JSON")
                }
                guard let found = DumpDialects.rollouts(object, as: dialects, in: context) else {
                    return .unknown(id: nil)
                }
                for var rollout in found {
                    rollout.remark(brokenTexts: broken, tooDeep: deep)
                    rollouts.append(rollout)
                }
            }
            return .rollouts(rollouts)
        }
    }
}

extension JSONColumns {
    /// Whether it is a batch of prompts with what was said to them.
    fileprivate var isDump: Bool {
        keys.contains("prompt") && (keys.contains("completion") || keys.contains("responses"))
    }

    /// What is wrong where its lists are not of one length.
    fileprivate var oddLength: String? {
        guard let first = lengths.first, let odd = lengths.firstIndex(where: { $0 != first }) else { return nil }
        return "lists of one length were expected, '\(keys[0])' has \(first) and '\(keys[odd])' \(lengths[odd])"
    }
}
