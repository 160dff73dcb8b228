/// Names that somebody may have meant.
enum NearNames {
    /// At most `count` of `known`, the likeliest first: those that end with the word, hold it, or are spelled nearly
    /// alike.
    static func of(_ word: String, among known: some Sequence<String>, count: Int = 3) -> [String] {
        let word = word.lowercased()
        let ranked = known.compactMap { name in rank(word, name.lowercased()).map { ($0, name) } }
        var seen = Set<String>()
        return ranked.sorted { ($0.0, $0.1) < ($1.0, $1.1) }.map(\.1).filter { seen.insert($0).inserted }.prefix(count)
            .map { $0 }
    }

    /// Lower is nearer; nil where there is no likeness.
    private static func rank(_ word: String, _ name: String) -> Int? {
        let last = name.split(separator: ".").last.map(String.init) ?? name
        let distance = min(distance(word, name), word.contains(".") ? Int.max : self.distance(word, last))
        if distance <= max(1, word.count / 3) { return distance }
        if word.count > 2, name.contains(word) { return word.count }
        return nil
    }

    /// Letters to put in, take out, replace, or exchange with their neighbour (optimal string alignment).
    private static func distance(_ one: String, _ other: String) -> Int {
        let a = Array(one), b = Array(other)
        var before: [Int] = [], above = Array(0...b.count)
        for i in a.indices {
            var row = [i + 1]
            for j in b.indices {
                var least = min(row[j] + 1, above[j + 1] + 1, above[j] + (a[i] == b[j] ? 0 : 1))
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { least = min(least, before[j - 1] + 1) }
                row.append(least)
            }
            (before, above) = (above, row)
        }
        return above[b.count]
    }
}
