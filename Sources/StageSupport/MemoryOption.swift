import ArgumentParser

/// The budget of stages that decode logits. What a run holds beside one row of logits for each thread is its tables, and of
/// split logits a plane for each thread as far as this lets it.
package struct MemoryOption: ParsableArguments {
    @Option(help: "MiB of memory to stay below. Split logits of a rollout too long for it are decoded twice.")
    package var memory = 512

    package init() {}

    package func validate() throws {
        guard memory >= 1 else { throw ValidationError("--memory is \(memory); it must be at least 1 MiB.") }
    }

    package var bytes: Int { memory << 20 }
}
