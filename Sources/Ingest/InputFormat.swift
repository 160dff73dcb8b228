import Files
import Formats

/// What `--format` says of the input.
enum InputFormat {
    case auto, shards
    case dump(any DumpDialect.Type)
    /// Of results of jobs only.
    case results

    static var names: String {
        (["shards"] + Set(DumpDialects.names + EngineDialects.names).sorted()).joined(separator: ", ")
    }

    init?(_ name: String) {
        switch name {
        case "auto": self = .auto
        case "shards": self = .shards
        default:
            if let dialect = DumpDialects.all.first(where: { $0.name == name }) {
                self = .dump(dialect)
            } else if EngineDialects.named(name) != nil {
                self = .results
            } else {
                return nil
            }
        }
    }

    /// Dialects that the lines of a file may be in; nil where it is a shard. By its name, else by its first byte.
    ///
    /// - Throws: what keeps it from being looked at.
    func dialects(of path: String) throws -> [any DumpDialect.Type]? {
        switch self {
        case .shards: nil
        case .dump(let dialect): [dialect]
        case .auto, .results: try isLines(path) || startsAsObject(path) ? DumpDialects.all : nil
        }
    }

    /// Dialects that lines may be in, whichever file they are of.
    var lineDialects: [any DumpDialect.Type] {
        if case .dump(let dialect) = self { [dialect] } else { DumpDialects.all }
    }

    private func startsAsObject(_ path: String) throws -> Bool {
        let file = try MappedFile(path: path)
        return withExtendedLifetime(file) { file.bytes.first { $0 > 0x20 } == UInt8(ascii: "{") }
    }
}
