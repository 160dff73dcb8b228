import Glibc

/// `crux score …` is `crux-score …`: the command of that name beside this executable, with the same arguments.
@main
enum CruxMain {
    /// What lies beside this executable, with what each does, in the order of a run.
    static let commands = [
        ("ingest", "reads a dump of rollouts and checks it"),
        ("score", "gives each rollout a reward, each token an entropy"),
        ("plan", "decides what to learn from: advantages, masks, weights"),
        ("update", "trains a checkpoint on a plan"),
        ("rollout", "samples from a checkpoint"),
        ("loop", "runs all of these, iteration after iteration"),
        ("report", "tables and pictures of loops and of entropies"),
        ("runs", "what has run: finds, lists and shows runs, and what a checkpoint was made from"),
        ("slurm", "submits the stages as jobs of a cluster"),
    ]

    static func main() {
        let arguments = CommandLine.arguments.dropFirst()
        switch arguments.first {
        case nil, "--help", "-h", "help":
            print(help)
            exit(arguments.isEmpty ? 2 : 0)
        case "--version":
            replaceProcess(by: "plan", ["--version"])
        case let name?:
            guard commands.contains(where: { $0.0 == name }) else {
                fail("crux: found '\(name)', expected \(commands.map(\.0).joined(separator: ", ")) or --help", 2)
            }
            replaceProcess(by: name, Array(arguments.dropFirst()))
        }
    }

    private static var help: String {
        let lines = commands.map { name, purpose in
            "  \(name)\(String(repeating: " ", count: 9 - name.count))\(purpose)"
        }
        return "usage: crux COMMAND …, the same as crux-COMMAND …\n\n\(lines.joined(separator: "\n"))\n\n"
            + "crux COMMAND --help tells of one."
    }

    private static func replaceProcess(by name: String, _ arguments: [String]) -> Never {
        let path = folder + "/crux-" + name
        var words = ([path] + arguments).map { strdup($0) } + [nil]
        execv(path, &words)
        fail("crux: \(path): \(String(cString: strerror(errno)))", 4)
    }

    /// The folder of this executable, also where it was called by a link to it.
    private static var folder: String {
        var path = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        let length = readlink("/proc/self/exe", &path, path.count - 1)
        guard length > 0 else { fail("crux: /proc/self/exe: \(String(cString: strerror(errno)))", 4) }
        let bytes = path.prefix(length).map { UInt8(bitPattern: $0) }
        return String(decoding: bytes.prefix(bytes.lastIndex(of: UInt8(ascii: "/")) ?? 0), as: UTF8.self)
    }

    private static func fail(_ message: String, _ status: Int32) -> Never {
        _ = (message + "\n").withCString { write(STDERR_FILENO, $0, strlen($0)) }
        exit(status)
    }
}
