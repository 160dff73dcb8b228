import Foundation
import Randomness

/// A sample spread over a population: short runs of neighbours, one from each of many stretches of equal length, where in it no period of
/// the values can follow. Runs, because memory is had by the line. Places depend on the population's size alone.
package struct SpreadSample {
    /// Values of a run.
    package let run: Int
    package let runs: Int
    /// Length of a stretch in 2^-20: places are to be had without divisions.
    private let length: UInt64

    /// Twice n^⅔ values: a sample and what lies in the brackets it gives grow alike, and both far less than the population.
    package init(of population: Int) {
        run = population < 1 << 12 ? 1 : 16
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
        var low = 0, high = runs
        while low < high {
            let middle = (low + high) / 2
            if self.place(middle) + run <= place { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private func start(of number: Int) -> UInt64 { (UInt64(number) * length) >> 20 }
}

/// Copies the sample's values out of a population's that stream by.
struct SampleTaker {
    private let places: SpreadSample
    private let sample: UnsafeMutableBufferPointer<Float>
    private var number: Int
    private var next: Int
    private var start: Int
    private(set) var count = 0

    /// `start`: how many values of the population went before.
    init(_ places: SpreadSample, from start: Int, into sample: UnsafeMutableBufferPointer<Float>) {
        (self.places, self.start, self.sample) = (places, start, sample)
        number = places.first(endingBehind: start)
        next = places.place(number)
    }

    mutating func take(from values: UnsafeBufferPointer<Float>) {
        let end = start + values.count
        while number < places.runs, next < end {
            for place in max(next, start)..<min(next + places.run, end) { sample[number * places.run + place - next] = values[place - start] }
            count += min(next + places.run, end) - max(next, start)
            guard next + places.run <= end else { break }
            number += 1
            next = places.place(number)
        }
        start = end
    }
}
