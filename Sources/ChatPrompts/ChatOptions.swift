import ArgumentParser
import ChatTemplates
import Formats

/// How chats become text, as every command that renders them takes it.
package struct ChatOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "What chat templates are given beside a chat, as JSON: '{\"enable_thinking\": false}'; a line's own chat_template_kwargs win.",
            valueName: "json"))
    package var templateArguments: String?

    @Option(help: ArgumentHelp("The day that chat templates print (default: today's).", valueName: "yyyy-mm-dd"))
    package var date: String?

    package init() {}

    package func validate() throws {
        if let templateArguments, JSONLine(templateArguments).whole == nil {
            throw ValidationError("--template-arguments is '\(templateArguments)'; expected a JSON object.")
        }
        if let date, TemplateDate(date) == nil {
            throw ValidationError("--date is '\(date)'; expected a day as YYYY-MM-DD.")
        }
    }

    package var arguments: JSONObject { templateArguments.flatMap { JSONLine($0).whole } ?? JSONObject() }

    /// The day that is given, else this one.
    package var day: TemplateDate { date.flatMap { TemplateDate($0) } ?? .today }

    /// For a command that this one calls. Today's date is given along, so that a run goes on tomorrow as it began.
    package var flags: [String] {
        (templateArguments.map { ["--template-arguments", $0] } ?? []) + (date.map { ["--date", $0] } ?? [])
    }

    /// For a manifest, where the options make a difference.
    package var settings: [String: String] {
        var settings: [String: String] = [:]
        if !arguments.members.isEmpty { settings["template_arguments"] = arguments.encoded }
        settings["date"] = date
        return settings
    }
}
