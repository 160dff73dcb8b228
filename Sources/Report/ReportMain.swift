import ArgumentParser
import Foundation
import StageSupport

@main
enum ReportMain {
    static func main() {
        // Asks for nothing else, so it can't wait for --output.
        if CommandLine.arguments.dropFirst() == ["--files"] {
            print(FileListing.text)
            exit(0)
        }
        ReportCommand.runSubcommands()
    }
}

/// What looks at finished runs, and changes none of them. A new way to look is a file with its command, and a line
/// here.
struct ReportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-report",
        abstract: "Looks at finished runs: at a prompt, in tables, pictures and pages.", version: cruxVersion,
        subcommands: [
            TablesCommand.self, PageCommand.self, ShowCommand.self, TraceCommand.self, DiffCommand.self,
            ForksCommand.self, MismatchCommand.self,
        ],
        defaultSubcommand: TablesCommand.self)
}
