import Formats
import Foundation

/// A reward that another program gives, in JSON lines over stdin and stdout: Math-Verify, or anyone's Python, as it is.
///
/// Request: `id`, `data_source`, `prompt`, `response`, `ground_truth`, `extra_info`. Answer: `id` and `score` (a
/// number, or null for "not judged"), optionally `acc` (right or wrong), `pred` (the answer as found) and `rewards`
/// (others beside the score: an object of numbers by name); or `id` and `error`. Every worker process has one request at a time. One that hangs, crashes or answers with something invalid loses that row and
/// is replaced; a command that never answers at all ends the run.
package final class ExternalReward: @unchecked Sendable {
    package struct Settings: Sendable {
        package var command: String
        package var workers: Int
        /// For one answer.
        package var seconds: Double
        /// File that the workers' stderr goes to, up to a megabyte of it.
        package var log: String
        /// Asked again and again while an answer is awaited; throws where nobody wants it any more.
        package var check: @Sendable () throws -> Void

        package init(
            command: String, workers: Int, seconds: Double, log: String,
            check: @escaping @Sendable () throws -> Void = {}
        ) {
            (self.command, self.workers, self.seconds, self.log, self.check) = (command, workers, seconds, log, check)
        }
    }

    /// The command answers nobody: what it was and what it said last.
    package struct NeverAnswers: Error, CustomStringConvertible {
        package let description: String
    }

    private let settings: Settings
    private let lock = NSLock()
    private var idle: [RewardWorker] = []
    private var requests = 0
    private var answers = 0
    private var failures = 0
    /// What a worker that failed said last.
    private var lastWords = ""

    package init(_ settings: Settings) {
        self.settings = settings
        // A worker that is gone must be an error of the write, not our end.
        signal(SIGPIPE, SIG_IGN)
    }

    /// From any thread; a thread waits for its own worker only. `workers` bounds how many threads should ask at once.
    package func judge(_ input: RewardInput) throws -> RewardOutcome {
        let id = lock.withLock { () -> String in
            requests += 1
            return "\(requests)"
        }
        do {
            let worker =
                try lock.withLock { idle.popLast() } ?? RewardWorker(command: settings.command, log: settings.log)
            do {
                let answer = try worker.ask(
                    Self.request(input, id), id: id, seconds: settings.seconds, check: settings.check)
                lock.withLock {
                    answers += 1
                    idle.append(worker)
                }
                return Self.outcome(answer)
            } catch {
                worker.stop()
                lock.withLock { if !worker.said.isEmpty { lastWords = worker.said } }
                throw error
            }
        } catch let failure as RewardWorker.Failure {
            try countFailure(failure)
            return .open(failure.verdict)
        }
    }

    package func close() {
        lock.withLock {
            idle.forEach { $0.stop() }
            idle = []
        }
    }

    /// Failures before any answer that prove a command wrong as a whole.
    private var limit: Int { max(3, 2 * settings.workers) }

    private func countFailure(_ failure: RewardWorker.Failure) throws {
        let isHopeless = lock.withLock { () -> Bool in
            failures += 1
            return answers == 0 && failures >= limit
        }
        guard isHopeless else { return }
        let said = lock.withLock { lastWords }.split(separator: "\n").suffix(3).joined(separator: " / ")
        throw NeverAnswers(
            description:
                "--reward-command '\(settings.command)': found no answer in \(limit) tries (the last: \(failure.verdict)), expected JSON lines with id and score."
                + (said.isEmpty ? "" : " It said: \(said)"))
    }

    private static func request(_ input: RewardInput, _ id: String) -> [String: any Sendable] {
        let extra = (try? JSONSerialization.jsonObject(with: Data(input.extras.utf8)) as? [String: String]) ?? [:]
        return [
            "id": id, "data_source": input.dataSource, "prompt": input.prompt, "response": input.completion,
            "ground_truth": input.referenceAnswer, "extra_info": extra,
        ]
    }

    /// Without `acc` a verdict follows from the score only where it is one of -1, 0, 1.
    static func outcome(_ answer: [String: Any]) -> RewardOutcome {
        if answer["error"] != nil, !(answer["error"] is NSNull) {
            return .open(.rewardError, "\(answer["error"] ?? "")")
        }
        let extracted = answer["pred"].map { $0 is NSNull ? "" : "\($0)" } ?? ""
        let rewards = answer["rewards"].flatMap { $0 is NSNull ? nil : $0 } ?? [String: Any]()
        let named = (rewards as? [String: Any]).flatMap { NamedRewards.parse($0) }
        if answer["score"] is NSNull, named != nil {
            var open = RewardOutcome.open(.noReward, extracted)
            open.rewards = named ?? [:]
            return open
        }
        guard let named, let score = (answer["score"] as? NSNumber)?.floatValue, score.isFinite else {
            return .open(RewardWorker.Failure.invalid.verdict, extracted)
        }
        let accuracy = (answer["acc"] as? NSNumber)?.doubleValue
        let correct = accuracy.map { $0 > 0.5 } ?? ([-1, 0, 1].contains(score) ? score > 0 : nil)
        return RewardOutcome(
            reward: score, correct: correct, verdict: .external, extracted: extracted, rewards: named)
    }
}
