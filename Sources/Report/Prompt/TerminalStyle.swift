import Foundation

/// What a terminal is told to look like: escape sequences of ECMA-48 (SGR), or nothing.
enum TerminalStyle {
    case plain
    case colors256
    case trueColor

    /// `environment`: NO_COLOR, TERM and COLORTERM decide where the choice is left to us (no-color.org).
    static func chosen(_ choice: ColorChoice, isTerminal: Bool, environment: [String: String]) -> TerminalStyle {
        let isRefused = !(environment["NO_COLOR"] ?? "").isEmpty || environment["TERM"] == "dumb"
        switch choice {
        case .never: return .plain
        case .auto where !isTerminal || isRefused: return .plain
        case .auto, .always:
            return ["truecolor", "24bit"].contains(environment["COLORTERM"]) ? .trueColor : .colors256
        }
    }

    static var ofStandardOutput: (isTerminal: Bool, environment: [String: String]) {
        (isatty(STDOUT_FILENO) == 1, ProcessInfo.processInfo.environment)
    }

    /// ColorBrewer's YlOrBr, which the colour-blind can tell apart by lightness, and its nearest among the 256 colours.
    private static let backgrounds: [(red: Int, green: Int, blue: Int, number: Int)] = [
        (255, 247, 188, 230), (254, 227, 145, 222), (254, 196, 79, 221), (254, 153, 41, 208), (236, 112, 20, 202),
        (204, 76, 2, 166), (140, 45, 4, 88),
    ]
    /// From this level on the background is dark.
    private static let firstDark = 6

    /// The text over the background of an entropy level, underlined or not. A line break ends the background, which
    /// would else reach to the edge.
    func painted(_ text: String, level: Int, isUnderlined: Bool) -> String {
        let codes = colors(level) + (isUnderlined ? ["4"] : [])
        guard self != .plain, !codes.isEmpty else { return text }
        return text.split(separator: "\n", omittingEmptySubsequences: false)
            .map { $0.isEmpty ? "" : "\u{1b}[" + codes.joined(separator: ";") + "m" + $0 + "\u{1b}[0m" }
            .joined(separator: "\n")
    }

    private func colors(_ level: Int) -> [String] {
        guard level > 0 else { return [] }
        let color = Self.backgrounds[level - 1], text = level >= Self.firstDark ? "97" : "30"
        switch self {
        case .plain: return []
        case .colors256: return [text, "48;5;\(color.number)"]
        case .trueColor: return [text, "48;2;\(color.red);\(color.green);\(color.blue)"]
        }
    }
}
