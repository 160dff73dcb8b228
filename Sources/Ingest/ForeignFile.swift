import Files
import Foundation

/// Files of kinds that a script must convert first.
enum ForeignFile {
    /// Throws where a file begins as Parquet or as a PyTorch archive does. What can't be read is told of by who reads it
    /// when its turn comes: the others' rows need not wait for it.
    static func refuse(_ path: String) throws {
        guard isRegular(path), let start = try? readFile(path, upTo: 4) else { return }
        if start.starts(with: Array("PAR1".utf8)) { throw parquet(path) }
        if start.starts(with: [0x50, 0x4b, 0x03, 0x04]) { throw archive(path) }
    }

    /// No pipe, which may have nobody at its other end.
    private static func isRegular(_ path: String) -> Bool {
        (try? fileStatus(path)).flatMap { $0 }.map { $0.st_mode & S_IFMT == S_IFREG } ?? false
    }

    private static func parquet(_ path: String) -> FormatError {
        FormatError(
            file: path, place: "", found: "a Parquet file", expected: "JSON lines or a rollout shard",
            remedy: "Make JSON lines of it: python examples/parquet_to_jsonl.py \(ShellText.quoted(path)) > rows.jsonl")
    }

    private static func archive(_ path: String) -> FormatError {
        FormatError(
            file: path, place: "", found: "a zip archive, as PyTorch saves", expected: "JSON lines or a rollout shard",
            remedy: "Rollouts that slime saved: python examples/convert_slime.py \(ShellText.quoted(path)) "
                + "--temperature T --output slime.rollouts.zst")
    }
}
