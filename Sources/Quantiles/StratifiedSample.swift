import Foundation
import Randomness

/// A sample spread over a population: short runs of neighbours, because each costs a look into a file, one from each of
/// many chunks of equal length, where in it no period of the values can follow. Places depend on the population's
/// size alone.
package struct StratifiedSample {
    /// Values of a run.
    package let run: Int
    package let runs: Int
    /// Length of a chunk in 2^-20: places are to be had without divisions.
    private let length: UInt64

    /// Twice n^⅔ values: a sample and what lies in the brackets it gives grow alike, and both far less than the
    /// population.
    package init(of population: Int) {
        run = population < 1 << 14 ? 1 : 32
        runs = min(population, Int(2 * pow(Double(population), 2 / 3)) / run)
        length = (UInt64(population) << 20) / UInt64(max(1, runs))
    }

    package var count: Int { runs * run }

    /// Where a run begins. Runs ascend and don't overlap.
    package func place(_ number: Int) -> Int {
        let start = start(of: number), width = self.start(of: number + 1) - start - UInt64(run - 1)
        var random = SplitMix64(seed: UInt64(number))
        return Int(start + (((random.next() >> 32) * width) >> 32))
    }

    /// The first run that does not end before this place.
    package func first(endingBehind place: Int) -> Int {
        partitionPoint(of: runs) { self.place($0) + run > place }
    }

    private func start(of number: Int) -> UInt64 { (UInt64(number) * length) >> 20 }
}

extension StratifiedSample {
    /// What is to be had of rows that lie side by side in a population: `counts` are their values, `start` those before
    /// them.
    func ranges(_ rows: Range<Int>, from start: Int, counts: (Int) -> Int) -> [GatherRange] {
        var ranges: [GatherRange] = [], number = first(endingBehind: start), next = place(number), start = start
        for row in rows {
            let end = start + counts(row)
            while number < runs, next < end {
                let taken = max(next, start)..<min(next + run, end)
                let values = taken.lowerBound - start..<taken.upperBound - start
                if !taken.isEmpty {
                    ranges.append(GatherRange(row: row, values: values, target: number * run + taken.lowerBound - next))
                }
                guard next + run <= end else { break }
                number += 1
                next = place(number)
            }
            start = end
        }
        return ranges
    }
}
