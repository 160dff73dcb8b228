import ArgumentParser

/// The budget of stages that decode logits. What a run holds beside a row of logits for each thread is its tables, and
/// of split logits a plane for each thread as far as this lets it.
package struct MemoryOption: ParsableArguments {
    @Option(help: "Memory to stay within, such as 2G: split logits of a rollout too long for it are decoded twice.")
    package var memory = MemorySize(bytes: 512 << 20)

    package init() {}

    package var bytes: Int { memory.bytes }
}
