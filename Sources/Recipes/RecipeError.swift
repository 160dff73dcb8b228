/// Everything that is wrong with a recipe, all at once.
package struct RecipeError: Error, Equatable, CustomStringConvertible {
    package let file: String
    package let problems: [String]
    /// Where in the file keys stand, by their path.
    private let lines: [String: Int]

    init(file: String, problems: [String], lines: [String: Int] = [:]) {
        (self.file, self.problems, self.lines) = (file, problems, lines)
    }

    private static let mostShown = 20

    package var description: String {
        let shown = problems.prefix(Self.mostShown).map { $0 + (line(of: $0).map { " (line \($0))" } ?? "") }
        let rest = problems.count - shown.count
        return "\(file): " + shown.joined(separator: "; ") + (rest > 0 ? "; and \(rest) more problems" : "")
    }

    /// A problem begins with the key that it is about.
    private func line(of problem: String) -> Int? {
        let words = problem.split { " ;:,".contains($0) }.prefix(3).map(String.init)
        return words.lazy.compactMap { word in
            var path = word.split(separator: ".")
            while !path.isEmpty {
                if let line = lines[path.joined(separator: ".")] { return line }
                path.removeLast()
            }
            return nil
        }.first
    }
}
