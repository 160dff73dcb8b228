import ArgumentParser
import StageSupport

@main
enum RunsMain {
    static func main() { RunsCommand.runSubcommands() }
}

/// What has run: a catalog of stage directories, filled by the stages themselves and by `scan`. A new way to ask is a
/// file with its command, and a line here.
struct RunsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-runs",
        abstract: "Keeps a catalog of runs: finds, lists and shows them, and follows a checkpoint back to its shards.",
        version: cruxVersion,
        subcommands: [
            ScanCommand.self, ListCommand.self, ShowCommand.self, LineageCommand.self, NamesCommand.self,
        ])
}
