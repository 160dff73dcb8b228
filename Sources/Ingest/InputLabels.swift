import Foundation

/// What files of the input are called: by their own names, and where several folders have one of the same name, by as
/// much of the path
/// as tells them apart.
struct InputLabels {
    private let names: [String]
    private let stems: [String]

    init(_ paths: [String]) {
        let paths = paths.map(absolutePath), stems = paths.map { ($0 as NSString).deletingPathExtension }
        let alike = Dictionary(grouping: stems) { Array($0.utf8) }
        // In one folder the ending may be all that tells two files apart.
        let forIDs = zip(paths, stems).map { path, stem in alike[Array(stem.utf8)]?.count == 1 ? stem : path }
        (names, self.stems) = (Self.shortest(paths), Self.shortest(forIDs))
    }

    /// For people, with the ending.
    func name(_ index: Int) -> String { names[index] }

    /// For ids, without the ending unless that alone tells files apart.
    func stem(_ index: Int) -> String { stems[index] }

    /// The shortest end of each path that no other one has.
    private static func shortest(_ paths: [String]) -> [String] {
        let parts = paths.map { $0.split(separator: "/") }
        var counts = [Int](repeating: 1, count: paths.count)
        while true {
            let labels = zip(parts, counts).map { $0.suffix($1).joined(separator: "/") }
            let places = Dictionary(grouping: labels.indices) { Array(labels[$0].utf8) }
            let alike = places.values.filter { $0.count > 1 }.flatMap { $0 }.filter { counts[$0] < parts[$0].count }
            if alike.isEmpty { return labels }
            for place in alike { counts[place] += 1 }
        }
    }
}
