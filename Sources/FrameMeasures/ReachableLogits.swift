import CKernels
import Formats

/// A row of logits as far as the sampler could reach it: all of it, or the logits of the tokens that it could have
/// drawn, one behind the other in their own type.
struct ReachableLogits {
    /// Place of the sampled token in the row.
    let sampled: Int32
    private let logits: LogitsRow
    private let support: (ids: ArraySlice<Int32>, values: [UInt8])?

    init(_ logits: LogitsRow, _ rollout: MeasuredRollout, _ position: Int) {
        self.logits = logits
        let token = rollout.tokenIDs[position]
        guard let ids = rollout.support?[logits.index], let place = ids.firstIndex(of: token) else {
            (sampled, support) = (token, nil)
            return
        }
        (sampled, support) = (Int32(place - ids.startIndex), (ids, logits.elements(ids)))
    }

    func withKernelRow<Result>(_ body: (crux_logits) -> Result) -> Result {
        guard let support else { return body(logits.kernelRow) }
        return support.values.withUnsafeBytes {
            body(
                crux_logits(
                    values: $0.baseAddress, low: nil, n: support.ids.count, dtype: logits.info.kernelType))
        }
    }

    /// From a place in the row; -1 stays what it is, no token.
    func tokenID(_ place: Int32) -> Int32 {
        guard let support, place >= 0 else { return place }
        return support.ids[support.ids.startIndex + Int(place)]
    }
}
