import Foundation
import Gang
import StageSupport

/// The command as one rank of a gang: rank 0 speaks and writes, the others compute.
extension UpdateCommand {
    /// Throws `ToldAlready` for every error, with the status that all ranks end with.
    func runAsRank(_ whole: StageContext) throws -> StageSummary {
        let gang = try MessagePassing.join()
        let own = try asRank(of: gang), context = whole.with(own.options)
        do {
            let summary = try own.run(context, gang)
            try gang.leave()
            return gang.leads ? summary : .silent
        } catch let failure as GangFailure {
            if gang.leads { context.report(error: failure.description, failure.status) }
            try gang.leave()
            throw ToldAlready(failure.status)
        } catch {
            // The others wait for this rank, perhaps in the middle of a message.
            let status = ExitStatus(of: error)
            context.report(error: "rank \(gang.rank) of \(gang.size) on \(ownHostName): \(error)", status)
            gang.endAll(status)
        }
    }

    /// With the threads that this rank may use, and silent where another one speaks.
    private func asRank(of gang: some Gang) throws -> UpdateCommand {
        var own = self
        let neighbours = try gang.ranksOfThisMachine()
        // Processes that are bound to processors see fewer than the machine has; others would all take all of them.
        let most = max(1, ProcessInfo.processInfo.processorCount / neighbours)
        own.options.threads = options.threads ?? min(options.threadCount, most)
        own.options.quiet = options.quiet || !gang.leads
        return own
    }

    /// Where processes that were started together would all do the same, or all but one nothing.
    func warnOfIdleRanks(_ context: StageContext) {
        // Variables that contradict each other are nothing to a process that doesn't go by them.
        guard let launched = try? TaskShare.amongLaunched(), !launched.isWhole, launched.rank == 0 else { return }
        context.warn(
            "\(launched.tasks) processes were started together, and one of them does the whole update: with --mpi they "
                + "would share it")
    }
}
