import Foundation
import Rewards
import TestSupport
import Testing

/// Commands in shell, as anyone might write them: what is tested is what happens between the processes.
@Suite struct ExternalRewardTests {
    /// Answers to each request line by a case on its response.
    private static let judge = #"""
        while read -r line; do
          id=$(printf '%s' "$line" | sed 's/.*"id":"\([^"]*\)".*/\1/')
          case "$line" in
            *'"response":"right"'*) echo "{\"id\":\"$id\",\"score\":1,\"acc\":true,\"pred\":\"42\"}" ;;
            *'"response":"wrong"'*) echo "loading…"; echo "{\"id\":\"$id\",\"score\":-0.5,\"acc\":0}" ;;
            *'"response":"null"'*) echo "{\"id\":\"$id\",\"score\":null}" ;;
            *'"response":"error"'*) echo "{\"id\":\"$id\",\"error\":\"no parse\"}" ;;
            *'"response":"hang"'*) sleep 1000 ;;
            *'"response":"die"'*) exit 3 ;;
            *'"response":"rubbish"'*) echo "{score: maybe" ;;
            *'"response":"other"'*) echo '{"id":"99999","score":1}'; echo "{\"id\":\"$id\",\"score\":0}" ;;
            *) echo "{\"id\":\"$id\",\"score\":\"much\"}" ;;
          esac
        done
        """#

    private func reward(_ command: String, seconds: Double = 30) throws -> (ExternalReward, TemporaryDirectory) {
        let folder = try TemporaryDirectory()
        return (
            ExternalReward(ExternalReward.Settings(command: command, workers: 2, seconds: seconds, log: folder("log"))),
            folder
        )
    }

    private func input(_ response: String) -> RewardInput { RewardInput(completion: response, referenceAnswer: "42") }

    @Test func answersBecomeVerdicts() throws {
        let (reward, folder) = try reward(Self.judge)
        defer { withExtendedLifetime(folder) { reward.close() } }
        let right = try reward.judge(input("right"))
        #expect(
            right.reward == 1 && right.correct == true && right.verdict.rawValue == "external"
                && right.extracted == "42")
        let wrong = try reward.judge(input("wrong"))
        #expect(wrong.reward == -0.5 && wrong.correct == false)
        // Null is not zero: nobody judged it.
        let null = try reward.judge(input("null"))
        #expect(null.reward == nil && null.correct == nil && null.verdict.rawValue == "no_reward")
        #expect(try reward.judge(input("error")).verdict.rawValue == "reward_error")
        #expect(try reward.judge(input("other")).reward == 0)
        #expect(try reward.judge(input("something")).verdict.rawValue == "reward_invalid")
    }

    @Test(arguments: [("hang", "reward_timeout"), ("die", "reward_crashed"), ("rubbish", "reward_invalid")])
    func aBrokenWorkerCostsOneRow(_ response: String, _ verdict: String) throws {
        let (reward, folder) = try reward(Self.judge, seconds: 2)
        defer { withExtendedLifetime(folder) { reward.close() } }
        #expect(try reward.judge(input("right")).reward == 1)
        let broken = try reward.judge(input(response))
        #expect(broken.reward == nil && broken.verdict.rawValue == verdict)
        #expect(try reward.judge(input("right")).reward == 1)
    }

    /// A judge's own timer (signal.alarm) must go off, whatever the thread that starts it holds off.
    @Test func aCommandGetsItsSignals() throws {
        let blocked = #"grep -c 'SigBlk:[[:space:]]*0*$' /proc/self/status"#
        let (reward, folder) = try reward(
            #"while read -r line; do echo "$line" | sed "s/\"prompt\".*/\"score\":$(\#(blocked))}/"; done"#)
        defer { withExtendedLifetime(folder) { reward.close() } }
        var all = sigset_t(), before = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_BLOCK, &all, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        #expect(try reward.judge(input("right")).reward == 1)
    }

    @Test func aLongRequestAndALongAnswerPassThePipes() throws {
        let (reward, folder) = try reward(
            #"while read -r line; do echo "$line" | sed 's/"prompt".*/"score":1}/'; done"#)
        defer { withExtendedLifetime(folder) { reward.close() } }
        var long = input("right")
        long.dataSource = String(repeating: "x", count: 300_000)
        #expect(try reward.judge(long).reward == 1)
    }

    @Test func aCommandThatNeverAnswersEndsTheRun() throws {
        let (reward, folder) = try reward("echo no such judge >&2; exit 1")
        defer { reward.close() }
        for _ in 0..<3 { #expect(try reward.judge(input("right")).verdict.rawValue == "reward_crashed") }
        let error = #expect(throws: ExternalReward.NeverAnswers.self) { _ = try reward.judge(input("right")) }
        #expect(error?.description.contains("no such judge") == true)
        withExtendedLifetime(folder) {}
    }

    @Test func aWorkerMaySayItsVersionFirst() throws {
        let (reward, folder) = try reward(
            #"echo '{"protocol":"crux-reward","version":1}'; while read -r line; do echo "$line" | sed 's/"prompt".*/"score":0.25}/'; done"#
        )
        defer { withExtendedLifetime(folder) { reward.close() } }
        let outcome = try reward.judge(input("right"))
        // .25 says nothing of right or wrong.
        #expect(outcome.reward == 0.25 && outcome.correct == nil)
    }
}
