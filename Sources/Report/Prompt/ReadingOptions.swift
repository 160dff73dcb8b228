import ArgumentParser
import Foundation
import StageSupport

/// What commands share whose result is to be read at once: text on stdout, or its figures as JSON.
struct ReadingOptions: ParsableArguments {
    @Flag(help: "Print the figures as one line of JSON instead of the text.")
    var json = false

    func summary(_ text: String, status: ExitStatus = .done, _ fields: [String: any Sendable]) -> StageSummary {
        var summary = StageSummary(status: status, fields)
        if !json { summary.text = text }
        return summary
    }
}

/// When text is coloured.
enum ColorChoice: String, ExpressibleByArgument, CaseIterable {
    case auto, always, never
}

/// A number for JSON, which has none for NaN and infinities: their name then; null where there is none.
func jsonNumber(_ value: (some BinaryFloatingPoint)?) -> any Sendable {
    guard let value else { return NSNull() }
    let number = Double(value)
    return number.isFinite ? number : "\(number)"
}
