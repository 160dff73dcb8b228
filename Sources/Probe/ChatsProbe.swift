import ArgumentParser
import ChatPrompts
import ChatTemplates
import Formats
import Foundation

/// Chats to text, line by line.
struct ChatsProbe: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chats",
        abstract: "Renders: a line with messages becomes {\"text\", \"generation\"}, or {\"error\"}.")

    @Argument(help: "Checkpoint folder with a chat template.")
    var checkpoint: String

    @OptionGroup var options: ChatOptions

    private struct Answer: Encodable {
        var text: String?
        /// Spans of what the template marks as sampled, in characters.
        var generation: [[Int]]?
        var error: String?
    }

    func run() throws {
        guard let template = try CheckpointTemplate(checkpoint, date: options.day) else {
            throw ValidationError("\(checkpoint) has no chat template.")
        }
        let encoder = JSONEncoder()
        while let line = readLine() {
            FileHandle.standardOutput.write(try encoder.encode(answer(line, template)) + Data("\n".utf8))
        }
    }

    private func answer(_ line: String, _ template: CheckpointTemplate) -> Answer {
        guard let object = JSONLine(line).whole, let messages = object["messages"] else {
            return Answer(error: "no messages")
        }
        do {
            let chat = try Chat(messages, in: object, arguments: options.arguments)
            if object["continue_final_message"]?.bool == true {
                return Answer(text: try template.render(chat, .continued))
            }
            let found = try template.rendering(
                chat, addGenerationPrompt: object["add_generation_prompt"]?.bool ?? false)
            return Answer(text: found.text, generation: found.generation.map { [$0.lowerBound, $0.upperBound] })
        } catch let error as TemplateError {
            if case .raised(let words) = error.reason { return Answer(error: words) }
            return Answer(error: error.description)
        } catch { return Answer(error: "\(error)") }
    }
}
