import ArgumentParser
import Files
import MetricFiles

/// `--metrics`, of the stages that have metrics.
package struct MetricsOption: ParsableArguments {
    @Option(
        help:
            "What to write metrics as beside metrics.arrow, by commas: \(MetricForm.allCases.map(\.rawValue).joined(separator: ", "))."
    )
    package var metrics = MetricForms(forms: [])

    package init() {}

    /// Whether a finished directory has all that is asked for: of one that hasn't only these files are made.
    package func areWritten(_ manifest: Manifest) -> Bool {
        metrics.forms.allSatisfy { form in manifest.outputs.contains { $0.path == form.fileName } }
    }

    /// Writes what is asked for, and anew what an earlier run of the directory has written, so that none grows stale.
    package func write(_ series: MetricSeries, in directory: StageDirectory) throws -> [(String, WrittenFile)] {
        try MetricForm.allCases.filter { metrics.forms.contains($0) || directory.knows($0.fileName) }.map { form in
            (form.fileName, try form.write(series, to: try directory.writing(form.fileName)))
        }
    }

    /// What JSON lines can't say.
    package func warning(_ series: MetricSeries) -> String? {
        guard metrics.forms.contains(.jsonl), series.notFinite > 0 else { return nil }
        return "\(series.notFinite) metrics are NaN or infinite: null in \(MetricForm.jsonl.fileName)"
    }
}

/// Some of the forms, as a flag names them.
package struct MetricForms: ExpressibleByArgument, CustomStringConvertible, Sendable {
    package let forms: [MetricForm]

    package init(forms: [MetricForm]) { self.forms = forms }

    /// nil where a word names none of them.
    package init?(argument: String) {
        let forms = argument.split(separator: ",", omittingEmptySubsequences: false).map {
            MetricForm(rawValue: String($0))
        }
        guard !forms.contains(nil) else { return nil }
        self.forms = forms.compactMap { $0 }
    }

    package var description: String { forms.map(\.rawValue).joined(separator: ",") }
    package var defaultValueDescription: String { "none" }
}
