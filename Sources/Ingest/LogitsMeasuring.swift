import Formats
import Foundation
import FrameMeasures

/// Looks at a frame's logits as they go by: whether they are finite, and, where asked for, all that score wants to know
/// of them. That takes the tokens to stand before the logits in the frame; where they don't, score decodes it again.
struct LogitsMeasuring {
    private static let encoder = {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        return encoder
    }()

    private let isWanted: Bool
    private var check = LogitsCheck()
    private var scan: LogitsScan?
    private var vocabulary = 0

    init(isWanted: Bool) { self.isWanted = isWanted }

    /// `frame`: as far as it has been read when its logits begin.
    mutating func begin(_ frame: RolloutFrame) {
        guard isWanted, let info = frame.logits, info.rows > 0, let id = frame.metadata["rollout_id"] else { return }
        let tokens = frame.tokenIDs, temperature = frame.metadata["temperature"].map { Float($0) ?? 0 } ?? 1
        // A mask that comes later is nearly always that of a response behind a prompt; `finished` knows.
        let mask =
            frame.lossMask.isEmpty ? tokens.indices.map { $0 >= tokens.count - info.rows } : frame.lossMask
        guard !tokens.isEmpty, mask.count == tokens.count, mask.count(where: { $0 }) == info.rows, temperature > 0,
            tokens.allSatisfy({ $0 >= 0 && Int($0) < info.vocabulary })
        else { return }
        vocabulary = info.vocabulary
        scan = LogitsScan(
            MeasuredRollout(
                rolloutID: id, tokenIDs: tokens, lossMask: mask, temperature: temperature,
                isProcessed: frame.metadata["logits_kind"] == "processed", support: support(frame, tokens, mask)),
            DistributionColumns())
    }

    /// As far as it has gone by, and where nothing is wrong with it.
    private func support(_ frame: RolloutFrame, _ tokens: [Int32], _ mask: [Bool]) -> SamplingSupport? {
        guard let ids = frame.supportTokenIDs, let offsets = frame.supportOffsets, let width = frame.logits?.vocabulary
        else { return nil }
        let support = SamplingSupport(tokenIDs: ids, offsets: offsets.map { Int32(clamping: $0) })
        guard support.fault(sampled: zip(tokens, mask).filter(\.1).map(\.0)) == nil,
            ids.allSatisfy({ Int($0) < width })
        else { return nil }
        return support
    }

    mutating func see(_ row: LogitsRow) {
        // A row of which a softmax can be taken has nothing in it that is none.
        if scan?.see(row) != true { check.see(row) }
    }

    func requireFinite(rolloutID: String) throws { try check.requireFinite(rolloutID: rolloutID) }

    /// What was measured of the rollout that the frame turned out to hold; nil where it must be measured once more.
    func finished(_ row: RolloutRow, _ frame: RolloutFrame) -> MeasureRow? {
        guard let scan, let measured = scan.measured, row.evidence == EntropySource.logits.rawValue,
            scan.rollout == MeasuredRollout(row), let storage = try? Self.encoder.encode(measured.storage)
        else { return nil }
        var measure = MeasureRow()
        measure.rolloutID = row.rolloutID
        measure.vocabulary = Int32(vocabulary)
        (measure.entropy, measure.logprobs) = (measured.entropy, measured.logprobs)
        measure.invalid = measured.invalid?.rawValue
        (measure.values, measure.referenceLogprobs) = (frame.values, frame.referenceLogprobs)
        measure.teacherLogprobs = frame.teacherLogprobs
        measure.storage = String(decoding: storage, as: UTF8.self)
        return measure
    }
}
