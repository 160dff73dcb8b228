import Foundation

/// A line at once, also into a pipe.
func say(_ line: String) {
    print(line)
    fflush(nil)
}

/// A figure for people: two decimals, none from 10 on.
func text(_ value: Double) -> String { String(format: value < 10 ? "%.2f" : "%.0f", value) }

/// How long `body` takes by the clock.
func seconds(_ body: () throws -> Void) rethrows -> Double {
    let start = DispatchTime.now().uptimeNanoseconds
    try body()
    return Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
}

func gibibytes(_ bytes: Int) -> String { String(format: "%.2f GiB", Double(bytes) / Double(1 << 30)) }

func percent(_ part: Int, _ whole: Int) -> String {
    String(format: "%.0f %%", 100 * Double(part) / Double(max(1, whole)))
}
