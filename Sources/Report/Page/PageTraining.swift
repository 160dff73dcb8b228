import Arrow
import Formats
import LearningCurves
import StageSupport

/// A panel of lines to draw.
struct PagePanel: Encodable {
    struct Line: Encodable {
        let name: String
        let x: [Double]
        let y: [Double]
        /// Half the height of a band around the line, by point; empty for none.
        let spread: [Double]
    }

    let name: String
    let documentation: String
    let lines: [Line]
}

/// Figures of an update's optimizer steps.
enum PageTraining {
    private static let quantities: [(column: String, value: @Sendable (MetricsRow) -> Double?)] = [
        ("loss", { $0.loss }),
        ("grad_norm", { $0.gradNorm }),
        ("clip_fraction_low", { $0.clipFractionLow }),
        ("clip_fraction_high", { $0.clipFractionHigh }),
        ("importance_ratio_max", { $0.importanceRatioMax }),
        ("kl_k3", { $0.klK3 }),
        ("entropy", { $0.entropy }),
        ("reward_mean", { $0.rewardMean }),
        ("trainable_tokens", { Double($0.trainableTokens) }),
        ("evaluated_tokens", { Double($0.evaluatedTokens) }),
        ("reward_margin", { $0.rewardMargin }),
        ("reward_accuracy", { $0.rewardAccuracy }),
        ("value_error", { $0.valueError }),
        ("target_divergence", { $0.targetDivergence }),
        ("entropy_coef_applied", { $0.entropyCoefApplied }),
        ("stale_rows", { $0.staleRows.map { Double($0) } }),
        ("expert_imbalance", \.expertImbalance), ("experts_idle", \.expertsIdle),
        ("experts_replayed", \.expertsReplayed),
    ]

    /// A panel for each quantity that the update has.
    static func panels(update directory: String, _ manifest: Manifest) throws -> [PagePanel] {
        let rows = try ArrowTableReader(path: directory + "/metrics.arrow", table: Tables.metrics).rows()
        return quantities.compactMap { column, value in
            let points = rows.compactMap { row in value(row).map { (Double(row.step), $0) } }
            guard !points.isEmpty else { return nil }
            let line = PagePanel.Line(name: "", x: points.map(\.0), y: points.map(\.1), spread: [])
            return PagePanel(
                name: column, documentation: Tables.metrics.columns.first { $0.name == column }?.documentation ?? "",
                lines: [line])
        }
    }

    /// Loops of one name — seeds of a recipe — are one line, their mean, with a band of one standard deviation.
    static func panels(_ curves: [LearningCurve]) -> [PagePanel] {
        CurveQuantity.all.map { quantity in
            PagePanel(
                name: quantity.title, documentation: "by iteration",
                lines: CurvePicture.lines(of: quantity, curves).map { line in
                    PagePanel.Line(
                        name: line.name, x: line.points.map(\.x), y: line.points.map(\.y), spread: line.spread)
                })
        }.filter { !$0.lines.isEmpty }
    }
}
