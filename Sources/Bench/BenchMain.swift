import COpenBLAS
import Foundation

/// `make bench`: what ingest, score, plan and update reach on made-up data, beside what this machine can do at all. Every
/// figure and its limit come from one run; the machine may be shared, so read the ratios.
@main
enum BenchMain {
    static func main() throws {
        let threads = ProcessInfo.processInfo.activeProcessorCount
        let machine = MachineLimits.measure(threads: threads)
        print("machine: \(threads) threads, reads \(text(machine.readBandwidth / 1e9)) GB/s from memory, sgemm \(text(machine.multiplyRate / 1e9)) GFLOP/s (2048 x 4864 x 896)")
        try StageBench(machine: machine, threads: threads).run()
        try UpdateBench(machine: machine, threads: threads).run()
    }
}

func text(_ value: Double) -> String { String(format: value < 10 ? "%.2f" : "%.0f", value) }

func seconds(_ body: () throws -> Void) rethrows -> Double {
    let start = DispatchTime.now().uptimeNanoseconds
    try body()
    return Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
}
