import Foundation

/// What files of the input are called: by their own names, and where several folders have one of the same name, by as much of the path
/// as tells them apart.
struct InputLabels {
    private let names: [String]
    private let stems: [String]

    init(_ paths: [String]) {
        let parts = paths.map { absolutePath($0).split(separator: "/").map(String.init) }
        names = Self.shortest(parts) { $0 }
        stems = Self.shortest(parts) { ($0 as NSString).deletingPathExtension }
    }

    /// For people, with the ending.
    func name(_ index: Int) -> String { names[index] }

    /// For ids, without the ending unless that alone tells files apart.
    func stem(_ index: Int) -> String { stems[index] }

    /// The shortest end of each path, `form` of it, that no other path has.
    private static func shortest(_ paths: [[String]], _ form: (String) -> String) -> [String] {
        func label(_ path: [String], _ count: Int) -> String {
            let end = path.suffix(count).joined(separator: "/")
            return count > path.count ? end : form(end)
        }
        var counts = [Int](repeating: 1, count: paths.count)
        while true {
            let labels = paths.indices.map { label(paths[$0], counts[$0]) }
            let places = Dictionary(grouping: labels.indices) { Array(labels[$0].utf8) }
            let alike = places.values.filter { $0.count > 1 }.flatMap { $0 }.filter { counts[$0] <= paths[$0].count }
            if alike.isEmpty { return labels }
            for place in alike { counts[place] += 1 }
        }
    }
}
