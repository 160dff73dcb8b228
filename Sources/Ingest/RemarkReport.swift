import Formats
import StageSupport

/// What was left out of rollouts or taken on trust, a line for each.
func reportRemarks(_ counts: [String: Int], _ context: StageContext) {
    for remark in RolloutRemark.allCases {
        if let count = counts["remark_" + remark.rawValue] { context.warn("\(count) rollouts \(remark.sentence)") }
    }
}
