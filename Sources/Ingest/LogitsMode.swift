import ArgumentParser

/// What becomes of a dump's logits: read where they lie, copied into the ingest directory, or left out.
enum LogitsMode: String, ExpressibleByArgument, CaseIterable { case reference, copy, drop }

/// Of which logits an engine takes log-probabilities: before temperature, penalties and cuts, or behind them.
enum LogprobsMode: String, ExpressibleByArgument, CaseIterable { case raw, processed }
