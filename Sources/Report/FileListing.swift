import Credit
import Formats

/// docs/files.md: every file of a run and every column of its tables, from the tables as they are.
enum FileListing {
    static var text: String {
        ([introduction] + Tables.all.map(section) + [remarks]).joined(separator: "\n")
    }

    /// What crux-ingest counts of rollouts that it kept.
    private static var remarks: String {
        let rows = RolloutRemark.allCases.map { "| `remark_\($0.rawValue)` | they \(cell($0.sentence)) |" }
        return """
            ## Counts of rollouts that were kept

            In `ingest/manifest.json`, among its counts: of rollouts that JSON lines told of and that were kept without
            something, or taken on trust.

            | count | what holds of these rollouts |
            |---|---|
            \(rows.joined(separator: "\n"))
            """
    }

    private static func section(_ table: TableDescription) -> String {
        let columns = table.columns.map { column in
            "| `\(column.name)` | `\(column.type)` | \(column.isNullable ? "yes" : "no") "
                + "| \(column.isOptional ? "(when asked for) " : "")\(cell(column.documentation)) |"
        }
        let listed = table.name == Tables.dropped.name ? [dropReasons] : table.words
        return """
            ## \(table.files)

            \(table.documentation) Written by `\(table.writer)`.

            | column | type | may be null | what it holds |
            |---|---|---|---|
            \(columns.joined(separator: "\n"))

            """ + listed.map { "\n" + words($0) }.joined()
    }

    /// What `plan/dropped.arrow` may say. Plans take the verdict of rollouts that scores call unusable.
    private static let dropReasons = ColumnWords(
        "reason",
        DropReason.all.map { reason in
            guard case .unusable = reason else { return ([reason.name], reason.meaning) }
            return (Verdict.allCases.filter(\.isUnusable).map(\.rawValue), reason.meaning)
        })

    /// What the words of a column mean.
    private static func words(_ column: ColumnWords) -> String {
        let rows = column.meanings.map { meaning in
            let words = meaning.words.map { "`\($0)`" }.joined(separator: ", ")
            return "| \(words.isEmpty ? "anything else" : words) | \(cell(meaning.documentation)) |"
        }
        return """
            | `\(column.column)` | what it means |
            |---|---|
            \(rows.joined(separator: "\n"))

            """
    }

    /// As text of a table's cell.
    private static func cell(_ text: String) -> String {
        text.replacing("|", with: "\\|").replacing("<", with: "&lt;")
    }

    private static let introduction = """
        # Files, tables and columns

        Printed by `crux-report --files` (`make docs`) from the tables in `Sources/Formats/Tables`; a test holds \
        this page to
        them. The choices behind the columns are in [conventions.md](conventions.md).

        Every table is an Arrow IPC file that pyarrow, polars, pandas and (over pyarrow) DuckDB open as it is. \
        Columns per token
        are lists as long as `token_ids`: position t describes token t, and masked-out tokens hold 0. Logarithms \
        are natural,
        entropies are in nats, log-probabilities and entropies are those of softmax(logits / temperature). \
        Columns that may be
        null may also be missing. `manifest.json` comes last: a directory without one is unfinished. `run.json` \
        beside it tells
        who ran it when, and by which command ([catalog.md](catalog.md)).

        | directory | files |
        |---|---|
        | `ingest/` | `rollouts-%05d.arrow`, `rejected.arrow`; `measures-%05d.arrow` with `--score`; `logits-%05d.rollouts.zst` where logits are copied \
        or best log-probabilities come from JSON lines; `missing.jsonl` after a join |
        | `score/` | `scores-%05d.arrow`, the rows of `rollouts-%05d.arrow` in the same order |
        | `plan/` | `plan.arrow`, `dropped.arrow`; `recipe.resolved.json`, the recipe with every default; \
        `resample.jsonl`, prompts of groups without contrast; with an expansion `jobs/`: `jobs-%05d.jsonl`, \
        `jobs.arrow`, `bases.arrow` |
        | `update/` | `step-%06d/`, a plain Hugging Face folder; `optimizer-%06d/optimizer.safetensors`, which \
        `--resume-from` needs beside it; `metrics.arrow`, with `--metrics` also `metrics.jsonl` and \
        `events.out.tfevents.0.crux`; with a target network `target/` |
        | a loop | `iteration-%04d/` with the directories of its stages and `record.json`; `metrics.arrow`, \
        `metrics.csv`, `curves.svg`, with `--metrics` the same two |

        `optimizer.safetensors` holds `exp_avg.<parameter>`, `exp_avg_sq.<parameter>` and, where the checkpoint \
        is 16-bit,
        `master.<parameter>`, all float32, with `step` in its metadata. `plan.arrow`'s `step` counts from 0; \
        `step-%06d` and the
        metrics' `step` count optimizer steps done, from 1. By default only the last step's directory is kept.

        The loss of a step is the sum over tokens of `token_weights * l(token)`, so `plan.arrow` with \
        `recipe.resolved.json` is
        enough to train elsewhere: `examples/train_elsewhere.py` does it in PyTorch, transformers and PEFT, for \
        every objective,
        masks that are made anew, KL terms, schedules and adapters. What it doesn't compute it refuses by name \
        (random masks
        with `policy: current`).

        """
}
