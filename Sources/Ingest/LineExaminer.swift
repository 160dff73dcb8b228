import Files
import Formats
import Foundation
import StageSupport

/// Lines of another program's dump, one by one: the rollouts that each becomes, or why it becomes none.
struct LineExaminer: Sendable {
    let file: LineFile
    /// By which rollouts without an id of their own are named, with their line's number.
    let name: String
    let reading: LineReading
    let context: StageContext

    func examine(_ index: Int) throws -> [Outcome] {
        try context.checkInterruption()
        let line = LineContext(file: name) { [requests = reading.requests] id in requests?.lookup(id) }
        switch DumpDialects.decode(file.data(index), as: reading.dialects, in: line) {
        case .damaged(let id, let expected):
            let damage = file.damage(index, expected: expected)
            return [reject(index, Rejection(id, damage.reason, detail: damage.detail))]
        case .unknown(let id):
            let words = String(decoding: file.data(index).prefix(60), as: UTF8.self)
            let known = reading.dialects.map { $0.name }.joined(separator: ", ")
            return [
                reject(index, Rejection(id, .unknownDialect, found: "'\(words)'", expected: "a line of \(known)"))
            ]
        case .rollouts(let found):
            let rollouts = reading.tokenizer?.withCounts(found) ?? found
            return rollouts.indices.map { outcome(rollouts[$0], index, choice: rollouts.count > 1 ? $0 : nil) }
        }
    }

    private func reject(_ index: Int, _ why: Rejection) -> Outcome {
        let line = file.lines[index]
        return .rejected(
            .init(
                frameIndex: line.number, frameOffset: line.bytes.lowerBound, rolloutID: why.rolloutID,
                reason: why.reason, detail: why.detail))
    }

    /// `choice`: which of the line's rollouts it is, where there are several.
    private func outcome(_ rollout: DumpedRollout, _ index: Int, choice: Int?) -> Outcome {
        let id = rollout.id ?? "\(name)-\(file.lines[index].number)" + (choice.map { "-\($0)" } ?? "")
        do { return .accepted(try accept(rollout, id)) } catch let error as Rejection {
            return reject(index, error)
        } catch {
            return reject(index, Rejection(id, .damagedLine, detail: "\(error)"))
        }
    }

    private func accept(_ rollout: DumpedRollout, _ id: String) throws -> AcceptedRollout {
        if let requests = reading.requests, rollout.request.flatMap(requests.lookup) == nil {
            throw Rejection(
                id, .unknownRequest, found: "'\(rollout.request ?? "no custom_id")'",
                expected: "a custom_id of --requests")
        }
        return try DumpedFrame(rollout, id: id, reading).accepted()
    }
}
