import Files

/// A batch script: what it asks of Slurm, a stage's command, and what becomes of its exit code. It can be submitted by
/// hand, and run without Slurm.
package struct JobScript: Equatable, Sendable {
    /// What the tasks of a job do.
    package enum Work: Equatable, Sendable {
        case one([String])
        /// Tasks that share one directory.
        case shared([String], tasks: Int)
        /// An array whose members each have a directory of their own.
        case members([Member])
    }

    package struct Member: Equatable, Sendable {
        package let name: String
        package let command: [String]

        package init(_ name: String, _ command: [String]) { (self.name, self.command) = (name, command) }
    }

    /// Letters, digits, dots, dashes and underscores: it is a file's and, behind `prefix`, a job's name.
    package let step: String
    /// Tells jobs of one output folder from those of others.
    package let prefix: String
    package let work: Work
    package let request: JobRequest
    /// Of the script itself, and where its commands begin; absolute.
    package let folder: String
    package let workingFolder: String
    package let requeues: Int

    package init(
        step: String, prefix: String, work: Work, request: JobRequest, folder: String, workingFolder: String,
        requeues: Int
    ) {
        (self.step, self.prefix, self.work, self.request) = (step, prefix, work, request)
        (self.folder, self.workingFolder, self.requeues) = (folder, workingFolder, requeues)
    }

    /// The prefix of jobs of an output folder, an absolute path.
    package static func prefix(of output: String) -> String { String(SHA256Digest.of(output).prefix(8)) }

    package var path: String { "\(folder)/\(step).sh" }

    /// What the names of this step's jobs begin with, whatever their script.
    package var namePrefix: String { "crux-\(step).\(prefix)." }

    /// With a digest of the script, so that a job in the queue tells whether it runs this one.
    package var jobName: String { namePrefix + SHA256Digest.of(text(named: namePrefix)).prefix(8) }

    package var text: String { text(named: jobName) }

    /// Throws where a path can't stand in a script.
    package func write() throws {
        try Folder.create(folder)
        try AtomicFile.write(text, to: path)
    }

    // MARK: text

    private func text(named name: String) -> String {
        let sections = [
            ["#!/bin/bash", "# Written by crux; submit it with sbatch, or run it with bash where there is no Slurm."],
            directives(named: name).map { "#SBATCH " + $0 },
            [""], commands, [""], running, [""], Self.task, ending,
        ]
        return sections.joined().joined(separator: "\n") + "\n"
    }

    private var indices: String? {
        switch work {
        case .one: nil
        case .shared(_, let tasks): tasks > 1 ? "0-\(tasks - 1)" : nil
        case .members(let members): members.count > 1 ? "0-\(members.count - 1)" : nil
        }
    }

    private func directives(named name: String) -> [String] {
        let number = indices == nil ? "%j" : "%A_%a"
        return [
            "--job-name=" + name,
            "--output=" + BatchText.quoted(BatchText.pattern("\(folder)/\(step)-") + number + ".log"),
            "--open-mode=append", "--requeue", "--kill-on-invalid-dep=yes",
        ] + (indices.map { ["--array=" + $0] } ?? []) + request.flags
    }

    /// The shell function `work`.
    private var commands: [String] {
        let enter = "cd " + ShellText.quoted(workingFolder) + " || exit 4"
        switch work {
        case .one(let command): return [enter] + function(command)
        case .shared(let command, let tasks):
            return [enter] + function(command + (tasks > 1 ? ["--tasks", "auto"] : []))
        case .members(let members):
            guard members.count > 1 else { return [enter] + function(members.first?.command ?? []) }
            return [enter, "work() {", "  case ${SLURM_ARRAY_TASK_ID:-none} in"]
                + members.enumerated().flatMap { index, member in
                    [
                        "    \(index)) # \(member.name)",
                        "      exec " + Self.lines(launched(member.command), indent: 8), "      ;;",
                    ]
                }
                + [
                    "    *) echo \"SLURM_ARRAY_TASK_ID is '${SLURM_ARRAY_TASK_ID:-}', expected 0 to \(members.count - 1)\" >&2",
                    "      exit 2 ;;", "  esac", "}",
                ]
        }
    }

    private func function(_ command: [String]) -> [String] {
        ["work() {", "  exec " + Self.lines(launched(command), indent: 4), "}"]
    }

    private var isGang: Bool { request.ranks > 1 }

    /// Ranks of MPI are started by srun, which no longer takes a task's processors from the job. One that ends badly
    /// ends all.
    private func launched(_ command: [String]) -> [String] {
        guard isGang else { return command }
        return [
            "srun", "--ntasks=\(request.ranks)", "--cpus-per-task=\(request.processors)", "--mpi=pmix",
            "--kill-on-bad-exit=1",
        ] + command + ["--mpi"]
    }

    /// The executable, then a line for each flag with its values.
    private static func lines(_ command: [String], indent: Int) -> String {
        var lines: [[String]] = []
        for word in command {
            if word.hasPrefix("--") || lines.isEmpty { lines.append([]) }
            lines[lines.count - 1].append(word)
        }
        let separator = " \\\n" + String(repeating: " ", count: indent)
        return lines.map { ShellText.quoted($0) }.joined(separator: separator)
    }

    /// bash looks at signals only between commands, or where it waits.
    private var running: [String] {
        [
            "# A signal before the time limit is handed on: the stage stops at its next piece of work and ends with 75.",
            "again=no", "hand_on() {", "  again=yes", "  kill -\(handedSignal) \"$running\" 2> /dev/null", "}",
            "trap hand_on USR1 TERM",
            "work &",
            "running=$!", "[ \"$again\" = yes ] && hand_on", "again=yes",
            "while [ \"$again\" = yes ]; do", "  again=no", "  wait \"$running\"", "  status=$?", "done",
            "trap '' USR1 TERM",
        ]
    }

    /// srun hands SIGUSR1 on to its tasks, and kills them for SIGTERM.
    private var handedSignal: String { isGang ? "USR1" : "TERM" }

    /// The number of a job; of an array's task, both of its numbers, because its first alone would mean all tasks.
    private static let task = [
        "task=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}",
        "task=${task:-${SLURM_JOB_ID:-none}}",
    ]

    /// A cancelled job is no longer RUNNING: to queue it again would undo what its owner has asked for.
    private var ending: [String] {
        [
            "# 75 says: run again. Above 128 a signal ended the stage, want of memory perhaps: not often then.",
            "most=0", "[ \"$status\" -eq 75 ] && most=\(requeues)",
            "[ \"$status\" -gt 128 ] && most=\(min(2, requeues))",
            "if [ \"$task\" != none ] && [ \"${SLURM_RESTART_COUNT:-0}\" -lt \"$most\" ] &&",
            "  [ \"$(squeue --noheader --jobs=\"$task\" --format=%T)\" = RUNNING ]; then",
            "  echo \"ended with $status: job $task is queued again\"",
            "  scontrol requeue \"$task\" && sleep 60 # Slurm ends this script meanwhile", "fi",
            "[ \"$task\" != none ] && echo \"$status\" > " + ShellText.quoted("\(folder)/\(step)-") + "\"$task\".exit",
            "exit \"$status\"",
        ]
    }
}
