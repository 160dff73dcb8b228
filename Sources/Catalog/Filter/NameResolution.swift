import GRDB

/// What the names of a filter stand for in this catalog.
struct NameResolution {
    enum Meaning {
        case field(RunField)
        case figures([Source])
    }

    /// A place where a run's value of a name may stand.
    struct Source {
        let kind: NameKind
        let nameID: Int64
        /// Of recipes: whose.
        let role: String
    }

    /// Number of each known name.
    private let known: [NameKind: [String: Int64]]
    private let roles: Set<String>

    init(_ db: Database) throws {
        var known: [NameKind: [String: Int64]] = [:]
        let rows = try Row.fetchCursor(db, sql: "SELECT kind, name, id FROM names")
        while let row = try rows.next() {
            guard let kind = row.text("kind").flatMap(NameKind.init), let name = row.text("name") else { continue }
            known[kind, default: [:]][name] = row.integer("id").map { Int64($0) }
        }
        self.known = known
        roles = Set(try String.fetchAll(db, sql: "SELECT DISTINCT role FROM run_recipes"))
    }

    /// - Throws: `FilterError` that names near ones where nothing in the catalog is called that.
    func meaning(of name: FilterName) throws -> Meaning {
        if let reduction = name.reduction { return .figures([try metric(name, reduction)]) }
        if let field = RunField(rawValue: name.text) { return .field(field) }
        let found = sources(name.text)
        guard found.isEmpty else { return .figures(found) }
        throw unknown(name, among: Array(RunField.allCases.map(\.rawValue)) + allNames)
    }

    private func metric(_ name: FilterName, _ reduction: MetricReduction) throws -> Source {
        guard let id = known[.metric]?[name.text] else { throw unknown(name, among: names(of: .metric)) }
        return Source(kind: .metric, nameID: id, role: "")
    }

    /// A bare name may be several things; `count.kept` says which.
    private func sources(_ text: String) -> [Source] {
        let parts = text.split(separator: ".", maxSplits: 1).map(String.init)
        let bare = NameKind.allCases.flatMap { sources($0, text) }
        guard bare.isEmpty, parts.count == 2, let kind = NameKind(rawValue: parts[0]) else { return bare }
        return sources(kind, parts[1])
    }

    private func sources(_ kind: NameKind, _ name: String) -> [Source] {
        if let id = known[kind]?[name] { return [Source(kind: kind, nameID: id, role: CatalogedRecipe.mainRole)] }
        // companion_critic.optimizer.lr
        guard kind == .recipe, let dot = name.firstIndex(of: "."), roles.contains(String(name[..<dot])),
            let id = known[kind]?[String(name[name.index(after: dot)...])]
        else { return [] }
        return [Source(kind: kind, nameID: id, role: String(name[..<dot]))]
    }

    private func names(of kind: NameKind) -> [String] { Array((known[kind] ?? [:]).keys) }

    private var allNames: [String] { NameKind.allCases.flatMap { names(of: $0) } }

    /// All names that a filter can use, with what they are.
    var listed: [(kind: NameKind, name: String)] {
        NameKind.allCases.flatMap { kind in names(of: kind).sorted().map { (kind, $0) } }
    }

    private func unknown(_ name: FilterName, among known: [String]) -> FilterError {
        let near = NearNames.of(name.text, among: known)
        let advice = near.isEmpty ? "crux-runs names lists them" : near.joined(separator: ", ") + "?"
        return FilterError(
            position: name.position, found: "'\(name.text)', which no run in the catalog has",
            expected: "a known name (\(advice))")
    }
}
