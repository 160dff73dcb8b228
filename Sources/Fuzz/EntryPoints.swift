import Foundation

/// The target of this process; libFuzzer calls on one thread.
nonisolated(unsafe) private var target: (any FuzzTarget)?

/// `--answers`: says how each execution ends, for a look at single inputs.
private let saysAnswers = CommandLine.arguments.contains("--answers")

/// Called once by libFuzzer, which has the process's main. `--target=NAME` says what is fuzzed (libFuzzer leaves flags
/// with two dashes to others); without one the targets are listed.
@_cdecl("LLVMFuzzerInitialize")
public func initializeFuzzing(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>
) -> CInt {
    let prefix = "--target="
    guard let given = CommandLine.arguments.first(where: { $0.hasPrefix(prefix) })?.dropFirst(prefix.count),
        let type = FuzzTargets.named(String(given))
    else {
        print(FuzzTargets.listing, terminator: "")
        exit(CommandLine.arguments.contains { $0.hasPrefix(prefix) } ? 2 : 0)
    }
    do {
        let folder = try FuzzFolder.make()
        target = try type.init(folder: folder)
    } catch {
        print("\(type.name) can't begin: \(error)")
        exit(4)
    }
    return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
public func executeOneInput(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    do {
        try target?.run(UnsafeRawBufferPointer(start: data, count: count))
        if saysAnswers { print("taken") }
    } catch {
        // An error is an answer.
        if saysAnswers { print(error) }
    }
    return 0
}
